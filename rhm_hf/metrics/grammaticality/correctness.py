"""How grammatical generated sentences are, level by level and node by node.

A node is correct if its children form a rule of its level; a failed child fails its ancestors, since what it stands
for is unknown. So a node of level ℓ is correct if the whole block of tokens below it parses.
"""

from fractions import Fraction
from typing import Any

import numpy as np
import torch

from rhm_hf.grammar import Grammar
from rhm_hf.inference import log_prob, parse
from rhm_hf.statistics import Accumulator
from rhm_hf.statistics.pairs.token_inputs import dataset_tokens


BATCH_TOKENS = 2**22  # tokens parsed together


def grammaticality(samples: Any, grammar: Grammar, *, per_position: bool = False) -> dict[str, Any]:
    """Fractions of correct rules of sentences, such as those that a model generated (Favero et al. 2502.12089).

    Args:
        samples: token ids `(n, d)` as array, tensor or lists, or a `datasets.Dataset` with a column `input_ids`. Ids
            that are no symbols (MASK, BOS, padding) make their sentence wrong.
        grammar ([`Grammar`]): the law.
        per_position (`bool`, *optional*, defaults to `False`): also give the fractions node by node.

    Returns:
        `dict`: `valid` and `valid_stderr`, the fraction of sentences of positive probability. One entry a level, from
        1 (pairs of tokens, where s = 2) to L: `levels`; `correct` and `correct_stderr`, the fraction of correct nodes
        (sentences are independent, the nodes of one are not); `chance`, that of uniform random tokens, exact, for the
        Random Hierarchy Model f^((s^ℓ-1)/(s-1)); `rule_given_children`, the fraction of nodes that are right among
        those whose children are (None where there is none). `log_prob`, the mean log probability of the valid
        sentences, nats (None without any); `num_samples`. With `per_position`, `correct_per_position` and
        `correct_stderr_per_position`, lists of one entry a node.

    Raises:
        `ValueError`: for sentences of another length, no sentence, or ids that are no integers.
    """
    tokens = checked_samples("samples", samples, grammar.sentence_length)
    levels = range(1, grammar.depth + 1)
    per_level = [Accumulator() for _ in levels]
    given_children = [Accumulator() for _ in levels]
    per_node = [Accumulator((grammar.num_nodes_at(level),)) for level in levels]
    valid, logs = Accumulator(), Accumulator()
    for rows in torch.from_numpy(tokens).split(max(1, BATCH_TOKENS // tokens.shape[1])):
        below = (rows >= 0) & (rows < grammar.vocab_size)
        symbols = torch.where(below, rows, 0)
        log_probs = log_prob(grammar, symbols).masked_fill(~below.all(1), -torch.inf)
        parsed = parse(grammar, symbols)
        for i, level in enumerate(levels):
            ready = below.unflatten(1, (-1, grammar.tuple_size_at(level))).all(2)
            right = ready & (parsed[level] >= 0)
            per_level[i].add(right.sum(1), float(right.shape[1]))
            given_children[i].add(right.sum(1), ready.sum(1))
            per_node[i].add(right)
            below = right
        is_valid = log_probs.isfinite()
        valid.add(is_valid)
        logs.add(torch.where(is_valid, log_probs, 0), is_valid)
    result = {
        "valid": valid.mean.item(),
        "valid_stderr": valid.stderr.item(),
        "levels": list(levels),
        "correct": [found.mean.item() for found in per_level],
        "correct_stderr": [found.stderr.item() for found in per_level],
        "chance": [chance_level(grammar, level) for level in levels],
        "rule_given_children": [_known(found.mean.item()) for found in given_children],
        "log_prob": _known(logs.mean.item()),
        "num_samples": len(tokens),
    }
    if per_position:
        result["correct_per_position"] = [found.mean.tolist() for found in per_node]
        result["correct_stderr_per_position"] = [found.stderr.tolist() for found in per_node]
    return result


def chance_level(grammar: Grammar, level: int) -> float:
    """Probability that a level-`level` node of uniform random tokens is correct: blocks that parse over all blocks."""
    return float(Fraction(sum(grammar.subtree_counts[level]), grammar.vocab_size ** grammar.block_length(level)))


def checked_samples(name: str, samples: Any, length: int | None = None) -> np.ndarray:
    """Sentences of one length as int64 `(n, d)`.

    Args:
        name (`str`): of the argument, for errors.
        samples: array, tensor, lists, or a `datasets.Dataset` with a column `input_ids`.
        length (`int`, *optional*): d, where it is known.
    """
    if hasattr(samples, "column_names"):
        samples = dataset_tokens(samples, "input_ids")
    elif not isinstance(samples, np.ndarray | torch.Tensor | list | tuple):
        samples = list(samples)  # a column of a dataset, or what can be read once
    try:
        tokens = np.asarray(samples.cpu() if isinstance(samples, torch.Tensor) else samples)
    except ValueError:
        raise ValueError(f"{name} has rows of different lengths: sentences have one") from None
    wanted = "(n, d)" if length is None else f"(n, {length})"
    if tokens.ndim != 2 or len(tokens) == 0 or tokens.shape[1] != (length or tokens.shape[1]):
        raise ValueError(
            f"{name} has shape {tokens.shape}: give sentences as {wanted} symbols, without BOS or padding"
        )
    if tokens.dtype.kind not in "iu":
        raise ValueError(f"{name} has dtype {tokens.dtype}: symbols must be integers")
    return tokens.astype(np.int64)


def _known(value: float) -> float | None:
    """NaN, the mean of nothing, as None."""
    return None if value != value else value
