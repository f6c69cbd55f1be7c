"""`Grammar`: an immutable layered probabilistic grammar on a regular tree.

Lists of rules run in generation order, root first; the word *level* counts from the leaves (0 = tokens, L = root).
`grammar.rules_at(level)` hides the difference. Neither the root law nor the rule probabilities need be uniform, and
levels may differ in their numbers of symbols, rules and children. Rules of probability 0 count as absent.
"""

import hashlib
import math
from collections.abc import Iterable, Sequence
from functools import cached_property
from pathlib import Path
from typing import Any, ClassVar

import numpy as np

from ...checks import AnyIndex, PositiveInt
from .. import registry
from ..fixed_tree import FixedTree
from ..names import Ensemble, checked_vocabulary
from ..source import Source
from . import indexing, parsing, subtrees, validation
from .parameters import GrammarParameters
from .prefix_tree import PrefixTree
from .uneven import LayeredParameters


class Grammar(FixedTree):
    """A grammar: per level its production rules and their probabilities, and the law of the root.

    Make one with [`Grammar.from_name`], [`Grammar.from_parameters`], [`Grammar.from_rules`] or
    [`Grammar.from_pretrained`]; [`Grammar.from_text`] and [`Grammar.from_file`] read general grammars. Grammars are
    immutable, compare and hash by content, and pickle.
    """

    family = "layered"
    laws_class: ClassVar[str] = "rhm_hf.grammar.layered.laws.layered_laws:LayeredLaws"

    def __init__(
        self, rules: Any, rule_probs: Any, root_probs: Any, vocab_size: PositiveInt, parameters: Ensemble | None = None
    ):
        # Checked input only; the class methods check. Arrays are frozen: laws are cached per grammar.
        self.rules: tuple[np.ndarray, ...] = tuple(_frozen(r, np.int32) for r in rules)
        self.rule_probs: tuple[np.ndarray, ...] = tuple(_frozen(p, np.float64) for p in rule_probs)
        self.root_probs: np.ndarray = _frozen(root_probs, np.float64)
        self.vocab_size: int = checked_vocabulary(vocab_size, 0)
        self.parameters = parameters

    @staticmethod
    def from_parameters(parameters: Any) -> Source:
        """Draws what `parameters.rules_seed` picks from the ensemble of the parameters, of any family.

        Args:
            parameters: of any registered kind, such as [`GrammarParameters`].

        Returns:
            A source of the family that the parameters belong to; of [`GrammarParameters`] a [`Grammar`].
        """
        return registry.from_parameters(parameters)

    @staticmethod
    def from_name(name: str, rules_seed: int = 0) -> Source:
        """`Grammar.from_name("v16-m4-s2-L3", rules_seed=0)`; the name says the family, see `from_parameters`."""
        return registry.from_parameters(registry.parameters_from_name(name, rules_seed))

    @staticmethod
    def from_text(text: str, start: str | None = None) -> Source:
        """The source of rules written as text: `Grammar.from_text("S -> a S b [0.4] | a b [0.6]")`.

        Quotes are optional: what stands on no left side is a terminal. The first left side is the start symbol. Rules
        are equiprobable where no probabilities are written; `S -> A | [0.2]` has an empty rule. The strings of the
        tokens are `terminals`, in the order of ids.

        Args:
            text (`str`): the rules, see [`~rhm_hf.grammar.PCFG.from_text`].
            start (`str`, *optional*, defaults to the first left side): the start symbol.

        Returns:
            [`~rhm_hf.grammar.PCFG`].

        Raises:
            `ValueError`: naming the line or the symbol, and the remedy.
        """
        return registry.read_rules(text, start)

    @staticmethod
    def from_file(path: str | Path, start: str | None = None) -> Source:
        """The source of a file of rules: text as in `from_text`, or PhysicsLM4's JSON where the name ends in `.json`.

        Args:
            path (`str` or `Path`): the file.
            start (`str`, *optional*, defaults to the first left side): the start symbol of a text.

        Raises:
            `ValueError`: naming the file, the line or the symbol, and the remedy.
        """
        return registry.read_rules_file(path, start)

    @classmethod
    def drawn_from(cls, parameters: GrammarParameters | LayeredParameters) -> "Grammar":
        """See [`Source.drawn_from`]; the classes are equally probable."""
        rules, probs, vocab_size = parameters.draw_rules()
        return cls(rules, probs, np.full(len(rules[0]), 1 / len(rules[0])), vocab_size, parameters)

    @classmethod
    def uniform(cls, rules: Any, vocab_size: int, parameters: Ensemble | None = None) -> "Grammar":
        """Checked rules with equal probabilities, and equally probable classes."""
        probs = [np.full(r.shape[:2], 1 / r.shape[1]) for r in rules]
        return cls(rules, probs, np.full(len(rules[0]), 1 / len(rules[0])), vocab_size, parameters)

    @classmethod
    def from_rules(
        cls,
        rules: Sequence[np.ndarray],
        rule_probs: Sequence[np.ndarray] | None = None,
        root_probs: np.ndarray | None = None,
        vocab_size: int | None = None,
    ) -> "Grammar":
        """A grammar of any given rules and probabilities.

        Args:
            rules (`Sequence` of integer arrays): root first, each of shape `(symbols, rules per symbol, children)`;
                the children of one entry are symbols of the next, those of the last entry are tokens.
            rule_probs (`Sequence` of arrays, *optional*, defaults to uniform): shapes `(symbols, rules per symbol)`,
                each row a probability law. A rule of probability 0 counts as absent.
            root_probs (array, *optional*, defaults to uniform): shape `(classes,)`, the law of the root.
            vocab_size (`int`, *optional*, defaults to the largest token + 1): number of leaf symbols.

        Raises:
            `ValueError`: for wrong shapes or types, symbols out of range, laws that do not sum to 1 within 1e-6, or
                ambiguous rules (two rules of one level with the same tuple).
        """
        rules, rule_probs, root_probs, vocab_size = validation.checked(rules, rule_probs, root_probs, vocab_size)
        grammar = cls(rules, rule_probs, root_probs, vocab_size)
        validation.check_unambiguous(grammar)
        return grammar

    # Shape. All of these take a level, 0 = leaves .. depth = root.

    @property
    def depth(self) -> int:
        """L, the number of levels of rules."""
        return len(self.rules)

    def rules_at(self, level: int) -> np.ndarray:
        """The rules that expand a level-`level` symbol, `level` = 1..L: int32 `(symbols, rules, children)`."""
        return self.rules[self.depth - self._checked_level(level, 1)]

    def rule_probs_at(self, level: int) -> np.ndarray:
        """The probabilities of `rules_at(level)`: float64 `(symbols, rules)`."""
        return self.rule_probs[self.depth - self._checked_level(level, 1)]

    def num_symbols_at(self, level: int) -> int:
        """The number of symbols of a level, 0..L."""
        return self.vocab_size if self._checked_level(level, 0) == 0 else self.rules_at(level).shape[0]

    def tuple_size_at(self, level: int) -> int:
        """The number of children of a level-`level` node, 1..L."""
        return self.rules_at(level).shape[2]

    @cached_property
    def sentence_length(self) -> int:
        """d, in tokens."""
        return math.prod(r.shape[2] for r in self.rules)

    # Identity.

    @cached_property
    def fingerprint(self) -> str:
        """SHA-256 of all rules and probabilities, in hexadecimal."""
        digest = hashlib.sha256(f"{self.vocab_size}".encode())
        for array in (*self.rules, *self.rule_probs, self.root_probs):
            little_endian = array.astype(array.dtype.newbyteorder("<"), copy=False)
            digest.update(f"{array.shape}".encode() + little_endian.tobytes())
        return digest.hexdigest()

    def arrays(self) -> dict[str, np.ndarray]:
        """`root_probs` and, for every entry g of the lists, `rules.g` and `rule_probs.g`."""
        arrays = {"root_probs": self.root_probs}
        for generation, (rules, probs) in enumerate(zip(self.rules, self.rule_probs, strict=True)):
            arrays[f"rules.{generation}"], arrays[f"rule_probs.{generation}"] = rules, probs
        return arrays

    def settings(self) -> dict[str, Any]:
        """The number of tokens, of which some may occur in no rule."""
        return {"vocab_size": self.vocab_size}

    @classmethod
    def from_arrays(
        cls, arrays: dict[str, np.ndarray], settings: dict[str, Any], parameters: Ensemble | None = None
    ) -> "Grammar":
        """See [`Source.from_arrays`]."""
        generations = range(sum(name.startswith("rules.") for name in arrays))
        rules, probs = ([arrays[f"{name}.{g}"] for g in generations] for name in ("rules", "rule_probs"))
        grammar = cls(*validation.checked(rules, probs, arrays["root_probs"], settings["vocab_size"]), parameters)
        validation.check_unambiguous(grammar)
        return grammar

    # Laws.

    def prefix_tree(self, level: int) -> PrefixTree:
        """The prefix tree of `rules_at(level)`, built once."""
        return self._prefix_trees[self._checked_level(level, 1) - 1]

    @cached_property
    def _prefix_trees(self) -> list[PrefixTree]:
        return [
            PrefixTree(self.rules_at(level), self.rule_probs_at(level), self.num_symbols_at(level - 1))
            for level in range(1, self.depth + 1)
        ]

    @cached_property
    def is_equiprobable(self) -> bool:
        """Whether all sentences have the same probability: a uniform root law and uniform rules."""
        return all(np.ptp(p) == 0 for p in (*self.rule_probs, self.root_probs))

    @cached_property
    def num_sentences(self) -> int:
        """The exact number of sentences of positive probability (P_max = n_c m^((d-1)/(s-1)) for the RHM)."""
        return sum(n for n, p in zip(self.subtree_counts[-1], self.root_probs, strict=True) if p > 0)

    @cached_property
    def subtree_counts(self) -> list[list[int]]:
        """Entry ℓ, ℓ = 0..L: how many different subtrees each level-ℓ symbol has, as Python integers."""
        return indexing.count_subtrees(self)

    @cached_property
    def entropy(self) -> float:
        """Entropy of a sentence in nats, exact: as rules are unambiguous, the root's plus every node's rule's."""
        total = _entropy(self.root_probs)
        expected_nodes = self.root_probs  # expected number of nodes of each symbol at the level
        for level in range(self.depth, 0, -1):
            rules, probs = self.rules_at(level), self.rule_probs_at(level)
            total += float(expected_nodes @ [_entropy(row) for row in probs])
            weights = np.repeat((expected_nodes[:, None] * probs).ravel(), rules.shape[2])
            expected_nodes = np.bincount(rules.ravel(), weights, minlength=self.num_symbols_at(level - 1))
        return total

    # Sentences.

    def sentence(self, index: AnyIndex) -> np.ndarray:
        """The sentence of an index in `[0, num_sentences)`: shape `(sentence_length,)`, of `token_dtype`."""
        return indexing.sentence(self, index)

    def index(self, tokens: np.ndarray) -> int:
        """The index of a sentence, inverse of [`Grammar.sentence`]; `ValueError` where it is ungrammatical."""
        return indexing.index(self, tokens)

    @cached_property
    def sampling_plan(self):
        """How random numbers become sentences, built once: a [`~sentences.plan.Plan`], or a faster one."""
        from ..sentences.plan import Plan  # numba takes a moment to import
        from .shared_laws import SharedLawPlan, has_shared_laws

        return SharedLawPlan(self) if not self.is_equiprobable and has_shared_laws(self) else Plan(self)

    def parse(self, tokens: np.ndarray) -> list[np.ndarray]:
        """The derivation of given sentences `(num, sentence_length)`: see [`parsing.parse`]."""
        return parsing.parse(self, tokens)

    def list_sentences(self) -> tuple[np.ndarray, np.ndarray]:
        """See [`~rhm_hf.grammar.enumeration.enumerate_sentences`]."""
        return subtrees.layered_sentences(self)

    def shape(self) -> dict[str, str]:
        """What a card says about the shape."""
        levels = range(self.depth, 0, -1)
        return {
            "rules per symbol m": _per_level(int((self.rule_probs_at(level) > 0).sum(1).max()) for level in levels),
            "children per rule s": _per_level(self.tuple_size_at(level) for level in levels),
            "levels of rules L": str(self.depth),
        }


def _per_level(values: Iterable[int]) -> str:
    values = list(values)
    return str(values[0]) if len(set(values)) == 1 else ", ".join(map(str, values)) + " (root first)"


def _frozen(array, dtype) -> np.ndarray:
    array = np.array(array, dtype=dtype, order="C")
    array.setflags(write=False)
    return array


def _entropy(probs: np.ndarray) -> float:
    positive = probs[probs > 0]
    return float(-(positive * np.log(positive)).sum())


registry.register(Grammar, GrammarParameters, LayeredParameters)
