"""`SparseGrammar`: the Sparse RHM, a grammar whose symbols lie scattered among uninformative ones.

Every node of a derivation is written not as its s children but as a *patch* of s (s0 + 1) slots, in which the children
lie in order with *empty* nodes between them; a patch below an empty node is all empty. Where the children are is drawn
anew at every node, independently of the symbols (Tomasini and Wyart, arXiv 2404.10727). A sentence of
d = (s (s0 + 1))^L tokens is therefore a sentence of the base grammar, of d' = s^L tokens, and one placement for each
of the I = (d' - 1) / (s - 1) nodes above them; it determines both.

The empty symbol is the last of its level, so that the informative ones keep their numbers and look the same to every
tool; `vocab_size`, which counts it, is one more than the base grammar's. The root is never empty.
"""

import math
from functools import cached_property
from typing import Annotated, Any, ClassVar

import numpy as np

from ...checks import AnyIndex, OwnCheck, check_integer
from .. import registry
from ..fixed_tree import FixedTree
from ..layered.grammar import Grammar
from ..layered.parsing import checked_tokens
from ..layered.prefix_tree import PrefixTree
from ..names import Ensemble
from . import placed_parsing
from .parameters import SparseParameters
from .placements import Placements, sparse_suffix


EXPANSION_LIMIT = 2**26  # symbols on the right-hand sides of one level of `to_grammar`


class SparseGrammar(FixedTree):
    """A grammar with s0 uninformative slots for every informative child, at every level.

    What needs rules (interventions, laws of tuples) takes it too: `rules_at` and its kin are those of `to_grammar`.

    Args:
        base ([`Grammar`]): the informative symbols' grammar, of any rules and probabilities.
        sparsity (`int`, *optional*, defaults to 1): s0, uninformative slots for each informative child.
        placement (`str`, *optional*, defaults to `"A"`): `"A"`: each child in a sub-patch of s0 + 1 slots of its own,
            every slot equally likely. `"B"`: the children anywhere in their order, all placements equally likely.

    Raises:
        `ValueError`: for values out of range, more than 2^20 placements of one patch, or sentences of 2^31 tokens.
    """

    family = "sparse"
    laws_class: ClassVar[str] = "rhm_hf.grammar.sparse.laws.sparse_laws:SparseLaws"

    def __init__(self, base: Annotated[Grammar, OwnCheck()], sparsity: int = 1, placement: str = "A"):
        if not isinstance(base, Grammar):
            raise ValueError(f"base={base!r} is no Grammar: make one with Grammar.from_name or Grammar.from_rules")
        self.base: Grammar = base
        self.placement: str = placement
        self.sparsity: int = check_integer("sparsity", sparsity, 1)
        slots = [base.tuple_size_at(level) * (self.sparsity + 1) for level in range(1, base.depth + 1)]
        if math.prod(slots) >= 2**31:
            raise ValueError(
                f"sparsity={self.sparsity} is too large: sentences of {base.name} would have {math.prod(slots)} tokens"
                "; less than 2^31 are supported"
            )
        made: dict[int, Placements] = {}  # levels of one tuple size share theirs
        for level in range(1, base.depth + 1):
            if (size := base.tuple_size_at(level)) not in made:
                made[size] = Placements(size, self.sparsity, placement)
        self._placements = [made[base.tuple_size_at(level)] for level in range(1, base.depth + 1)]

    # Shape. All of these take a level, 0 = leaves .. depth = root; nodes and symbols count the empty ones.

    @property
    def depth(self) -> int:
        """L, the number of levels of rules."""
        return self.base.depth

    @property
    def vocab_size(self) -> int:
        """v, the number of leaf symbols, of which the uninformative token `vocab_size - 1` is one."""
        return self.base.vocab_size + 1

    def num_symbols_at(self, level: int) -> int:
        """The number of symbols of a level, 0..L, the empty one counted below the root."""
        return self.base.num_symbols_at(level) + (level < self.depth)

    def empty_at(self, level: int) -> int:
        """The empty symbol of a level, 0..L-1: its last one."""
        if level == self.depth:
            raise ValueError(f"level={level} has no empty symbol: the root is never empty")
        return self.base.num_symbols_at(level)

    def tuple_size_at(self, level: int) -> int:
        """s (s0 + 1), the number of children of a level-`level` node, empty ones counted, 1..L."""
        return self.placements_at(level).num_slots

    def placements_at(self, level: int) -> Placements:
        """The placements of the children of a level-`level` node, 1..L."""
        self.base.rules_at(level)  # checks the level
        return self._placements[level - 1]

    def block_length(self, level: int) -> int:
        """The number of tokens below one node of a level, 0..L."""
        self.base.num_symbols_at(level)  # checks the level
        return math.prod(self.tuple_size_at(below) for below in range(1, level + 1))

    @cached_property
    def sentence_length(self) -> int:
        """d = (s (s0 + 1))^L, in tokens."""
        return math.prod(placements.num_slots for placements in self._placements)

    # Identity.

    @property
    def parameters(self) -> SparseParameters | None:
        """Those of the base with `sparsity` and `placement`, or None."""
        base = self.base.parameters
        return None if base is None else SparseParameters(base, self.sparsity, self.placement)

    @property
    def name(self) -> str:
        """The base's name, `-sparse<s0>`, and `b` after it for placement B: `v8-m4-s2-L3-sparse1`."""
        return self.base.name + sparse_suffix(self.sparsity, self.placement)

    def arrays(self) -> dict[str, np.ndarray]:
        """Those of the base."""
        return self.base.arrays()

    def settings(self) -> dict[str, Any]:
        """Those of the base, and `sparsity` and `placement`."""
        return {**self.base.settings(), "sparsity": self.sparsity, "placement": self.placement}

    @classmethod
    def from_arrays(
        cls, arrays: dict[str, np.ndarray], settings: dict[str, Any], parameters: Ensemble | None = None
    ) -> "SparseGrammar":
        """See [`Source.from_arrays`]."""
        of_base = None if parameters is None else parameters.base
        return cls(Grammar.from_arrays(arrays, settings, of_base), settings["sparsity"], settings["placement"])

    @classmethod
    def drawn_from(cls, parameters: SparseParameters) -> "SparseGrammar":
        """See [`Source.drawn_from`]."""
        return cls(Grammar.drawn_from(parameters.base), parameters.sparsity, parameters.placement)

    # Laws.

    @property
    def is_equiprobable(self) -> bool:
        """Whether all sentences have the same probability: where those of the base have."""
        return self.base.is_equiprobable

    @cached_property
    def placement_counts(self) -> list[int]:
        """Entry ℓ, ℓ = 0..L: in how many ways the informative tokens below one level-ℓ node can lie."""
        counts = [1]
        for placements in self._placements:
            counts.append(placements.count * counts[-1] ** placements.tuple_size)
        return counts

    @cached_property
    def num_sentences(self) -> int:
        """The exact number of sentences: those of the base times the placements of all their nodes."""
        return self.base.num_sentences * self.placement_counts[-1]

    @cached_property
    def log_num_placements(self) -> float:
        """Nats: minus the log probability of the placements of a sentence, the same for all sentences."""
        return sum(
            self.base.num_nodes_at(level) * math.log(self.placements_at(level).count)
            for level in range(1, self.depth + 1)
        )

    @property
    def entropy(self) -> float:
        """Entropy of a sentence in nats, exact: the base's and that of the placements, which are independent."""
        return self.base.entropy + self.log_num_placements

    def to_grammar(self) -> Grammar:
        """The same law as an ordinary [`Grammar`] with a rule for every rule and placement, and one for empty nodes.

        It has (s0 + 1)^s (placement A) times the rules of the base; it is built once, and kept.

        Raises:
            `ValueError`: if the rules of one level would hold more than 2^26 symbols.
        """
        return self._ordinary

    @cached_property
    def _ordinary(self) -> Grammar:
        rules, probs = zip(*(self._expanded_rules(level) for level in range(self.depth, 0, -1)), strict=True)
        return Grammar.from_rules(rules, probs, self.base.root_probs, self.vocab_size)

    def rules_at(self, level: int) -> np.ndarray:
        """The rules of `to_grammar`, 1..L: int32 `(symbols, rules times placements, slots)`."""
        return self._ordinary.rules_at(level)

    def rule_probs_at(self, level: int) -> np.ndarray:
        """The probabilities of `rules_at(level)`; those of an empty node's patch are 1 and zeros."""
        return self._ordinary.rule_probs_at(level)

    def prefix_tree(self, level: int) -> PrefixTree:
        """The prefix tree of `rules_at(level)`."""
        return self._ordinary.prefix_tree(level)

    @property
    def root_probs(self) -> np.ndarray:
        """The law of the root, the base's: `(classes,)`."""
        return self.base.root_probs

    def _expanded_rules(self, level: int) -> tuple[np.ndarray, np.ndarray]:
        base, base_probs, placements = (
            self.base.rules_at(level),
            self.base.rule_probs_at(level),
            self.placements_at(level),
        )
        symbols, per_symbol, _ = base.shape
        shape = (self.num_symbols_at(level), per_symbol * placements.count, placements.num_slots)
        if math.prod(shape) > EXPANSION_LIMIT:
            raise ValueError(
                f"sparsity={self.sparsity} gives level {level} of {self.name} {shape[0] * shape[1]} rules of "
                f"{shape[2]} symbols: too many for an ordinary grammar; use the sparse grammar itself"
            )
        rules = np.full((shape[0], per_symbol, placements.count, shape[2]), self.empty_at(level - 1), dtype=np.int32)
        for rank, slots in enumerate(placements.slots):
            rules[:symbols, :, rank, slots] = base
        probs = np.zeros(shape[:2])
        probs[:symbols] = np.repeat(base_probs / placements.count, placements.count, axis=1)
        probs[symbols:, 0] = 1.0  # an empty node's patch is all empty
        return rules.reshape(shape), probs

    # Sentences.

    def sentence(self, index: AnyIndex) -> np.ndarray:
        """The sentence of an index in `[0, num_sentences)`: the index of the base's sentence and of its placements."""
        index = check_integer("index", index, 0, self.num_sentences)
        base_index, rank = divmod(index, self.placement_counts[-1])
        placements = placed_parsing.placements_of_rank(self, rank)
        return self.place(self.base.sentence(base_index)[None], placements)[0]

    def index(self, tokens: np.ndarray) -> int:
        """The index of a sentence, inverse of [`SparseGrammar.sentence`]; `ValueError` where it is ungrammatical."""
        tokens = np.asarray(tokens)
        if tokens.shape != (self.sentence_length,):
            raise ValueError(f"tokens has shape {tokens.shape}: one sentence has shape ({self.sentence_length},)")
        _, placements = placed_parsing.parse(self, tokens[None])
        rank = placed_parsing.rank_of_placements(self, placements)
        return self.base.index(self.informative(tokens[None])[0]) * self.placement_counts[-1] + rank

    @cached_property
    def sampling_plan(self):
        """How random numbers become sentences, built once: a [`~rhm_hf.grammar.sparse.sparse_plan.SparsePlan`]."""
        from .sparse_plan import SparsePlan  # numba takes a moment to import

        return SparsePlan(self)

    def parse(self, tokens: np.ndarray) -> list[np.ndarray]:
        """The derivation of every sentence, empty nodes included.

        Args:
            tokens (`np.ndarray`): integers of shape `(num, sentence_length)`.

        Returns:
            `list[np.ndarray]`: entry ℓ, ℓ = 0..L, of shape `(num, nodes at level ℓ)` and the smallest of uint8, uint16
            and int32 that holds the level's symbols. Entry 0 holds the tokens.

        Raises:
            `ValueError`: if a sentence is ungrammatical; it names the first one and the lowest level where it fails.
        """
        return placed_parsing.parse(self, tokens)[0]

    def placements(self, tokens: np.ndarray) -> list[np.ndarray]:
        """Where the children of every informative node lie.

        Returns:
            `list[np.ndarray]`: entry ℓ - 1, ℓ = 1..L, int64 of shape `(num, base.num_nodes_at(ℓ))`: ranks of
            placements, rows of `placements_at(ℓ).slots`, of the nodes of the base's derivation.
        """
        return placed_parsing.parse(self, tokens)[1]

    def informative(self, tokens: np.ndarray) -> np.ndarray:
        """The base sentences `(num, base.sentence_length)` of sentences that [`SparseGrammar.parse`] accepts."""
        tokens = checked_tokens(self, tokens)
        kept = tokens[tokens != self.empty_at(0)]
        if len(kept) != len(tokens) * self.base.sentence_length:
            raise ValueError(
                f"tokens: every sentence of {self.name} has {self.base.sentence_length} informative tokens"
            )
        return kept.reshape(-1, self.base.sentence_length).astype(self.base.token_dtype)

    def place(self, base_tokens: np.ndarray, placements: list[np.ndarray]) -> np.ndarray:
        """Sentences from base sentences and placements, inverse of `informative` and `placements`.

        Args:
            base_tokens (`np.ndarray`): symbols of shape `(num, base.sentence_length)`.
            placements (`list[np.ndarray]`): as [`SparseGrammar.placements`] returns them.

        Returns:
            `np.ndarray` of shape `(num, sentence_length)` and `token_dtype`.
        """
        return placed_parsing.place(self, base_tokens, placements)

    def list_sentences(self) -> tuple[np.ndarray, np.ndarray]:
        """See [`~rhm_hf.grammar.enumeration.enumerate_sentences`]."""
        return placed_parsing.enumerate_sparse(self)

    def shape(self) -> dict[str, str]:
        """What a card says about the shape."""
        slots = f"{self.sparsity} (placement {self.placement})"
        return {**self.base.shape(), "uninformative slots per child s0": slots}


registry.register(SparseGrammar, SparseParameters)
