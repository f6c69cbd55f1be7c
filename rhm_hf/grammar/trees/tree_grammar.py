"""Layered trees of every shape: all leaves at depth L, and rules of several arities on every level."""

import math
from functools import cached_property
from typing import Any, ClassVar

import numpy as np

from ...checks import NonNegativeIndex, NonNegativeInt, Seed, check_memory
from .. import registry
from ..names import Ensemble
from ..refusal import NotSupported
from ..source import Source
from .tree_counts import count_derivations, derivation_entropy, expected_symbols, length_bounds, length_laws
from .tree_parameters import TreeParameters
from .tree_rules import checked_trees, random_tree_rules, rule_laws
from .tree_sampling import Tree, TreePlan, drawn_derivations


ENUMERATION_LIMIT = 2**14  # derivations, up to which the number and the entropy of sentences are counted exactly
BYTES_PER_LENGTH = 2**12  # of laws of lengths, numbers of derivations and spans


class TreeGrammar(Source):
    """A layered grammar whose nodes have varying numbers of children (arXiv 2602.06065), so that lengths vary.

    Rules may be ambiguous, and even random ones are: a sentence may have several trees. Tokens determine no hidden
    symbol; their exact laws are in `laws`.

    Args:
        rules (`list[list[array]]`): for every level, root first, one integer array for each arity, arities ascending,
            of shape `(symbols, rules per symbol, arity)`. Arities may differ between levels and may be 1.
        rule_probs (`list[list[array]]`, *optional*): their probabilities `(symbols, rules per symbol)`; for each
            symbol they sum to one over all arities. By default all arities, and all rules of an arity, are equally
            likely. A rule of probability 0 counts as absent.
        root_probs (array, *optional*): the law of the root; uniform by default.
        vocab_size (`int`, *optional*): v, tokens; by default the largest one in the rules plus 1.
        parameters ([`TreeParameters`], *optional*): of the ensemble it was drawn from.

    Attributes:
        min_length, max_length (`int`): the shortest and the longest sentence, in tokens.
        mean_length (`float`): their mean, exact; (2 p2 + 3 p3)^L for the paper's ensemble.

    Raises:
        `ValueError`: for shapes that do not fit, symbols out of range, or laws that do not sum to one.
    """

    family = "trees"
    laws_class: ClassVar[str] = "rhm_hf.grammar.trees.laws.tree_laws:TreeLaws"
    lengths_vary = True
    depth: int = 0

    def __init__(
        self,
        rules: Any,
        rule_probs: Any = None,
        root_probs: Any = None,
        vocab_size: int | None = None,
        parameters: Ensemble | None = None,
    ):
        checked = checked_trees(rules, rule_probs, root_probs, vocab_size)
        self.rules: list[list[np.ndarray]] = checked[0]
        self.rule_probs: list[list[np.ndarray]] = checked[1]
        self.root_probs: np.ndarray = checked[2]
        self.vocab_size: int = checked[3]
        self.parameters = parameters
        self.depth = len(self.rules)
        self.num_classes: int = len(self.root_probs)
        self._levels = list(zip(self.rules, self.rule_probs, strict=True))
        for array in self.arrays().values():
            array.flags.writeable = False
        self.min_length: int
        self.max_length: int
        self.min_length, self.max_length = length_bounds(self._levels, self.root_probs, self.vocab_size)
        check_memory(f"sentences of {self.max_length} tokens", BYTES_PER_LENGTH * self.max_length, "take fewer levels")
        self.mean_length = float(expected_symbols(self._levels, self.root_probs, self.vocab_size)[-1].sum())

    @classmethod
    def drawn_from(cls, parameters: TreeParameters) -> "TreeGrammar":
        """The grammar that `parameters.rules_seed` picks from its ensemble."""
        rules, probs = random_tree_rules(parameters), rule_laws(parameters)
        return cls(rules, probs, None, parameters.vocab_size, parameters)

    @classmethod
    def from_name(cls, name: str, rules_seed: int = 0) -> "TreeGrammar":
        """The grammar of a short name such as `trees-v16-s2m4-s3m64-L3`."""
        return cls.drawn_from(TreeParameters.from_name(name, rules_seed))

    # Shape.

    def num_symbols_at(self, level: int) -> int:
        """The number of symbols of a level, 0 (tokens) .. L (root)."""
        level = self._checked_level(level, 0)
        return self.vocab_size if level == 0 else len(self.rules[self.depth - level][0])

    def arities_at(self, level: int) -> list[int]:
        """The numbers of children that nodes of a level, 1..L, may have."""
        return [group.shape[2] for group in self.rules[self.depth - self._checked_level(level, 1)]]

    def rules_at(self, level: int) -> list[np.ndarray]:
        """The rules that expand the symbols of a level, 1..L, by arity."""
        return self.rules[self.depth - self._checked_level(level, 1)]

    def rule_probs_at(self, level: int) -> list[np.ndarray]:
        """Their probabilities, by arity."""
        return self.rule_probs[self.depth - self._checked_level(level, 1)]

    def shape(self) -> dict[str, str]:
        """Depth, arities and lengths."""
        arities = sorted({group.shape[2] for level in self.rules for group in level})
        return {
            "depth": str(self.depth),
            "children of a node": ", ".join(map(str, arities)),
            "tokens": f"{self.min_length} to {self.max_length}, {self.mean_length:.6g} on average",
        }

    # Law.

    @cached_property
    def length_probs(self) -> np.ndarray:
        """The exact law of the length: float64 `(max_length + 1,)`, entry n is P(n tokens)."""
        law = self.root_probs @ length_laws(self._levels, self.vocab_size)
        return law[: self.max_length + 1]

    @cached_property
    def num_derivations(self) -> int:
        """The number of derivations, exact; sentences are fewer where some have several."""
        counts = count_derivations(self._levels, self.vocab_size)
        return sum(count for count, p in zip(counts, self.root_probs, strict=True) if p > 0)

    @cached_property
    def num_sentences(self) -> int | float:
        """The number of sentences, counted where there are at most 2^14 derivations; `math.inf`, unknown, elsewhere.

        No closed form is known: sentences with several derivations count once. `num_derivations` is an upper bound.
        """
        return math.inf if self._sentences is None else len(self._sentences)

    @cached_property
    def derivation_entropy(self) -> float:
        """The entropy of a derivation (the root and all rules) in nats, exact; at least that of a sentence."""
        return derivation_entropy(self._levels, self.root_probs, self.vocab_size)

    @property
    def entropy(self) -> float:
        """The entropy of a sentence, END included, in nats.

        Exact where there are at most 2^14 derivations; elsewhere the mean of exact -log P over 4096 sentences of the
        evaluation split, seed 0, with the standard error `entropy_stderr`.
        """
        return self._entropy[0]

    @property
    def entropy_stderr(self) -> float:
        """The standard error of `entropy`; 0 where it is exact."""
        return self._entropy[1]

    @cached_property
    def _entropy(self) -> tuple[float, float]:
        if self._sentences is not None:
            p = np.array(list(self._sentences.values()))
            return float(-(p * np.log(p)).sum()), 0.0
        return self.laws.sampled_entropy()

    @cached_property
    def _sentences(self) -> dict[tuple[int, ...], float] | None:
        from .tree_enumeration import sentence_law

        return sentence_law(self) if self.num_derivations <= ENUMERATION_LIMIT else None

    def list_sentences(self) -> tuple[np.ndarray, np.ndarray]:
        """All sentences `(sentences, longest)`, padded with PAD, in lexicographic order, and their probabilities.

        Raises:
            [`NotSupported`]: if there are more than 2^14 derivations.
        """
        from .tree_enumeration import listed

        if self._sentences is None:
            raise NotSupported(
                "the list of all sentences",
                self,
                f"{self.num_derivations} derivations are more than {ENUMERATION_LIMIT}",
                "draw some with sample",
            )
        return listed(self, self._sentences)

    # Sentences.

    @cached_property
    def _plan(self) -> TreePlan:
        return TreePlan(self)

    def draw_sentences(self, key: np.ndarray, attempt: int, indices: np.ndarray) -> np.ndarray:
        """See [`Source.draw_sentences`]."""
        from .tree_kernels import pad_rows

        flat, lengths, _, _ = self._plan.draw(key, attempt, np.asarray(indices), False, self.token_dtype)
        rows = np.empty((len(lengths), lengths.max(initial=0)), dtype=self.token_dtype)
        pad_rows(flat, lengths, self.token_dtype.type(self.vocab_size + 1), rows)
        return rows

    def derivations(
        self,
        num: NonNegativeInt,
        seed: Seed = 0,
        split: str = "train",
        sampling: str | None = None,
        start: NonNegativeIndex = 0,
        disjoint: bool = False,
    ) -> list[Tree]:
        """The trees from which the sentences of `sample` were drawn: what tokens alone do not determine."""
        sentences = self.sample(num, seed, split, sampling, start, disjoint)
        return drawn_derivations(self, self._plan, sentences, seed, split, start)

    def classes(
        self,
        num: NonNegativeInt,
        seed: Seed = 0,
        split: str = "train",
        sampling: str | None = None,
        start: NonNegativeIndex = 0,
        disjoint: bool = False,
    ) -> np.ndarray:
        """The root's symbols of the same sentences: int64 `(num,)`."""
        trees = self.derivations(num, seed, split, sampling, start, disjoint)
        return np.array([tree.levels[-1][0] for tree in trees], dtype=np.int64)

    # Identity.

    def arrays(self) -> dict[str, np.ndarray]:
        """`root_probs`, and `rules_<g>_<arity>`, `probs_<g>_<arity>` for g = 0 (root) .. L - 1."""
        arrays = {"root_probs": self.root_probs}
        for g, (rules, probs) in enumerate(self._levels):
            for group, p in zip(rules, probs, strict=True):
                arrays[f"rules_{g}_{group.shape[2]}"] = group
                arrays[f"probs_{g}_{group.shape[2]}"] = p
        return arrays

    def settings(self) -> dict[str, Any]:
        """The vocabulary size, and the arities of every level, root first."""
        return {
            "vocab_size": self.vocab_size,
            "arities": [[group.shape[2] for group in level] for level in self.rules],
        }

    @classmethod
    def from_arrays(
        cls, arrays: dict[str, np.ndarray], settings: dict[str, Any], parameters: Ensemble | None = None
    ) -> "TreeGrammar":
        """See [`Source.from_arrays`]."""
        rules = [[arrays[f"rules_{g}_{k}"] for k in level] for g, level in enumerate(settings["arities"])]
        probs = [[arrays[f"probs_{g}_{k}"] for k in level] for g, level in enumerate(settings["arities"])]
        return cls(rules, probs, arrays["root_probs"], settings["vocab_size"], parameters)


registry.register(TreeGrammar, TreeParameters)
