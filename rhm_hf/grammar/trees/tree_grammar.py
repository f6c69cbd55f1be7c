"""Layered trees of every shape: all leaves at depth L, and rules of several arities on every level."""

from functools import cached_property
from typing import Any

import numpy as np

from ...checks import smallest_dtype
from ..source import Source
from .tree_counts import count_derivations, derivation_entropy, expected_symbols, length_bounds, length_laws
from .tree_parameters import TreeParameters
from .tree_rules import checked_trees, random_tree_rules, rule_laws
from .tree_sampling import DrawnTrees


ENUMERATION_LIMIT = 2**14  # derivations, up to which the number and the entropy of sentences are counted exactly
ENTROPY_SENTENCES = 4096  # of the estimate elsewhere


class TreeGrammar(DrawnTrees, Source):
    """A layered grammar whose nodes have varying numbers of children (arXiv 2602.06065), so that lengths vary.

    Rules may be ambiguous, and even random ones are: a sentence may have several trees. Tokens determine no hidden
    symbol; their exact laws are in `laws`.

    Args:
        rules (`list[list[array]]`): for every level, root first, one integer array `(symbols, rules per symbol, arity)`
            for each arity, arities ascending. Arities may differ between levels and may be 1.
        rule_probs (`list[list[array]]`, *optional*): their probabilities `(symbols, rules per symbol)`; for each symbol
            they sum to one over all arities. By default all arities, and all rules of an arity, are equally likely. A
            rule of probability 0 counts as absent.
        root_probs (array, *optional*): the law of the root; uniform by default.
        vocab_size (`int`, *optional*): v, tokens; by default the largest one in the rules plus 1.
        parameters ([`TreeParameters`], *optional*): of the ensemble it was drawn from.

    Attributes:
        min_length, max_length (`int`): the shortest and the longest sentence, in tokens.
        mean_length (`float`): their mean, exact; (2 p2 + 3 p3)^L for the paper's ensemble.
        num_outcomes (`int`): v + 1, columns of next-token laws: the last one is the end of the sentence.

    Raises:
        `ValueError`: for shapes that do not fit, symbols out of range, or laws that do not sum to one.
    """

    family = "trees"
    lengths_vary = True
    has_blocks = False
    is_equiprobable = False
    parsed_depth = 0  # tokens determine themselves alone

    def __init__(self, rules, rule_probs=None, root_probs=None, vocab_size: int | None = None, parameters: Any = None):
        checked = checked_trees(rules, rule_probs, root_probs, vocab_size)
        self.rules, self.rule_probs, self.root_probs, self.vocab_size = checked
        self.parameters = parameters
        self.depth = len(self.rules)
        for array in [*sum(self.rules, []), *sum(self.rule_probs, []), self.root_probs]:
            array.flags.writeable = False
        self._levels = list(zip(self.rules, self.rule_probs, strict=True))
        self.min_length, self.max_length = length_bounds(self._levels, self.root_probs, self.vocab_size)
        self.mean_length = float(expected_symbols(self._levels, self.root_probs, self.vocab_size)[-1].sum())

    @classmethod
    def from_parameters(cls, parameters: TreeParameters) -> "TreeGrammar":
        """Draws the grammar that `parameters.rules_seed` picks from its ensemble."""
        rules, probs = random_tree_rules(parameters), rule_laws(parameters)
        return cls(rules, probs, None, parameters.vocab_size, parameters)

    @classmethod
    def from_name(cls, name: str, rules_seed: int = 0) -> "TreeGrammar":
        """The grammar of a short name such as `trees-v16-s2m4-s3m64-L3`."""
        return cls.from_parameters(TreeParameters.from_name(name, rules_seed))

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

    @property
    def num_outcomes(self) -> int:
        """v + 1: the tokens and END."""
        return self.vocab_size + 1

    @property
    def token_dtype(self) -> np.dtype:
        """The smallest of uint8, uint16 and int32 that holds the tokens and PAD = v + 1."""
        return smallest_dtype(self.vocab_size + 2)

    def __repr__(self) -> str:
        seed = "" if self.parameters is None else f", rules_seed={self.parameters.rules_seed}"
        return f"{type(self).__name__}({self.name!r}{seed}, lengths={self.min_length}..{self.max_length})"

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
    def num_sentences(self) -> int | None:
        """The number of sentences, counted where there are at most 2^14 derivations; None elsewhere.

        No closed form is known: sentences with several derivations count once. `num_derivations` is an upper bound.
        """
        return None if self._sentences is None else len(self._sentences)

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
        tokens = self.sample(ENTROPY_SENTENCES, split="evaluation")
        bits = -self.laws.log_prob(tokens).numpy()
        return float(bits.mean()), float(bits.std(ddof=1) / np.sqrt(len(bits)))

    @cached_property
    def _sentences(self) -> dict[bytes, float] | None:
        from .tree_enumeration import sentence_law

        return sentence_law(self) if self.num_derivations <= ENUMERATION_LIMIT else None

    def enumerate_sentences(self, limit: int = 2**16) -> tuple[np.ndarray, np.ndarray]:
        """All sentences `(sentences, longest)`, padded with PAD, in lexicographic order, and their probabilities.

        Args:
            limit (`int`, *optional*, defaults to 2^16): of derivations; more are refused.

        Raises:
            `ValueError`: if there are more derivations than `limit`.
        """
        from .tree_enumeration import enumerated

        return enumerated(self, limit)

    @cached_property
    def laws(self):
        """The exact laws of this grammar, in torch: [`~rhm_hf.grammar.trees.laws.tree_laws.TreeLaws`]."""
        from .laws.tree_laws import TreeLaws

        return TreeLaws(self)

    def parse(self, tokens: np.ndarray) -> list[np.ndarray]:
        """The levels that tokens determine: the tokens alone, as their trees are hidden."""
        return [np.asarray(tokens)]

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
    def from_arrays(cls, arrays, settings, parameters=None) -> "TreeGrammar":
        """See [`Source.from_arrays`]."""
        rules = [[arrays[f"rules_{g}_{k}"] for k in level] for g, level in enumerate(settings["arities"])]
        probs = [[arrays[f"probs_{g}_{k}"] for k in level] for g, level in enumerate(settings["arities"])]
        return cls(rules, probs, arrays["root_probs"], settings["vocab_size"], parameters)
