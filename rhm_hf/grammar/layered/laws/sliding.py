"""Next-token laws given a window of the n tokens before, at a known position: the spine algorithm.

Target i sees tokens j = i-n .. i-1. Going up from leaf j, the *suffix message* of its level-ℓ ancestor is

    mu_ℓ(a) = P(the tokens from j to the end of the ancestor's span | its symbol is a)
    mu_(ℓ+1)(a) = sum over rules r of a of p(r) mu_ℓ(r_c) prod over right siblings k > c of [r_k = parsed symbol k],

c the ancestor's place among its siblings, until the lowest common ancestor of j and i. There the message meets the
node's marginal law, as nothing else is known of the world above, and the parsed siblings between the two; from the
target's side of that node down, everything to the left is in the window and the pass of `next_token` takes over.
"""

from typing import Any

import numpy as np
import torch

from .rule_tables import LevelTables, Tables, normalised


def windowed_laws(
    tables: Tables, tokens: torch.Tensor, read: Any, positions: int, window: int
) -> tuple[torch.Tensor, torch.Tensor]:
    """Laws `(n, targets, v)` and validity `(n, targets)` of the targets `window + 1 .. positions - 1`.

    Args:
        tables (`Tables`): of the grammar.
        tokens (`torch.Tensor`): int64 `(n, t)`, t >= positions - 1.
        read (`list`): what `read_prefix` returned for these tokens and `positions`.
        positions (`int`): at least window + 2.
        window (`int`): n, 1 <= n.
    """
    targets = np.arange(window + 1, positions)
    joined = _join_at_common_ancestors(tables, tokens, read, targets, targets - window)
    return _descend(tables, read, targets, joined)


def _join_at_common_ancestors(tables: Tables, tokens, read, targets: np.ndarray, firsts: np.ndarray):
    """Entry ℓ: which targets (indices) have their lowest common ancestor with their window's first token at level
    ℓ + 1, and the joint weights `(those, n, symbols)` of the target's level-ℓ ancestor and the window above it."""
    n = len(tokens)
    alive = np.arange(len(targets))  # targets whose common ancestor is still above
    message = torch.zeros(tables.vocab_size, len(targets) * n, dtype=tables.dtype, device=tables.device)
    message.scatter_(0, tokens[:, _index(firsts, tables)].t().reshape(1, -1), 1.0)
    joined = []
    for level in range(1, tables.depth + 1):
        t, block, below = tables[level], tables.blocks[level], tables.blocks[level - 1]
        children = read[level - 1][0]
        first, target = firsts[alive], targets[alive]
        node, c_first, c_target = first // block, first // below % t.tuple_size, target // below % t.tuple_size
        meets = node == target // block
        message = message.view(t.num_child_symbols, len(alive), n)
        laws = message.new_empty(len(alive), n, t.num_child_symbols)
        above = message.new_empty(t.num_symbols, len(alive), n)
        for c, end, members in _groups(c_first, np.where(meets, c_target, t.tuple_size)):
            nodes, chosen = _index(node[members], tables), _index(members, tables)
            weights = _rule_weights(t, message[:, chosen], c, end, children[:, nodes])
            if meets[members[0]]:
                weights *= tables.marginals[level][nodes].t().repeat_interleave(t.rules_per_symbol, 0)[:, :, None]
                law = weights.new_zeros(t.num_child_symbols, len(chosen), n).index_add_(0, t.rules[end], weights)
                laws[chosen] = law.permute(1, 2, 0)
            else:
                above[:, chosen] = weights.view(t.num_symbols, -1, len(chosen), n).sum(1)
        joined.append((alive[meets], laws[_index(np.flatnonzero(meets), tables)]))
        alive = alive[~meets]
        # Only ratios matter: keep messages away from underflow. A message of zeros stays one.
        message = above[:, _index(np.flatnonzero(~meets), tables)]
        message = message / message.sum(0).clamp_min_(torch.finfo(message.dtype).tiny)
    return joined


def _groups(starts: np.ndarray, ends: np.ndarray):
    """Yields `(start, end, indices)` for every pair of values that occurs."""
    for start, end in sorted(set(zip(starts.tolist(), ends.tolist(), strict=True))):
        yield start, end, np.flatnonzero((starts == start) & (ends == end))


def _index(values: np.ndarray, tables: Tables) -> torch.Tensor:
    return torch.as_tensor(values, device=tables.device)


def _rule_weights(t: LevelTables, message: torch.Tensor, c: int, end: int, children: torch.Tensor) -> torch.Tensor:
    """p(r) mu(r_c) prod over c < k < end of [r_k = parsed symbol k]: `(rules, nodes, n)`; children `(n, nodes, s)`."""
    weights = message.index_select(0, t.rules[c]) * t.rule_probs.unsqueeze(2)
    for k in range(c + 1, end):
        weights *= t.rules[k][:, None, None] == children[:, :, k].t()
    return weights


def _descend(tables: Tables, read, targets: np.ndarray, joined) -> tuple[torch.Tensor, torch.Tensor]:
    """From below each target's common ancestor down to the target: laws `(n, targets, v)`, validity `(n, targets)`."""
    n = len(read[0][0])
    active = np.empty(0, dtype=np.int64)  # the targets whose common ancestor has been passed
    laws = valid = torch.empty(0)
    for level in range(tables.depth, 0, -1):
        t, states = tables[level], read[level - 1][1]
        new, joint = joined[level - 1]
        if len(active):
            node = targets[active] // tables.blocks[level]
            child = targets[active] // tables.blocks[level - 1] % t.tuple_size
            stepped = laws.new_empty(len(active), n, t.num_child_symbols)
            for c in np.unique(child).tolist():
                chosen = np.flatnonzero(child == c)
                left = states[c - 1][:, _index(node[chosen], tables)].t().reshape(-1) if c else None
                law = t.child_law(laws[_index(chosen, tables)].flatten(0, 1), c, left)
                stepped[_index(chosen, tables)] = law.view(len(chosen), n, -1)
            joint = torch.cat([stepped, joint])
        active = np.concatenate([active, new])
        laws, valid = normalised(joint, fill=level == 1)
    order = _index(np.argsort(active), tables)
    return laws[order].transpose(0, 1), valid[order].t()
