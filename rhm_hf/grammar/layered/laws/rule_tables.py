"""The rules of a grammar as tensors, built once for every grammar, device and dtype.

Parsing and next-token inference use the prefix tree of a level: its states are the distinct prefixes of the rules'
tuples. One more state, the last, stands for prefixes that begin no rule (*dead*), and one more symbol for nodes that
no rule derives, so that nothing branches on failure: dead states have no rules, hence probability 0.
"""

from collections.abc import Callable
from functools import cached_property
from typing import Any

import numpy as np
import torch

from ...fixed_tree import FixedTree
from ...laws.cache import cached_tables


# A matrix of the first child's law is kept while it has at most this many entries; beyond, rules are summed.
DENSE_MATRIX_LIMIT = 2**22


class Tables:
    """All levels of a grammar: `tables[level]`, level = 1..L, its root law and the marginal law of every node."""

    def __init__(self, grammar: FixedTree, device: torch.device, dtype: torch.dtype):
        if grammar.depth != len(getattr(grammar, "rules", ())):
            raise ValueError(
                f"{grammar.name} has no rules at every level: this function takes a Grammar, no other source"
            )
        # No reference to the grammar itself: it is the cache's weak key.
        self.device: torch.device = device
        self.dtype: torch.dtype = dtype
        self.depth: int = grammar.depth
        self.vocab_size: int = grammar.vocab_size
        self.sentence_length: int = grammar.sentence_length
        self.blocks: list[int] = [grammar.block_length(level) for level in range(grammar.depth + 1)]
        self.root_probs: torch.Tensor = torch.tensor(grammar.root_probs, dtype=dtype, device=device)
        self.levels: list[LevelTables] = [
            LevelTables(
                grammar.prefix_tree(level), grammar.rules_at(level), grammar.rule_probs_at(level), device, dtype
            )
            for level in range(1, grammar.depth + 1)
        ]

    def __getitem__(self, level: int) -> "LevelTables":
        return self.levels[level - 1]

    def limit(self, limits: dict[str, int]) -> int:
        """The entry for this device, "cpu" or "cuda" (any accelerator)."""
        return limits["cpu" if self.device.type == "cpu" else "cuda"]

    @cached_property
    def marginals(self) -> list[torch.Tensor]:
        """Entry ℓ = 0..L of shape `(nodes at level ℓ, symbols)`: the law of every node given nothing."""
        laws = [self.root_probs.double()[None]]
        for level in range(self.depth, 0, -1):
            t = self[level]
            weights = (laws[-1].unsqueeze(2) * t.rule_probs.double().view(t.num_symbols, -1)).flatten(1)
            children = weights.new_zeros(len(weights), t.tuple_size, t.num_child_symbols)
            for child in range(t.tuple_size):
                children[:, child].index_add_(1, t.rules[child], weights)
            laws.append(children.flatten(0, 1))
        return [law.to(self.dtype) for law in laws[::-1]]


tables_for: Callable[..., Tables] = cached_tables(Tables)


class LevelTables:
    """The rules that expand the symbols of one level.

    Attributes:
        num_symbols, num_child_symbols, tuple_size (`int`): V, v and s of the level.
        rules (`torch.Tensor`): int64 `(s, R)`, R = V x rules per symbol, in the order of the parents' symbols; rules
            of probability 0 are among them.
        rule_probs (`torch.Tensor`): `(R, 1)`.
        is_equiprobable (`bool`): whether all rules have the same probability.
        common_log_prob (`float`): its logarithm then, 0 otherwise.
    """

    def __init__(self, tree: Any, rules: np.ndarray, rule_probs: np.ndarray, device: torch.device, dtype: torch.dtype):
        self._tree, self._probs = tree, rule_probs.ravel()
        self._device, self._dtype = device, dtype
        self.num_symbols: int = rules.shape[0]
        self.rules_per_symbol: int = rules.shape[1]
        self.tuple_size: int = rules.shape[2]
        self.num_child_symbols: int = tree.num_child_symbols
        self.num_states: list[int] = [
            len(starts) - 1 for starts in tree.starts
        ]  # by length, the dead state not counted
        self.rules: torch.Tensor = self._long(rules.reshape(-1, self.tuple_size).T)
        self.rule_probs: torch.Tensor = self._real(rule_probs.reshape(-1, 1))
        self.is_equiprobable: bool = bool(np.ptp(rule_probs) == 0)
        self.common_log_prob: float = float(np.log(rule_probs.flat[0])) if self.is_equiprobable else 0.0

    def _long(self, array: np.ndarray) -> torch.Tensor:
        return torch.tensor(np.ascontiguousarray(array), dtype=torch.int64, device=self._device)

    def _real(self, array: np.ndarray) -> torch.Tensor:
        return torch.tensor(array, dtype=self._dtype, device=self._device)

    # Parsing.

    @cached_property
    def _transitions(self) -> list[torch.Tensor | None]:
        """Entry i: the flat table `(states_(i-1) + 1, v + 1)` of next states, or None where sorted keys are used."""
        flat: list[torch.Tensor | None] = [None]
        for table, dead in zip(self._tree.tables[1:], self.num_states[1:], strict=True):
            if table is not None:
                padded = np.pad(table, ((0, 1), (0, 1)), constant_values=-1)
                table = self._long(np.where(padded < 0, dead, padded).ravel())
            flat.append(table)
        return flat

    @cached_property
    def _keys(self) -> list[torch.Tensor]:
        return [self._long(keys) for keys in self._tree.keys]

    def step(self, length: int, states: torch.Tensor | None, symbols: torch.Tensor) -> torch.Tensor:
        """States of `length` children after reading `symbols` in `states` of one child less (None: at the start)."""
        width, table = self.num_child_symbols, self._transitions[length]
        if table is not None:
            return look_up(table, symbols if states is None else torch.add(symbols, states, alpha=width + 1))
        keys = self._keys[length]  # a dead state's key is larger than all of them
        wanted = symbols if states is None else states * width + symbols
        found = torch.searchsorted(keys, wanted.contiguous()).clamp_(max=len(keys) - 1)
        return torch.where((keys[found] == wanted) & (symbols < width), found, len(keys))

    def read(self, children: torch.Tensor) -> list[torch.Tensor]:
        """States after 1..s children of nodes with children `(..., s)`: a list of tensors `(...)`."""
        states: list[torch.Tensor] = []
        for child in range(self.tuple_size):
            states.append(self.step(child + 1, states[-1] if states else None, children[..., child]))
        return states

    @cached_property
    def parents(self) -> torch.Tensor:
        """The symbol that each state of length s derives from, `(states_s + 1,)`; `num_symbols` for the dead one."""
        return self._long(np.append(self._tree.order // self.rules_per_symbol, self.num_symbols))

    @cached_property
    def log_probs(self) -> torch.Tensor:
        """Log probability of the rule of each state of length s, float64 `(states_s + 1,)`; -inf for the dead one."""
        logs = np.append(np.log(self._probs[self._tree.order]), -np.inf)
        return torch.tensor(logs, dtype=torch.float64, device=self._device)

    # Next-token laws.

    @cached_property
    def _first_child(self) -> torch.Tensor | None:
        """`(V, v)`: the law of the first child given the symbol; None where it would be large."""
        if self.num_symbols * self.num_child_symbols > DENSE_MATRIX_LIMIT:
            return None
        matrix = torch.zeros(self.num_symbols, self.num_child_symbols, dtype=self._dtype, device=self._device)
        first = self.rules[0].view(self.num_symbols, -1)
        return matrix.scatter_add_(1, first, self.rule_probs.view(self.num_symbols, -1))

    @cached_property
    def continuations(self) -> list[tuple[torch.Tensor, torch.Tensor, torch.Tensor]]:
        """Entry i = 0..s-1: parents, probabilities and child i of the rules of every state of length i.

        Each of shape `(states_i + 1, K_i)`: rules that share a prefix are padded to the largest number K_i with rules
        of probability 0, and the dead state has none else. Random rules have K_i of order v m / v^i.
        """
        return [self._continuation(length) for length in range(self.tuple_size)]

    def _continuation(self, length: int):
        starts = self._tree.starts[length]
        index = starts[:-1, None] + np.arange(np.diff(starts).max())
        inside = np.pad(index < starts[1:, None], ((0, 1), (0, 0)))
        rule = np.where(inside, np.pad(index, ((0, 1), (0, 0))), 0)
        flat = self._tree.order[rule]
        parents, probs = flat // self.rules_per_symbol, np.where(inside, self._probs[flat], 0.0)
        return self._long(parents), self._real(probs), self._long(self._tree.sorted_rules[rule, length])

    @cached_property
    def width(self) -> int:
        """The largest number of entries that next-token inference handles for each node."""
        sizes = [probs.shape[1] for _, probs, _ in self.continuations[1 if self._first_child is not None else 0 :]]
        return max([self.num_child_symbols, *sizes])

    def child_law(self, laws: torch.Tensor, child: int, states: torch.Tensor | None) -> torch.Tensor:
        """The joint weight of child `child`'s symbol and of the children before it.

        Args:
            laws (`torch.Tensor`): `(N, V)`, the laws of N nodes.
            child (`int`): 0..s-1.
            states (`torch.Tensor`, *optional*): `(N,)`, the states of the children before; None for the first child.

        Returns:
            `torch.Tensor` of shape `(N, v)`: the sum of laws[parent(r)] p(r) over rules with this prefix, r_child = x.
        """
        if child == 0 and self._first_child is not None:
            with torch.autocast(laws.device.type, enabled=False):  # mixed precision would round float32 laws
                return laws @ self._first_child
        parents, probs, symbols = self.continuations[child]
        if child == 0:
            states = torch.zeros(len(laws), dtype=torch.int64, device=laws.device)
        weights = laws.gather(1, parents.index_select(0, states)).mul_(probs.index_select(0, states))
        joint = laws.new_zeros(len(laws), self.num_child_symbols)
        return joint.scatter_add_(1, symbols.index_select(0, states), weights)


def look_up(table: torch.Tensor, index: torch.Tensor) -> torch.Tensor:
    """`table[index]` for a flat table; on CPUs twice as fast as `take` and three times as fast as indexing."""
    return table.index_select(0, index.reshape(-1)).view(index.shape)


def normalised(weights: torch.Tensor, fill: bool) -> tuple[torch.Tensor, torch.Tensor]:
    """Rows divided by their sums, in place, and whether the sums are positive.

    Rows of zeros belong to impossible contexts. They stay zero, so that everything below is impossible too, or become
    uniform where `fill` is True, so that a finished law is finite.
    """
    total = weights.sum(-1, keepdim=True)
    dead = total == 0
    if fill:
        weights += dead
    weights /= total + dead * (weights.shape[-1] if fill else 1)
    return weights, ~dead.squeeze(-1)
