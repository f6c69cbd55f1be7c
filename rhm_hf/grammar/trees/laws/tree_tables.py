"""The rules of layered trees as tensors, built once for every device, dtype and kind.

The rules of a level are read from left to right. A *state* of length j is a prefix of j children that some rule of
more children begins with; a state of length 1 is a symbol. Two tensors belong to the states of length j, with v
symbols below the level and V on it:

- `closing[j + 1]`, `(states, v, V)`: the probability that a symbol takes the rule of arity j + 1 that is this state
  followed by this symbol;
- `opening[j]`, `(states, v, V)`: the same for all rules that go on with this symbol, whatever follows.
"""

from typing import NamedTuple

import numpy as np
import torch

from ...source import Source


TABLE_LIMIT = 2**27  # entries of one tensor: 1 GiB in float64


class TreeTables:
    """All levels, `tables[level]`, level = 1..L, and the root law.

    Args:
        grammar ([`TreeGrammar`]): the grammar.
        device, dtype: of the tensors.
        counting (`bool`, *optional*, defaults to `False`): 1 instead of every positive probability: weights then count
            derivations.
    """

    def __init__(self, grammar: Source, device: torch.device, dtype: torch.dtype, counting: bool = False):
        self.device: torch.device = device
        self.dtype: torch.dtype | None = dtype
        self.depth: int = grammar.depth
        self.vocab_size: int = grammar.vocab_size
        root = np.sign(grammar.root_probs) if counting else grammar.root_probs
        self.root_probs: torch.Tensor = torch.tensor(root, dtype=dtype, device=device)
        self.levels: list[LevelTables] = [
            LevelTables(
                grammar.rules_at(level),
                [np.sign(p) if counting else p for p in grammar.rule_probs_at(level)],
                grammar.num_symbols_at(level - 1),
                device,
                dtype,
            )
            for level in range(1, grammar.depth + 1)
        ]

    def __getitem__(self, level: int) -> "LevelTables":
        return self.levels[level - 1]


class SymbolRules(NamedTuple):
    """The rules of one arity, symbol by symbol, `(V, rules)` each; symbols with fewer have rules of probability 0.

    Args:
        states: the state of all children but the last.
        last: the last child.
        probs: probabilities.
    """

    states: torch.Tensor
    last: torch.Tensor
    probs: torch.Tensor


class LevelTables:
    """The rules that expand the symbols of one level.

    Attributes:
        num_symbols, num_child_symbols (`int`): V and v.
        longest (`int`): the largest arity.
        num_states (`list[int]`): entry j: the number of states of length j, 0 .. longest - 1.
        parents, symbols (`list`): entry j >= 2: the state of length j - 1 that each state of length j extends, and the
            symbol that it adds; None where the states are all pairs, in order.
    """

    def __init__(
        self,
        rules: list[np.ndarray],
        probs: list[np.ndarray],
        num_child_symbols: int,
        device: torch.device,
        dtype: torch.dtype | None,
    ):
        self.num_symbols: int = len(rules[0])
        self.num_child_symbols: int = num_child_symbols
        self.device: torch.device = device
        self.dtype: torch.dtype | None = dtype
        flat = []  # (parents, tuples, probabilities) of the rules that exist, by arity
        for group, p in zip(rules, probs, strict=True):
            a, k = np.nonzero(p)
            if len(a):
                flat.append((a, group[a, k].astype(np.int64), p[a, k]))
        self.longest: int = max(tuples.shape[1] for _, tuples, _ in flat)
        self.num_states: list[int] = [1]
        self.parents: list[torch.Tensor | None] = [None]
        self.symbols: list[torch.Tensor | None] = [None]
        states = [[np.zeros(len(a), np.int64)] for a, _, _ in flat]  # of every rule, by length
        for length in range(1, self.longest):
            self._add_states(length, flat, states)
        self.closing: dict[int, torch.Tensor] = {}
        self.rules_of: dict[int, SymbolRules] = {
            tuples.shape[1]: self._by_symbol(a, own[tuples.shape[1] - 1], tuples[:, -1], p)
            for (a, tuples, p), own in zip(flat, states, strict=True)
        }
        self.opening: list[torch.Tensor] = []
        for length in range(self.longest):
            for (a, tuples, p), own in zip(flat, states, strict=True):
                if tuples.shape[1] == length + 1:
                    self.closing[length + 1] = self._dense(length, [(own[length], tuples[:, length], a, p)])
            going_on = [
                (own[length], tuples[:, length], a, p)
                for (a, tuples, p), own in zip(flat, states, strict=True)
                if tuples.shape[1] > length
            ]
            only_closes = length + 1 == self.longest
            self.opening.append(self.closing[self.longest] if only_closes else self._dense(length, going_on))

    def _add_states(self, length: int, flat, states) -> None:
        """Numbers the prefixes of `length` children of rules that have more."""
        v = self.num_child_symbols
        longer = [k for k, (_, tuples, _) in enumerate(flat) if tuples.shape[1] > length]
        keys = [states[k][length - 1] * v + flat[k][1][:, length - 1] for k in longer]
        found = np.unique(np.concatenate(keys))
        if length == 1 or 2 * len(found) > self.num_states[-1] * v:
            size = self.num_states[-1] * v
            self.parents.append(None)
            self.symbols.append(None)
            numbers = keys
        else:
            size = len(found)
            self.parents.append(torch.tensor(found // v, device=self.device))
            self.symbols.append(torch.tensor(found % v, device=self.device))
            numbers = [np.searchsorted(found, key) for key in keys]
        self.num_states.append(size)
        for k, number in zip(longer, numbers, strict=True):
            states[k].append(number)

    def _dense(self, length: int, entries) -> torch.Tensor:
        shape = (self.num_states[length], self.num_child_symbols, self.num_symbols)
        if np.prod(shape, dtype=object) > TABLE_LIMIT:
            raise ValueError(
                f"rules of {length + 1} children or more over {self.num_child_symbols} symbols are too many for exact "
                f"inference: a table would have {np.prod(shape, dtype=object)} entries, more than {TABLE_LIMIT}; use "
                "fewer symbols or shorter rules"
            )
        table = np.zeros(shape)
        for states, symbols, parents, probs in entries:
            np.add.at(table, (states, symbols, parents), probs)
        return torch.tensor(table, dtype=self.dtype, device=self.device)

    def _by_symbol(self, parents, states, last, probs) -> SymbolRules:
        counts = np.bincount(parents, minlength=self.num_symbols)
        column = np.arange(len(parents)) - (np.cumsum(counts) - counts)[parents]  # rules are in their parents' order
        shape = (self.num_symbols, counts.max())
        tables = np.zeros(shape, np.int64), np.zeros(shape, np.int64), np.zeros(shape)
        for table, values in zip(tables, (states, last, probs), strict=True):
            table[parents, column] = values
        states, last, probs = tables
        return SymbolRules(
            torch.tensor(states, device=self.device),
            torch.tensor(last, device=self.device),
            torch.tensor(probs, dtype=self.dtype, device=self.device),
        )

    def split(self, length: int, states: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """States of `length` children, 2 or more, as the states of one child less and the symbols that they add."""
        if self.parents[length] is None:
            v = self.num_child_symbols
            return torch.div(states, v, rounding_mode="floor"), states % v
        return self.parents[length][states], self.symbols[length][states]

    def join(self, length: int, states: torch.Tensor, symbols: torch.Tensor) -> torch.Tensor:
        """The states of `length` children, 2 or more, that states and symbols make; -1 where there is none."""
        key = states * self.num_child_symbols + symbols
        if self.parents[length] is None:
            return key
        known = self.parents[length] * self.num_child_symbols + self.symbols[length]
        at = torch.searchsorted(known, key).clamp_(max=len(known) - 1)
        return torch.where(known[at] == key, at, -1)
