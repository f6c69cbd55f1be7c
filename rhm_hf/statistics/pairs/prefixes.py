"""The effective context as someone measures it who has the first tokens of a text only."""

from collections.abc import Iterable
from typing import Any

import numpy as np
import torch

from ...checks import PositiveInt, TokenIds, check_array, check_integer, checked
from .correlations import token_correlations
from .decay import EffectiveContextCurve, curve_of


@checked
def prefix_contexts(
    tokens: TokenIds,
    sizes: Iterable[int],
    distances: Iterable[int],
    vocab_size: int | None = None,
    num_blocks: PositiveInt = 4,
    **kwargs: Any,
) -> EffectiveContextCurve:
    """t*(P) as someone measures it who has P tokens only: of the first P tokens, their signal against their noise.

    A short text is more uniform than the corpus it is from (one topic, one speaker), so these t* exceed those of
    [`TokenCorrelations.effective_context_curve`] at small P and meet them at the end.

    Args:
        tokens (array): one text `(n,)` or rows `(n, d)`.
        sizes (`Iterable[int]`): P, tokens or rows.
        distances, vocab_size, kwargs: see [`token_correlations`].
        num_blocks (`int`, *optional*, defaults to 4): the fewest that make two interleaved halves of several parts;
            long blocks keep the halves of a short text independent.
    """
    if not isinstance(tokens, np.ndarray | torch.Tensor):
        tokens = check_array("tokens", tokens)
    sizes = np.array(sorted(check_integer("sizes", size, 2, len(tokens) + 1) for size in sizes))
    if not len(sizes):
        raise ValueError(f"sizes is empty: give one or more from 2 to what there is, {len(tokens)}")
    vocab_size = int(tokens.max()) + 1 if vocab_size is None else vocab_size
    kwargs["num_blocks"] = num_blocks
    parts = [token_correlations(tokens[:size], distances, vocab_size, **kwargs) for size in sizes.tolist()]
    contexts = np.array([part.effective_context for part in parts])
    bounds = np.array([part.effective_context_is_bound for part in parts])
    intervals = np.array([part.effective_context_interval() for part in parts])
    return curve_of(sizes, contexts, bounds, parts[0].distances[0], intervals)
