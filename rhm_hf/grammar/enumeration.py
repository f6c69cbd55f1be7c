"""All sentences of a small source at once."""

import numpy as np

from ..checks import checked
from .source import Source


ENUMERATION_LIMIT = 2**22  # tokens of all sentences together


@checked
def enumerate_sentences(grammar: Source) -> tuple[np.ndarray, np.ndarray]:
    """Every sentence of positive probability with its probability, row i being `grammar.sentence(i)` in a grammar.

    Args:
        grammar ([`Source`]): of any family that can list its sentences.

    Returns:
        Tokens of shape `(num_sentences, longest)` and `token_dtype`, padded with PAD where lengths vary, and float64
        probabilities `(num_sentences,)` that sum to 1.

    Raises:
        `ValueError`: if they would be more than 2^22 tokens; [`NotSupported`] where the family cannot list them.
    """
    if not can_enumerate(grammar):
        raise ValueError(
            f"grammar {grammar.name} has too many sentences to list ({grammar.num_sentences} of "
            f"{grammar.max_length} tokens); draw some with grammar.sample(num, sampling='iid')"
        )
    return grammar.list_sentences()


def can_enumerate(grammar: Source, limit: int = ENUMERATION_LIMIT) -> bool:
    """Whether all sentences together have at most `limit` tokens."""
    return grammar.max_length is not None and grammar.num_sentences * grammar.max_length <= limit
