"""Fixed trees whose rules may be ambiguous: several symbols may write one tuple, or children are independent."""

import math
from functools import cached_property
from typing import Any, ClassVar, NoReturn

import numpy as np

from ...checks import NonNegativeIndex, NonNegativeInt, Seed, check_memory
from .. import registry
from ..fixed_tree import FixedTree
from ..layered.parsing import checked_tokens
from ..names import Ensemble
from ..refusal import NotSupported
from ..sentences.keys import philox_key
from ..sentences.sampling import MAX_ATTEMPTS, numbers_of
from ..source import BYTES_PER_POSITION
from . import ambiguous_counts
from .broadcast_parameters import AmbiguousParameters, ColouringParameters, IsingParameters
from .expansions import Expansion, Factors, RuleList, checked_expansions


LISTED_TOKENS = 2**22  # of all sentences together, up to which they are listed


class AmbiguousGrammar(FixedTree):
    """A layered grammar on a regular tree whose tokens determine no hidden symbol.

    Args:
        levels (`list`): root first, a [`RuleList`] or [`Factors`] each.
        root_probs (array, *optional*): the law of the root; uniform by default.
        vocab_size (`int`): v, tokens.
        parameters (*optional*): of the ensemble it was drawn from.

    Raises:
        `ValueError`: for shapes that do not fit, symbols out of range, or laws that do not sum to one.
    """

    family = "ambiguous"
    laws_class: ClassVar[str] = "rhm_hf.grammar.ambiguous.laws.ambiguous_laws:AmbiguousLaws"
    is_equiprobable = False
    depth: int = 0
    sentence_length: int = 0
    parsed_depth = 0  # tokens determine themselves alone

    def __init__(
        self, levels: list[Expansion], root_probs: Any = None, *, vocab_size: int, parameters: Ensemble | None = None
    ):
        self.levels: list[Expansion]
        self.root_probs: np.ndarray
        self.levels, self.root_probs = checked_expansions(levels, root_probs, vocab_size)
        self.vocab_size: int = vocab_size
        self.parameters: Ensemble | None = parameters
        self.depth = len(self.levels)
        self.sentence_length = math.prod(level.tuple_size for level in self.levels)
        what = f"sentences of {self.sentence_length} tokens"
        check_memory(what, BYTES_PER_POSITION * self.sentence_length, "take fewer levels")

    @classmethod
    def drawn_from(cls, parameters: Ensemble) -> "AmbiguousGrammar":
        """See [`Source.drawn_from`]; the classes are equally probable."""
        return cls(parameters.draw_levels(), vocab_size=parameters.vocab_size, parameters=parameters)

    # Shape.

    def level(self, level: int) -> Expansion:
        """How the symbols of a level, 1..L, are expanded."""
        return self.levels[self.depth - self._checked_level(level, 1)]

    def rules_at(self, level: int) -> np.ndarray:
        """The rules of a level, int32 `(symbols, rules, children)`; [`NotSupported`] for independent children."""
        return self._listed(level).rules

    def rule_probs_at(self, level: int) -> np.ndarray:
        """Their probabilities, float64 `(symbols, rules)`."""
        return self._listed(level).probs

    def _listed(self, level: int) -> RuleList:
        expansion = self.level(level)
        if isinstance(expansion, Factors):
            why = f"the children of level {level} are independent given their parent"
            raise NotSupported("a list of rules", self, why, "take a source whose levels are lists of rules")
        return expansion

    def prefix_tree(self, level: int) -> NoReturn:
        """Refused: tuples determine no symbol."""
        why = "several symbols may write one tuple"
        raise NotSupported("a prefix tree of rules", self, why, "take an unambiguous grammar")

    def num_symbols_at(self, level: int) -> int:
        """The number of symbols of a level, 0..L."""
        return self.vocab_size if self._checked_level(level, 0) == 0 else self.level(level).num_symbols

    def tuple_size_at(self, level: int) -> int:
        """The number of children of a level-`level` node, 1..L."""
        return self.level(level).tuple_size

    def shape(self) -> dict[str, str]:
        """What a card says about the shape."""
        sizes = [str(level.tuple_size) for level in self.levels]
        return {"children per rule s": ", ".join(dict.fromkeys(sizes)), "levels of rules L": str(self.depth)}

    # Law.

    @cached_property
    def num_sentences(self) -> int | float:
        """The number of sentences of positive probability, exact; `math.inf` where it is too hard to count."""
        count = ambiguous_counts.count_sentences(self.levels, self.root_probs, self.vocab_size)
        return math.inf if count is None else count

    @cached_property
    def num_derivations(self) -> int:
        """The number of derivations of positive probability, exact."""
        return ambiguous_counts.count_derivations(self.levels, self.root_probs, self.vocab_size)

    @cached_property
    def derivation_entropy(self) -> float:
        """The entropy of a derivation in nats, exact."""
        return ambiguous_counts.derivation_entropy(self.levels, self.root_probs, self.vocab_size)

    @property
    def entropy(self) -> float:
        """The entropy of a sentence in nats.

        Exact where all sentences can be listed; elsewhere the mean of exact -log P over 4096 sentences of the
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
            return float(ambiguous_counts.entropies(self._sentences[1])), 0.0
        return self.laws.sampled_entropy()

    @cached_property
    def _sentences(self) -> tuple[np.ndarray, np.ndarray] | None:
        """All sentences and their probabilities, where they are few enough."""
        few = self.num_sentences * self.sentence_length <= LISTED_TOKENS
        found = ambiguous_counts.list_sentences(self.levels, self.root_probs, self.vocab_size) if few else None
        return None if found is None else (found[0].astype(self.token_dtype), found[1])

    def list_sentences(self) -> tuple[np.ndarray, np.ndarray]:
        """All sentences in lexicographic order and their probabilities.

        Raises:
            [`NotSupported`]: if they have more than 2^22 tokens, or more than 2^22 combinations of blocks to try.
        """
        if self._sentences is None:
            why = f"it has {self.num_sentences} of {self.sentence_length} tokens, or too many combinations to try"
            raise NotSupported("the list of all sentences", self, why, "draw some with sample")
        return self._sentences

    # Sentences.

    @cached_property
    def _thresholds(self) -> list[list[np.ndarray]]:
        from .draw_kernel import thresholds_of

        return [[thresholds_of(choice) for choice in level.choices()] for level in self.levels]

    def _draw(self, key: np.ndarray, attempt: int, indices: np.ndarray) -> list[np.ndarray]:
        """The derivations of some sentences, root first: int64 `(num, nodes)` each."""
        from .draw_kernel import choose, thresholds_of

        choices = [len(level.choices()) for level in self.levels]
        nodes = [self.num_nodes_at(level) for level in range(self.depth, 0, -1)]
        ends = np.cumsum([1, *(n * k for n, k in zip(nodes, choices, strict=True))])
        numbers = numbers_of(key, attempt, indices, int(ends[-1]))
        root = np.empty(len(indices), np.int64)
        choose(numbers[:, 0].copy(), np.zeros_like(root), thresholds_of(self.root_probs[None]), root)
        drawn = [root[:, None]]
        for g, level in enumerate(self.levels):
            own = numbers[:, ends[g] : ends[g + 1]].reshape(len(indices), nodes[g], choices[g])
            chosen = []
            for k, thresholds in enumerate(self._thresholds[g]):
                flat = np.empty(drawn[-1].size, np.int64)
                choose(own[:, :, k].ravel(), drawn[-1].ravel(), thresholds, flat)
                chosen.append(flat.reshape(drawn[-1].shape))
            drawn.append(level.children_of(drawn[-1], chosen).reshape(len(indices), -1).astype(np.int64))
        return drawn

    def draw_sentences(self, key: np.ndarray, attempt: int, indices: np.ndarray) -> np.ndarray:
        """See [`Source.draw_sentences`]."""
        return self._draw(key, attempt, np.asarray(indices))[-1].astype(self.token_dtype)

    def parse(self, tokens: np.ndarray) -> list[np.ndarray]:
        """The levels that tokens determine: the tokens alone."""
        return [checked_tokens(self, tokens)]

    def derivations(
        self,
        num: NonNegativeInt,
        seed: Seed = 0,
        split: str = "train",
        sampling: str | None = None,
        start: NonNegativeIndex = 0,
        disjoint: bool = False,
    ) -> list[np.ndarray]:
        """The derivations from which the sentences of `sample` were drawn: entry ℓ = 0..L, `(num, nodes)`."""
        sentences = self.sample(num, seed, split, sampling, start, disjoint)
        key, missing = philox_key(seed, split), np.arange(num)
        levels = [np.zeros((num, self.num_nodes_at(level)), np.int64) for level in range(self.depth + 1)]
        for attempt in range(MAX_ATTEMPTS):  # with `disjoint` a sentence is the first draw that fell into its region
            if not len(missing):
                break
            drawn = self._draw(key, attempt, start + missing)[::-1]
            same = (drawn[0] == sentences[missing]).all(axis=1)
            for level, found in zip(levels, drawn, strict=True):
                level[missing[same]] = found[same]
            missing = missing[~same]
        return levels

    # Identity.

    def arrays(self) -> dict[str, np.ndarray]:
        """`root_probs` and, for every level g from the root: `rules.g` and `rule_probs.g`, or `factors.g`."""
        arrays = {"root_probs": self.root_probs}
        for g, level in enumerate(self.levels):
            arrays |= {f"{name}.{g}": array for name, array in level.arrays().items()}
        return arrays

    def settings(self) -> dict[str, Any]:
        """The numbers of tokens and of levels."""
        return {"vocab_size": self.vocab_size, "depth": self.depth}

    @classmethod
    def from_arrays(
        cls, arrays: dict[str, np.ndarray], settings: dict[str, Any], parameters: Ensemble | None = None
    ) -> "AmbiguousGrammar":
        """See [`Source.from_arrays`]."""
        levels: list[Expansion] = [
            Factors(arrays[f"factors.{g}"])
            if f"factors.{g}" in arrays
            else RuleList(arrays[f"rules.{g}"], arrays[f"rule_probs.{g}"])
            for g in range(settings["depth"])
        ]
        return cls(levels, arrays["root_probs"], vocab_size=settings["vocab_size"], parameters=parameters)


registry.register(AmbiguousGrammar, IsingParameters, ColouringParameters, AmbiguousParameters)
