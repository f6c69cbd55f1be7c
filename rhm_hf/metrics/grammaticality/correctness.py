"""How grammatical generated sentences are, level by level and node by node.

A node is correct if its children form a rule of its level; a failed child fails its ancestors, since what it stands
for is unknown. So a node of level ℓ is correct if the whole block of tokens below it parses.
"""

from fractions import Fraction
from typing import Any

import torch

from rhm_hf.checks import DrawnIds, checked
from rhm_hf.grammar import Source
from rhm_hf.inference import parse, prefix_probs
from rhm_hf.judging import read_rows
from rhm_hf.judging.sentences import known_symbols, pad_id, row_lengths
from rhm_hf.statistics import Accumulator
from rhm_hf.statistics.intervals import share_interval


BATCH_TOKENS = 2**22  # tokens parsed together


@checked
def grammaticality(samples: DrawnIds, grammar: Source, *, per_position: bool = False) -> dict[str, Any]:
    """Fractions of correct rules of sentences, such as those that a model generated (Favero et al. 2502.12089).

    Args:
        samples: token ids `(n, d)` as array, tensor or lists, or a `datasets.Dataset` with a column `input_ids`. Ids
            that are no symbols (MASK, BOS, padding) make their sentence wrong.
        grammar ([`~rhm_hf.grammar.Source`]): the law.
        per_position (`bool`, *optional*, defaults to `False`): also give the fractions node by node.

    Returns:
        `dict`: `valid`, `valid_stderr` and `valid_interval` (95 %, also where all or none are valid, whose error is
        0), the fraction of sentences of positive probability. `log_prob`, the mean log probability of the valid
        sentences, nats (None without any); `num_samples`.

        One entry a level, from 1 (pairs of tokens, where s = 2) to the highest that tokens determine (L; that of the
        blocks of a chain; none without a fixed tree): `levels`; `correct` and `correct_stderr`, the fraction of
        correct nodes (sentences are independent, the nodes of one are not); `chance`, that of uniform random tokens,
        exact, for the Random Hierarchy Model f^((s^ℓ-1)/(s-1)); `rule_given_children`, the fraction of nodes that are
        right among those whose children are (None where there is none). With `per_position`, `correct_per_position`
        and `correct_stderr_per_position`, lists of one entry a node.

        Where tokens determine no level: `possible`, the mean share of a sentence's tokens that come before its first
        impossible one, and `possible_stderr`.

    Raises:
        `ValueError`: for sentences of another length, no sentence, or ids that are no integers.
    """
    tokens = torch.from_numpy(read_rows("samples", samples, grammar))
    levels = range(1, (grammar.parsed_depth if grammar.has_blocks else 0) + 1)
    per_level = [Accumulator() for _ in levels]
    given_children = [Accumulator() for _ in levels]
    per_node = [Accumulator((grammar.num_nodes_at(level),)) for level in levels]
    valid, logs, possible = Accumulator(), Accumulator(), Accumulator()
    entries = tokens.shape[1] if levels else (tokens.shape[1] + 1) * (grammar.vocab_size + 1)
    for rows in tokens.split(max(1, BATCH_TOKENS // entries)):
        below, symbols, log_probs = known_symbols(grammar, rows)
        is_valid = log_probs.isfinite()
        valid.add(is_valid)
        logs.add(torch.where(is_valid, log_probs, 0), is_valid)
        if not levels:
            possible.add(_possible_share(grammar, rows, symbols, below))
            continue
        parsed = parse(grammar, symbols)
        for i, level in enumerate(levels):
            ready = below.unflatten(1, (-1, grammar.tuple_size_at(level))).all(2)
            right = ready & (parsed[level] >= 0)
            per_level[i].add(right.sum(1), float(right.shape[1]))
            given_children[i].add(right.sum(1), ready.sum(1))
            per_node[i].add(right)
            below = right
    result = {
        "valid": valid.mean.item(),
        "valid_stderr": valid.stderr.item(),
        "valid_interval": share_interval(valid.mean.item(), len(tokens)),
        "levels": list(levels),
        "correct": [found.mean.item() for found in per_level],
        "correct_stderr": [found.stderr.item() for found in per_level],
        "chance": [chance_level(grammar, level) for level in levels],
        "rule_given_children": [_known(found.mean.item()) for found in given_children],
        "log_prob": _known(logs.mean.item()),
        "num_samples": len(tokens),
    }
    if not levels:
        result |= {"possible": possible.mean.item(), "possible_stderr": possible.stderr.item()}
    if per_position:
        result["correct_per_position"] = [found.mean.tolist() for found in per_node]
        result["correct_stderr_per_position"] = [found.stderr.tolist() for found in per_node]
    return result


def _possible_share(grammar: Source, rows, symbols, is_symbol) -> torch.Tensor:
    """The share of each row's tokens before the first that is impossible after those before it; 1 for no tokens."""
    probs, _ = prefix_probs(grammar, symbols)
    place = torch.where(is_symbol, symbols, 0)
    likely = probs[:, : rows.shape[1]].gather(2, place.unsqueeze(2)).squeeze(2) > 0
    lengths = row_lengths(rows, pad_id(grammar)) if grammar.lengths_vary else torch.full((len(rows),), rows.shape[1])
    count = (is_symbol & likely).long().cumprod(1).sum(1)
    return torch.where(lengths > 0, count / lengths.clamp(min=1), 1.0)


def chance_level(grammar: Source, level: int) -> float:
    """Probability that a level-`level` node of uniform random tokens is correct: blocks that parse over all blocks."""
    blocks = getattr(grammar, "blocks", grammar)  # of a chain
    base = getattr(blocks, "base", blocks)  # of a sparse grammar, whose placements are counted apart
    count = sum(base.subtree_counts[level])
    if base is not blocks:
        count = count * blocks.placement_counts[level] + (level < grammar.depth)  # and the empty node
    return float(Fraction(count, grammar.vocab_size ** grammar.block_length(level)))


def _known(value: float) -> float | None:
    """NaN, the mean of nothing, as None."""
    return None if value != value else value
