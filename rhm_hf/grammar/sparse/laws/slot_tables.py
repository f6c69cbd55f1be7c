"""What exact inference needs to know of a sparse grammar: the base's tables, and where children can lie.

At every level below the root, symbols are the base's, then the *empty* one; nodes that no rule and placement derive
have one more, the *dead* one. So level ℓ's empty and dead symbols are V and V + 1, V being the base's number of them.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
import torch

from ...fixed_tree import FixedTree
from ...laws.cache import cached_tables
from ...layered.laws.rule_tables import LevelTables, Tables, look_up, tables_for


class SparseTables:
    """All levels of a sparse grammar: `tables[level]`, level = 1..L."""

    def __init__(self, grammar: FixedTree, device: torch.device, dtype: torch.dtype):
        # No reference to the grammar itself: it is the cache's weak key.
        self.base: Tables = tables_for(grammar.base, device, dtype)
        self.device: torch.device = device
        self.dtype: torch.dtype = dtype
        self.depth: int = grammar.depth
        self.vocab_size: int = grammar.vocab_size
        self.sentence_length: int = grammar.sentence_length
        self.blocks: list[int] = [grammar.block_length(level) for level in range(grammar.depth + 1)]
        self.levels: list[SparseLevel] = [
            SparseLevel(self.base[level], grammar.base.prefix_tree(level), grammar.placements_at(level), device, dtype)
            for level in range(1, grammar.depth + 1)
        ]

    def __getitem__(self, level: int) -> "SparseLevel":
        return self.levels[level - 1]

    @cached_property
    def marginals(self) -> list[torch.Tensor]:
        """Entry ℓ = 0..L of shape `(nodes at level ℓ, symbols)`: the law of every node given nothing.

        The root's law has an empty symbol too here, of probability 0.
        """
        laws = [torch.nn.functional.pad(self.base.root_probs.double(), (0, 1))[None]]
        for level in range(self.depth, 0, -1):
            at, t = self[level], self.base[level]
            weights = (laws[-1][:, :-1, None] * t.rule_probs.double().view(t.num_symbols, -1)).flatten(1)
            children = weights.new_zeros(len(weights), at.num_slots, t.num_child_symbols + 1)
            for child in range(t.tuple_size):
                law = weights.new_zeros(len(weights), t.num_child_symbols).index_add_(1, t.rules[child], weights)
                children[:, :, :-1] += law[:, None] * at.occupancy[:, child, None]
            children[:, :, -1] = laws[-1][:, -1:] + laws[-1][:, :-1].sum(1, keepdim=True) * at.vacancy
            laws.append(children.flatten(0, 1))
        return [law.to(self.dtype) for law in laws[::-1]]


sparse_tables_for: Callable[..., SparseTables] = cached_tables(SparseTables)


class SparseLevel:
    """The patches below the nodes of one level.

    Attributes:
        t (`LevelTables`): the rules of the level's informative symbols.
        kind (`str`), num_placements (`int`), num_slots (`int`): of the placements in a patch.
        slots (`torch.Tensor`): int64 `(placements, s)`, the children's slots.
        hazards (`torch.Tensor`): `(slots, s + 1)`, the probability that slot t holds a child when k are before it.
        occupancy (`torch.Tensor`): float64 `(slots, s)`, the probability that slot t holds child c.
        vacancy (`torch.Tensor`): float64 `(slots,)`, the probability that slot t holds none.
    """

    def __init__(self, t: LevelTables, tree: Any, placements: Any, device: torch.device, dtype: torch.dtype):
        self.t: LevelTables = t
        self._tree = tree
        self._device = device
        self.kind: str = placements.kind
        self.num_placements: int = placements.count
        self.num_slots: int = placements.num_slots
        self.slots: torch.Tensor = torch.tensor(placements.slots, dtype=torch.int64, device=device)
        self.hazards: torch.Tensor = torch.tensor(placements.hazards(), dtype=dtype, device=device)
        self.occupancy: torch.Tensor = torch.tensor(placements.occupancy(), dtype=torch.float64, device=device)
        self.vacancy: torch.Tensor = 1 - self.occupancy.sum(1)

    @cached_property
    def prefixes(self) -> list[tuple[torch.Tensor, torch.Tensor]]:
        """Entry k - 1, k = 1..s: of every prefix of k children, the prefix without its last child, and that child.

        Prefixes are numbered as the states of the base's prefix tree, those of length s as the base's rules, of which
        those of probability 0 count as any.
        """
        tree, width = self._tree, self._tree.num_child_symbols
        pairs = [np.divmod(keys, width) for keys in tree.keys[1:]]
        for place in range(2):
            of_rules = np.zeros(self.t.rules.shape[1], dtype=np.int64)
            of_rules[tree.order] = pairs[-1][place]
            pairs[-1] = (*pairs[-1][:place], of_rules, *pairs[-1][place + 1 :])
        return [tuple(torch.tensor(array, device=self._device) for array in pair) for pair in pairs]

    @cached_property
    def rule_probs(self) -> torch.Tensor:
        """`(R, 1)`, the base's, in a tensor of their own that automatic differentiation may keep."""
        return self.t.rule_probs.clone()

    def log_probs(self, read: "Patches") -> torch.Tensor:
        """Log probability of each patch given its symbol, float64: of its rule and placement; 0 for empty patches."""
        logs = look_up(self.t.log_probs, read.states[-1]) - math.log(self.num_placements)
        # A patch that holds a rule's children in the wrong slots is dead all the same.
        logs = logs.masked_fill_(read.parents > self.t.num_symbols, -torch.inf)
        return logs.masked_fill_(read.parents == self.t.num_symbols, 0.0)

    def read(self, patches: torch.Tensor) -> "Patches":
        """Parses patches `(..., slots)` of child symbols from the left."""
        t = self.t
        informative = patches != t.num_child_symbols
        count = informative.cumsum(-1)
        before = (count - informative.long()).clamp_(max=t.tuple_size)
        # The children in their order; what is empty, or a child too many, lands in a last column that is not read.
        children = patches.new_full((*patches.shape[:-1], t.tuple_size + 1), t.num_child_symbols)
        column = torch.where(informative, before, t.tuple_size)
        children.scatter_(-1, column, patches.clamp(max=t.num_child_symbols))  # dead children are the base's dead ones
        states = t.read(children[..., : t.tuple_size])
        hazard = self.hazards[torch.arange(self.num_slots, device=patches.device), before]
        seen = torch.where(informative, hazard, 1 - hazard).cumprod(-1)
        history = torch.cat([torch.ones_like(seen[..., :1]), seen[..., :-1]], -1)
        parents = look_up(t.parents, states[-1])
        parents = torch.where((parents == t.num_symbols) | (seen[..., -1] == 0), t.num_symbols + 1, parents)
        parents = torch.where(count[..., -1] == 0, t.num_symbols, parents)
        return Patches(before, history, hazard, states, parents)


@dataclass
class Patches:
    """What reading patches from the left tells, each of shape `(..., slots)` but for the last two, `(...)`.

    Attributes:
        before (`torch.Tensor`): int64, how many children are before each slot, s if there are more.
        history (`torch.Tensor`): the probability of the occupation of the slots before, given an informative node.
        hazard (`torch.Tensor`): the probability, given that, that the slot holds a child.
        states (`list[torch.Tensor]`): the base's states after 1..s children.
        parents (`torch.Tensor`): int64, the parents' symbols: informative, V for empty, V + 1 for dead.
    """

    before: torch.Tensor
    history: torch.Tensor
    hazard: torch.Tensor
    states: list[torch.Tensor]
    parents: torch.Tensor

    def first(self, nodes: int) -> "Patches":
        """The same for the first `nodes` nodes of every sentence, `(n, nodes, slots)`."""
        return Patches(
            self.before[:, :nodes],
            self.history[:, :nodes],
            self.hazard[:, :nodes],
            [state[:, :nodes] for state in self.states],
            self.parents[:, :nodes],
        )
