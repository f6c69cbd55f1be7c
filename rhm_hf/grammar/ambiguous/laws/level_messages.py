"""Sums over the rules of one level, for rules in a list and for children that are independent given their parent.

Messages are matrices `(symbols, N)`, N nodes side by side: the batch runs along the contiguous axis and rules select
whole rows. `children` are the messages of child 0, 1, .. of the N nodes, `(v, N)` each. With w_r = p(r|a) over the
rules r of a:

- `up`: sum over r of w_r prod_i children_i[r_i], or the maximum;
- `down`: for the child after c given ones, sum over a and r of law[a] w_r prod_(j<c) children_j[r_j] [r_c = x];
- `opened`: sum over r of w_r prod_(j<c) children_j[r_j] inner[r_c], whatever comes after child c;
- `posterior`: the laws of all children given that of their parent;
- `draw`: all children of nodes with given symbols.

Factorised rules, p(r|a) = prod_i q_i(r_i|a), need no list: all of these are products of v x v matrices.
"""

from collections.abc import Callable
from typing import Any

import torch

from ...laws.posteriors import draw as draw_index
from ..expansions import Expansion, Factors


class ListedLevel:
    """A list of rules."""

    def __init__(self, level: Expansion, num_child_symbols: int, device: torch.device, dtype: torch.dtype):
        self.num_symbols: int = level.num_symbols
        self.tuple_size: int = level.tuple_size
        self.num_child_symbols: int = num_child_symbols
        self.per_symbol: int = level.rules.shape[1]
        rules = torch.tensor(level.rules, dtype=torch.int64, device=device)
        self.by_symbol: torch.Tensor = rules.permute(2, 0, 1).contiguous()  # (s, V, rules)
        self.rules: torch.Tensor = self.by_symbol.flatten(1)
        self.probs: torch.Tensor = torch.tensor(level.probs, dtype=dtype, device=device)
        self.parents: torch.Tensor = torch.arange(self.num_symbols, device=device).repeat_interleave(self.per_symbol)
        self.width: int = self.rules.shape[1]  # numbers that are held for every node

    def _weights(self, children: list[torch.Tensor]) -> torch.Tensor:
        """w_r times the messages of the children that are given, `(rules, N)`, or `(rules, 1)` for none."""
        weights = self.probs.view(-1, 1)
        for rule, message in zip(self.rules, children, strict=False):
            weights = weights * message.index_select(0, rule)
        return weights

    def up(self, children: list[torch.Tensor], maximise: bool = False) -> torch.Tensor:
        by_symbol = self._weights(children).view(self.num_symbols, self.per_symbol, -1)
        return by_symbol.amax(1) if maximise else by_symbol.sum(1)

    def down(self, law: torch.Tensor, children: list[torch.Tensor]) -> torch.Tensor:
        weights = self._weights(children) * law.index_select(0, self.parents)
        joint = law.new_zeros(self.num_child_symbols, law.shape[1])
        return joint.index_add_(0, self.rules[len(children)], weights)

    def opened(self, children: list[torch.Tensor], inner: torch.Tensor) -> torch.Tensor:
        weights = self._weights(children) * inner.index_select(0, self.rules[len(children)])
        return weights.view(self.num_symbols, self.per_symbol, -1).sum(1)

    def posterior(self, law: torch.Tensor, up: torch.Tensor, children: list[torch.Tensor]) -> list[torch.Tensor]:
        weights = self._weights(children) * divided(law, up).index_select(0, self.parents)
        laws = [torch.zeros_like(message) for message in children]
        for child, rule in zip(laws, self.rules, strict=True):
            child.index_add_(0, rule, weights)
        return laws

    def draw(self, symbols: torch.Tensor, children: list[torch.Tensor], choose: Callable[..., Any]) -> torch.Tensor:
        weights = self.probs[symbols]
        for rule, message in zip(self.by_symbol, children, strict=True):
            weights = weights * message.t().gather(1, rule[symbols])
        chosen = choose(weights)
        return torch.stack([rule[symbols, chosen] for rule in self.by_symbol], 1)


class FactorisedLevel:
    """Independent children."""

    def __init__(self, level: Factors, num_child_symbols: int, device: torch.device, dtype: torch.dtype):
        self.num_symbols: int = level.num_symbols
        self.tuple_size: int = level.tuple_size
        self.num_child_symbols: int = num_child_symbols
        self.matrices: torch.Tensor = torch.tensor(level.matrices, dtype=dtype, device=device)
        self.width: int = self.num_symbols * num_child_symbols  # of the most probable parse

    def _product(self, children: list[torch.Tensor], nodes: int) -> torch.Tensor:
        product = self.matrices.new_ones(self.num_symbols, nodes)
        for matrix, message in zip(self.matrices, children, strict=False):
            product = product * (matrix @ message)
        return product

    def up(self, children: list[torch.Tensor], maximise: bool = False) -> torch.Tensor:
        if not maximise:
            return self._product(children, children[0].shape[1])
        product = self.matrices.new_ones(self.num_symbols, children[0].shape[1])
        for matrix, message in zip(self.matrices, children, strict=True):
            product = product * (matrix[:, :, None] * message).amax(1)
        return product

    def down(self, law: torch.Tensor, children: list[torch.Tensor]) -> torch.Tensor:
        return self.matrices[len(children)].t() @ (law * self._product(children, law.shape[1]))

    def opened(self, children: list[torch.Tensor], inner: torch.Tensor) -> torch.Tensor:
        return self._product(children, inner.shape[1]) * (self.matrices[len(children)] @ inner)

    def posterior(self, law: torch.Tensor, up: torch.Tensor, children: list[torch.Tensor]) -> list[torch.Tensor]:
        return [
            message * (matrix.t() @ divided(law, matrix @ message))
            for matrix, message in zip(self.matrices, children, strict=True)
        ]

    def draw(self, symbols: torch.Tensor, children: list[torch.Tensor], choose: Callable[..., Any]) -> torch.Tensor:
        pairs = zip(self.matrices, children, strict=True)
        return torch.stack([choose(matrix[symbols] * message.t()) for matrix, message in pairs], 1)


def level_tables(
    level: Expansion, num_child_symbols: int, device: torch.device, dtype: torch.dtype
) -> FactorisedLevel | ListedLevel:
    """The tensors of one level."""
    kind = FactorisedLevel if isinstance(level, Factors) else ListedLevel
    return kind(level, num_child_symbols, device, dtype)


def divided(numerator: torch.Tensor, denominator: torch.Tensor) -> torch.Tensor:
    """0 where the denominator is 0."""
    return torch.where(denominator > 0, numerator / denominator.clamp(min=torch.finfo(denominator.dtype).tiny), 0.0)


def most_likely(weights: torch.Tensor) -> torch.Tensor:
    """The choice of the largest weight in each row."""
    return weights.argmax(1)


def drawn_with(generator: torch.Generator | None) -> Callable[..., Any]:
    """Choices with probabilities proportional to the weights of each row."""
    return lambda weights: draw_index(weights, generator)
