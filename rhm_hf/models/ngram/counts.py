"""Counts of symbols after contexts of growing length, and the smoothed laws made of them.

Contexts form a trie. A context of order k is one of order k - 1 and one more symbol, farther away; its key is
`rank of the shorter context * base + symbol`, its rank the place of the key in the sorted list of those that occurred.
Keys stay below (observations) x (base), whatever the order: no table of v^n entries, and nothing overflows. Contexts
of order 0 are *groups*, one for every position of a sentence, or a single one.
"""

from collections.abc import Iterable
from typing import Any, NamedTuple

import numpy as np
import torch


class OrderCounts(NamedTuple):
    """The contexts of one order and what followed them: sorted keys."""

    contexts: np.ndarray  # int64 (contexts,): rank of the shorter context * base + symbol; the group at order 0
    pairs: np.ndarray  # int64 (pairs,): rank of the context * v + the symbol that followed
    counts: np.ndarray  # float64 (pairs,)


def count_contexts(
    groups: np.ndarray,
    targets: np.ndarray,
    chain: Iterable[np.ndarray],
    num_symbols: int,
    base: int,
    weights: np.ndarray | None = None,
) -> list[OrderCounts]:
    """Counts all orders by sorting, one order after the other.

    Args:
        groups (`np.ndarray`): int64 `(N,)`, the group of every observation.
        targets (`np.ndarray`): int64 `(N,)`, symbols below `num_symbols` = v.
        chain (`Iterable[np.ndarray]`): entry k = 1, 2, ..: int64 `(N,)`, the k-th symbol of every context, nearest
            first, below `base`; -1 where the context ends before (it then has no longer one either).
        num_symbols (`int`): v.
        base (`int`): above every symbol of a context.
        weights (`np.ndarray`, *optional*): float64 `(N,)`, weight of every observation; 1 by default.

    Returns:
        `list[OrderCounts]`: order 0, 1, .. up to the longest context that occurred.
    """
    seen = np.arange(len(targets)) if weights is None else np.flatnonzero(weights > 0)
    keys, rank = np.unique(groups[seen], return_inverse=True)
    orders, longer = [], iter(chain)
    while len(seen):
        pairs, where = np.unique(rank * num_symbols + targets[seen], return_inverse=True)
        counts = np.bincount(where, None if weights is None else weights[seen], len(pairs)).astype(np.float64)
        orders.append(OrderCounts(keys, pairs, counts))
        if (symbols := next(longer, None)) is None:
            break
        symbols = symbols[seen]
        extended = symbols >= 0
        seen = seen[extended]
        keys, rank = np.unique(rank[extended] * base + symbols[extended], return_inverse=True)
    return orders


class _SmoothedOrder(NamedTuple):
    """One order, ready to be looked up: context q has the entries `starts[q]:starts[q + 1]`."""

    contexts: torch.Tensor  # sorted keys
    starts: torch.Tensor
    symbols: torch.Tensor  # of every entry
    probs: torch.Tensor  # of every entry
    leftover: torch.Tensor  # probability that a context leaves to the law of the shorter one


class SmoothedLaws:
    """The laws that smoothed counts give, on the counts' device, float64.

    - `"add_k"`: P(x | c) = (N(c, x) + k) / (N(c) + k v), c the longest context that occurred; k = 0: frequencies.
    - `"kneser_ney"`: interpolated absolute discounting (Kneser and Ney 1995; Chen and Goodman 1998, section 4.1.6),

          P(x | c) = max(A(c, x) - D, 0) / A(c) + (sum_x min(A(c, x), D) / A(c)) P(x | c without its farthest symbol)

      and the uniform law below order 0. A is the number of different one symbol longer contexts in which x followed;
      where a context has none longer (highest order, beginning of a sentence), A is the count. D = n_1 / (n_1 + 2 n_2)
      of every order and group, n_j the number of pairs with A = j; 1/2 where no pair has A = 1.

    A context that did not occur has the law of the next shorter one, in both.

    Args:
        orders (`list`): `(contexts, pairs, counts)` of every order, as tensors.
        num_symbols (`int`), base (`int`): as in [`count_contexts`].
        smoothing (`str`): `"add_k"` or `"kneser_ney"`.
        add_k (`float`): k of add-k.
        discount (`float`, *optional*): D of every order and group, instead of the estimate.
    """

    def __init__(self, orders: Any, num_symbols: int, base: int, smoothing: str, add_k: float, discount: float | None):
        self.num_symbols: int = num_symbols
        self.base: int = base
        self.interpolates: bool = smoothing == "kneser_ney"
        self.orders: list[tuple[torch.Tensor, ...]] = []
        groups = orders[0][0] if orders else None
        for order, (contexts, pairs, counts) in enumerate(orders):
            if order:
                groups = groups[contexts // base]
            context, symbols = pairs // num_symbols, pairs % num_symbols
            if self.interpolates:
                if order + 1 < len(orders):
                    counts = _continuation_counts(pairs, counts, orders[order + 1], num_symbols, base)
                taken = torch.minimum(counts, _discounts(counts, groups[context], discount))
                total, left = (_sum_over(part, context, len(contexts)) for part in (counts, taken))
                counts = counts - taken
            else:  # the uniform share of k, of symbols that occurred and that did not, is what is left over
                left = torch.full_like(contexts, add_k * num_symbols, dtype=torch.float64)
                total = _sum_over(counts, context, len(contexts)) + left
            starts = torch.searchsorted(context, torch.arange(len(contexts) + 1, device=contexts.device))
            self.orders.append(_SmoothedOrder(contexts, starts, symbols, counts / total[context], left / total))

    def __call__(self, groups: torch.Tensor, chain: Iterable[torch.Tensor]) -> torch.Tensor:
        """The laws of N contexts.

        Args:
            groups (`torch.Tensor`): int64 `(N,)`.
            chain (`Iterable[torch.Tensor]`): as in [`count_contexts`]; only as many entries are taken as there are
                orders.

        Returns:
            `torch.Tensor`: float64 `(N, v)`.
        """
        uniform = 1 / self.num_symbols
        laws = torch.full((len(groups), self.num_symbols), uniform, dtype=torch.float64, device=groups.device)
        alive = torch.arange(len(groups), device=groups.device)  # contexts that occurred at the order before
        keys, rank, longer = groups, groups, iter(chain)
        for number, order in enumerate(self.orders):
            if number:
                symbols = next(longer)[alive]
                keys = torch.where(symbols < 0, -1, rank * self.base + symbols)
            rank = torch.searchsorted(order.contexts, keys).clamp_(max=len(order.contexts) - 1)
            found = order.contexts[rank] == keys
            alive, rank = alive[found], rank[found]
            shorter = laws[alive] if self.interpolates else uniform
            law = (order.leftover[rank][:, None] * shorter).expand(len(alive), self.num_symbols).clone()
            first = order.starts[rank]
            sizes = order.starts[rank + 1] - first
            row = torch.repeat_interleave(torch.arange(len(alive), device=alive.device), sizes)
            entry = torch.arange(len(row), device=alive.device) + (first - sizes.cumsum(0) + sizes)[row]
            law.view(-1)[row * self.num_symbols + order.symbols[entry]] += order.probs[entry]  # no index occurs twice
            laws[alive] = law
        return laws


def _sum_over(values: torch.Tensor, index: torch.Tensor, size: int) -> torch.Tensor:
    return values.new_zeros(size).index_add_(0, index, values)


def _continuation_counts(pairs, counts, longer, num_symbols: int, base: int) -> torch.Tensor:
    """For every pair (c, x), in how many different one symbol longer contexts x followed; its count if c has none."""
    contexts, longer_pairs, _ = longer
    shorter = contexts // base
    parent = shorter[longer_pairs // num_symbols]
    where = torch.searchsorted(pairs, parent * num_symbols + longer_pairs % num_symbols)
    continuations = _sum_over(torch.ones_like(longer_pairs, dtype=torch.float64), where, len(pairs))
    return torch.where(torch.isin(pairs // num_symbols, shorter), continuations, counts)


def _discounts(counts: torch.Tensor, groups: torch.Tensor, discount: float | None) -> torch.Tensor:
    """D of every pair's order and group."""
    if discount is not None:
        return torch.full_like(counts, discount)
    size = int(groups.max()) + 1
    ones, twos = (_sum_over((counts == j).double(), groups, size) for j in (1, 2))
    return torch.where(ones > 0, ones / (ones + 2 * twos).clamp(min=1), 0.5)[groups]
