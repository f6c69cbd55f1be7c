"""`PCFG`: any probabilistic context-free grammar as a source of sentences whose lengths vary."""

import math
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np

from ...checks import SEED_LIMIT, check_integer, smallest_dtype
from ..sentences.sampling import SPLITS
from ..source import Source
from . import draws, foreign, lengths
from .binary import BinaryGrammar, binarised
from .enumeration import all_sentences
from .parameters import PCFGParameters
from .refusal import NotSupported
from .rules import Rules, checked_rules, rules_from_text
from .sweeps import Sweeps
from .tree import Tree


ENUMERATION_LIMIT = 2**16  # sentences
ENTROPY_TOKENS = 2**18  # of the sentences that entropies are estimated from, about


class PCFG(Source):
    """A general probabilistic context-free grammar: recursive or not, with unit and empty rules, ambiguous or not.

    Sentences have no common length and may have no longest one: the law is that of the rules, of all lengths, never
    conditioned on one. Grammars must be proper (the rules of a symbol sum to one) and consistent (derivations end,
    their mean size is finite); others are refused.

    Args:
        rules ([`~rhm_hf.grammar.pcfg.rules.Rules`]): the rules; see `from_text` and its kin.
        parameters ([`~rhm_hf.grammar.pcfg.parameters.PCFGParameters`], *optional*): its name, where it has one.
    """

    family = "pcfg"
    lengths_vary = True
    has_blocks = False
    is_equiprobable = False

    def __init__(self, rules: Rules, parameters: PCFGParameters | None = None):
        self.rules, self.parameters = rules, parameters

    # Ways to make one.

    @classmethod
    def from_text(cls, text: str, start: str | None = None) -> "PCFG":
        """Reads rules as people write them, `S -> A B [0.3] | 'c' [0.7]`; see [`~rhm_hf.grammar.pcfg.text`].

        Args:
            text (`str`): the rules; equiprobable where no probabilities are written.
            start (`str`, *optional*, defaults to the first left side): the start symbol. Where it is given, rules that
                it does not reach are left out; elsewhere they are refused.

        Raises:
            `ValueError`: naming the line or the symbol, and the remedy.
        """
        return cls(rules_from_text(text, start))

    @classmethod
    def from_file(cls, path: str | Path, start: str | None = None) -> "PCFG":
        """Reads a file of rules: PhysicsLM4's JSON where the name ends in `.json`, text elsewhere."""
        path = Path(path)
        try:
            if path.suffix == ".json":
                return cls(foreign.rules_from_physics(path))
            return cls.from_text(path.read_text(), start)
        except ValueError as error:
            raise ValueError(f"{path}: {error}") from None

    @classmethod
    def from_mixed_tensors(cls, rules: Any, kind_probs: Any = None, vocab_size: int | None = None) -> "PCFG":
        """Takes the tensors of Mixed_RHM: see [`~rhm_hf.grammar.pcfg.foreign.rules_from_mixed`]."""
        return cls(foreign.rules_from_mixed(rules, kind_probs, vocab_size))

    @classmethod
    def from_parameters(cls, parameters: PCFGParameters) -> "PCFG":
        """The grammar of a name."""
        return cls(parameters.rules(), parameters)

    @classmethod
    def from_name(cls, name: str, rules_seed: int = 0) -> "PCFG":
        """The grammar of a short name, `pcfg-dyck2` or `pcfg-v3-m2-s2.3-L7`."""
        return cls.from_parameters(PCFGParameters.from_name(name, rules_seed))

    # Shape.

    @property
    def vocab_size(self) -> int:
        """v, the number of terminals."""
        return self.rules.vocab_size

    @property
    def num_outcomes(self) -> int:
        """v + 1: the columns of next-token laws, the last one END."""
        return self.vocab_size + 1

    @property
    def terminals(self) -> tuple[str, ...]:
        """The strings of the tokens 0 .. v-1."""
        return self.rules.terminals

    @property
    def symbols(self) -> tuple[str, ...]:
        """The names of the symbols that have rules, the start symbol first."""
        return self.rules.symbols

    @property
    def token_dtype(self) -> np.dtype:
        """The smallest of uint8, uint16 and int32 that holds every token and PAD = v + 1."""
        return smallest_dtype(self.vocab_size + 2)

    @property
    def sentence_length(self) -> int:
        """Not supported: sentences have different lengths."""
        raise NotSupported("sentence_length", self, "its sentences have different lengths", "use sample(return_lengths=True)")

    @cached_property
    def _extent(self) -> lengths.Extent:
        return lengths.extent(self.rules)

    @property
    def max_length(self) -> int | None:
        """The length of the longest sentence, None where there is none."""
        return None if self._extent.max_length == math.inf else int(self._extent.max_length)

    @property
    def min_length(self) -> int:
        """The length of the shortest sentence."""
        return self._extent.min_length

    @property
    def is_recursive(self) -> bool:
        """Whether some symbol can contain itself: then derivations are infinitely many."""
        return self._extent.num_derivations == math.inf

    # Identity.

    def arrays(self) -> dict[str, np.ndarray]:
        """`lefts`, `starts`, `rights` (int32) and `probs` (float64): see [`Rules`]."""
        r = self.rules
        return {"lefts": r.lefts, "starts": r.starts, "rights": r.rights, "probs": r.probs}

    def settings(self) -> dict[str, Any]:
        """`terminals` and `symbols`, lists of strings."""
        return {"terminals": list(self.terminals), "symbols": list(self.symbols)}

    @classmethod
    def from_arrays(cls, arrays, settings, parameters=None) -> "PCFG":
        """See [`Source.from_arrays`]."""
        names = (settings["terminals"], settings["symbols"])
        return cls(checked_rules(*names, *(arrays[k] for k in ("lefts", "starts", "rights", "probs"))), parameters)

    def to_text(self) -> str:
        """The rules as text that `from_text` reads."""
        return self.rules.to_text()

    def __repr__(self) -> str:
        seed = f", rules_seed={self.parameters.rules_seed}" if getattr(self.parameters, "rules_seed", 0) else ""
        return f"PCFG({self.name!r}{seed}, {len(self.symbols)} symbols, {self.rules.num_rules} rules)"

    # Law.

    @cached_property
    def binary(self) -> BinaryGrammar:
        """The binarised grammar that inference works on."""
        return binarised(self.rules)

    @cached_property
    def sweeps(self) -> Sweeps:
        """Exact inference in numpy: laws, log probabilities and charts of sentences."""
        return Sweeps(self.binary)

    @property
    def num_derivations(self) -> int | float:
        """The exact number of derivations, infinity where there is no limit."""
        return self._extent.num_derivations

    @cached_property
    def num_sentences(self) -> int | float:
        """The exact number of sentences: infinity, or counted one by one.

        Raises:
            [`NotSupported`]: for finite grammars of more than 2^16 sentences: derivations are counted, but several of
            them may write one sentence.
        """
        if self.max_length is None:
            return math.inf
        if self._all_sentences is None:
            raise NotSupported(
                "num_sentences",
                self,
                f"more than {ENUMERATION_LIMIT} sentences are not counted one by one",
                "num_derivations is an upper bound, reached where no sentence is ambiguous",
            )
        return len(self._all_sentences[1])

    @cached_property
    def _all_sentences(self) -> tuple[np.ndarray, np.ndarray] | None:
        return None if self.max_length is None else all_sentences(self.sweeps, ENUMERATION_LIMIT)

    def enumerate_sentences(self, limit: int = ENUMERATION_LIMIT) -> tuple[np.ndarray, np.ndarray]:
        """Every sentence of positive probability with its probability, the shortest first.

        Args:
            limit (`int`, *optional*, defaults to 65536): of sentences.

        Returns:
            Tokens `(sentences, longest)` of `token_dtype`, padded with v + 1; float64 `(sentences,)`, which sum to 1.

        Raises:
            [`NotSupported`]: if there are more than `limit`, or infinitely many.
        """
        limit = check_integer("limit", limit, 1)
        found = self._all_sentences if limit == ENUMERATION_LIMIT else None
        if found is None and self.max_length is not None:
            found = all_sentences(self.sweeps, limit)
        if found is None:
            many = "infinitely many" if self.max_length is None else f"more than {limit}"
            raise NotSupported("enumerate_sentences", self, f"it has {many} sentences", "draw some with sample(num)")
        return found[0].astype(self.token_dtype), found[1]

    @cached_property
    def derivation_entropy(self) -> float:
        """The entropy of a derivation in nats, exact."""
        return lengths.derivation_entropy(self.rules)

    @cached_property
    def _entropy(self) -> tuple[float, float]:
        if self._all_sentences is not None:
            probs = self._all_sentences[1]
            return float(-(probs * np.log(probs)).sum()), 0.0
        num = int(np.clip(ENTROPY_TOKENS / (self.mean_length + 1), 2**8, 2**13))
        logs = self.log_probs(draws.draw(self.plan, num, 0, "entropy", 0))
        return float(-logs.mean()), float(logs.std(ddof=1) / math.sqrt(num))

    @property
    def entropy(self) -> float:
        """The entropy of a sentence in nats.

        Exact where sentences are few (2^16); elsewhere the mean of -log P, which is exact, over some thousand sentences
        that do not depend on anything but the grammar, with the error `entropy_stderr`. It is at most
        `derivation_entropy`, which equals it where no sentence is ambiguous.
        """
        return self._entropy[0]

    @property
    def entropy_stderr(self) -> float:
        """The standard error of `entropy`, 0 where it is exact."""
        return self._entropy[1]

    def log_probs(self, drawn: draws.Drawn) -> np.ndarray:
        """float64 `(num,)`: the log probabilities of drawn sentences, END included, in nats."""
        rows, sizes = drawn.padded(self.vocab_size + 1, np.dtype(np.int64)), drawn.lengths()
        return self.sweeps.rows(rows, sizes, 0)[2].sum(1)

    # Lengths.

    def length_law(self, longest: int) -> np.ndarray:
        """P(a sentence has n tokens), n = 0 .. longest, exact: float64 `(longest + 1,)`."""
        return lengths.length_law(self.binary, check_integer("longest", longest, 0))

    @cached_property
    def _length_moments(self) -> tuple[float, float]:
        return lengths.mean_and_variance(self.rules)

    @property
    def mean_length(self) -> float:
        """The mean number of tokens of a sentence, exact."""
        return self._length_moments[0]

    @property
    def length_variance(self) -> float:
        """The variance of the number of tokens of a sentence, exact."""
        return self._length_moments[1]

    # Sentences.

    @cached_property
    def plan(self) -> draws.Plan:
        """The tables that sentences are drawn with."""
        return draws.Plan(self.rules, self.mean_length + self.binary.num_symbols)

    def _drawn(self, num, seed, split, sampling, start, disjoint) -> draws.Drawn:
        num, start = check_integer("num", num, 0), check_integer("start", start, 0)
        seed = check_integer("seed", seed, 0, SEED_LIMIT)
        if split not in SPLITS:
            raise ValueError(f"split={split!r} is unknown: use one of {', '.join(SPLITS)}")
        if sampling not in (None, "iid"):
            raise ValueError(
                f"sampling={sampling!r} is impossible for {self.name}: its sentences are not equally probable; use "
                "sampling='iid', with disjoint=True for splits that share no sentence"
            )
        if split == "evaluation" and disjoint:
            raise ValueError("split='evaluation' is sampled with replacement: it cannot have disjoint=True; use 'test'")
        if start + num >= 2**63:
            raise ValueError(f"start={start} with num={num} is too large: a split has {2**63 - 1} sentences at most")
        return draws.draw(self.plan, num, seed, split, start, split if disjoint else None)

    def sample(
        self,
        num: int,
        seed: int = 0,
        split: str = "train",
        sampling: str | None = None,
        start: int = 0,
        disjoint: bool = False,
        return_lengths: bool = False,
    ) -> np.ndarray | tuple[np.ndarray, np.ndarray]:
        """Sentences `start .. start + num - 1` of a split, a pure function of (rules, seed, split, index).

        Args:
            num (`int`): number of sentences.
            seed (`int`, *optional*, defaults to 0): picks the sentences, in `[0, 2^63)`.
            split (`str`, *optional*, defaults to `"train"`): `"train"`, `"validation"`, `"test"` or `"evaluation"`.
            sampling (`str`, *optional*): `"iid"`, the only choice: sentences are not equally probable.
            start (`int`, *optional*, defaults to 0): index of the first sentence.
            disjoint (`bool`, *optional*, defaults to `False`): keep the splits from sharing any sentence: each owns a
                region of a hash of the sentences, train 80 %, validation and test 10 % each.
            return_lengths (`bool`, *optional*, defaults to `False`): also return the numbers of tokens.

        Returns:
            `np.ndarray` `(num, longest of these)` of `token_dtype`, padded with v + 1; and int64 `(num,)`.

        Raises:
            `ValueError`: for arguments out of range, and where a split would have (almost) no sentences.
        """
        drawn = self._drawn(num, seed, split, sampling, start, disjoint)
        tokens = drawn.padded(self.vocab_size + 1, self.token_dtype)
        return (tokens, drawn.lengths()) if return_lengths else tokens

    def derivations(
        self,
        num: int,
        seed: int = 0,
        split: str = "train",
        sampling: str | None = None,
        start: int = 0,
        disjoint: bool = False,
    ) -> list[Tree]:
        """The derivations of the same sentences, as they were drawn: one [`Tree`] each."""
        drawn = self._drawn(num, seed, split, sampling, start, disjoint)
        return [Tree(self.rules, rules) for rules in drawn.derivations()]

    def encode(self, words: str | list[str]) -> list[int]:
        """The tokens of terminals, a list of strings or one string with spaces between them."""
        words = words.split() if isinstance(words, str) else words
        known = {name: k for k, name in enumerate(self.terminals)}
        unknown = [word for word in words if word not in known]
        if unknown:
            raise ValueError(f"{unknown[0]!r} is no terminal: they are {', '.join(self.terminals[:50])}")
        return [known[word] for word in words]

    def decode(self, tokens) -> str:
        """The terminals of a sentence up to its padding, with spaces between them."""
        return " ".join(self.terminals[t] for t in tokens if t < self.vocab_size)

    @cached_property
    def laws(self):
        """Exact inference in torch: a [`~rhm_hf.grammar.pcfg.laws.PCFGLaws`]."""
        from .laws import PCFGLaws  # torch takes a moment to import

        return PCFGLaws(self)
