"""`PCFG`: any probabilistic context-free grammar as a source of sentences whose lengths vary."""

import math
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np

from ...checks import NonNegativeIndex, NonNegativeInt, Seed, check_ids, check_integer, check_memory
from ..names import Ensemble
from ..sentences.keys import philox_key
from ..source import Source
from . import derivation_draws, foreign_rules, length_laws
from .binary_rules import BinaryGrammar, binarised
from .derivation_tree import Tree
from .finite_languages import count_sentences
from .parameters import PCFGParameters
from .production_rules import Rules, checked_rules, rules_from_text
from .sentence_list import all_sentences
from .sweeps import Sweeps


COUNTING_LIMIT = 2**14  # sentences that are counted one by one
ENTROPY_TOKENS = 2**18  # of the sentences that entropies are estimated from, about


class PCFG(Source):
    """A general probabilistic context-free grammar: recursive or not, with unit and empty rules, ambiguous or not.

    Sentences have no common length and may have no longest one: the law is that of the rules, of all lengths, never
    conditioned on one. Grammars must be proper (the rules of a symbol sum to one) and consistent (derivations end,
    their mean size is finite); others are refused.

    Args:
        rules ([`~rhm_hf.grammar.pcfg.production_rules.Rules`]): the rules; see `from_text` and its kin.
        parameters ([`~rhm_hf.grammar.pcfg.parameters.PCFGParameters`], *optional*): its name, where it has one.
    """

    family = "pcfg"
    lengths_vary = True

    def __init__(self, rules: Rules, parameters: PCFGParameters | None = None):
        self.rules: Rules = rules
        self.parameters: PCFGParameters | None = parameters

    # Ways to make one.

    @classmethod
    def from_text(cls, text: str, start: str | None = None) -> "PCFG":
        """Reads rules as people write them, `S -> A B [0.3] | 'c' [0.7]`; see [`~rhm_hf.grammar.pcfg.rules_text`].

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
                return cls(foreign_rules.rules_from_physics(path))
            return cls.from_text(path.read_text(encoding="utf-8"), start)
        except ValueError as error:
            raise ValueError(f"{path}: {error}") from None

    @classmethod
    def from_mixed_tensors(cls, rules: Any, kind_probs: Any = None, vocab_size: int | None = None) -> "PCFG":
        """Takes the tensors of Mixed_RHM: see [`~rhm_hf.grammar.pcfg.foreign_rules.rules_from_mixed`]."""
        return cls(foreign_rules.rules_from_mixed(rules, kind_probs, vocab_size))

    @classmethod
    def drawn_from(cls, parameters: PCFGParameters) -> "PCFG":
        """The grammar of a name."""
        return cls(parameters.rules(), parameters)

    @classmethod
    def from_name(cls, name: str, rules_seed: int = 0) -> "PCFG":
        """The grammar of a short name, `pcfg-dyck2` or `pcfg-v3-m2-s2.3-L6`."""
        return cls.drawn_from(PCFGParameters.from_name(name, rules_seed))

    # Shape.

    @property
    def vocab_size(self) -> int:
        """v, the number of terminals."""
        return self.rules.vocab_size

    @property
    def terminals(self) -> tuple[str, ...]:
        """The strings of the tokens 0 .. v-1."""
        return self.rules.terminals

    @property
    def symbols(self) -> tuple[str, ...]:
        """The names of the symbols that have rules, the start symbol first."""
        return self.rules.symbols

    @cached_property
    def _extent(self) -> length_laws.Extent:
        return length_laws.extent(self.rules)

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
    def from_arrays(
        cls, arrays: dict[str, np.ndarray], settings: dict[str, Any], parameters: Ensemble | None = None
    ) -> "PCFG":
        """See [`Source.from_arrays`]."""
        names = (settings["terminals"], settings["symbols"])
        return cls(checked_rules(*names, *(arrays[k] for k in ("lefts", "starts", "rights", "probs"))), parameters)

    def to_text(self) -> str:
        """The rules as text that `from_text` reads."""
        return self.rules.to_text()

    def shape(self) -> dict[str, str]:
        """What a card says about the shape."""
        return {
            "symbols": str(len(self.symbols)),
            "production rules": str(self.rules.num_rules),
            "recursive": "yes" if self.is_recursive else "no",
            "mean tokens per sentence": f"{self.mean_length:.6g}",
        }

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
        """The number of sentences, exact where the language is finite and an automaton of its prefixes is small.

        Infinity elsewhere: `max_length` is None where there really are infinitely many, as sentences have no longest
        one; where it is not, nobody knows the number, and `num_derivations` is an upper bound: several derivations may
        write one sentence. See [`~rhm_hf.grammar.pcfg.finite_languages`].
        """
        if self._all_sentences is not None:
            return len(self._all_sentences[1])
        count = None if self.max_length is None else count_sentences(self.rules)
        return math.inf if count is None else count

    @cached_property
    def _all_sentences(self) -> tuple[np.ndarray, np.ndarray] | None:
        if self.max_length is None:
            return None
        few = int(min(2 * COUNTING_LIMIT, ENTROPY_TOKENS * 2**6 // (self.mean_length + 1)))
        if len(np.unique(self.sample(few), axis=0)) > COUNTING_LIMIT:
            return None  # drawing that many is faster than listing them
        return all_sentences(self.sweeps, COUNTING_LIMIT)

    def list_sentences(self) -> tuple[np.ndarray, np.ndarray]:
        """Every sentence with its probability, the shortest first; see [`~rhm_hf.grammar.enumerate_sentences`]."""
        if self.num_sentences == math.inf:
            return super().list_sentences()
        tokens, probs = self._all_sentences or all_sentences(self.sweeps, int(self.num_sentences))
        return tokens.astype(self.token_dtype), probs

    @cached_property
    def derivation_entropy(self) -> float:
        """The entropy of a derivation in nats, exact."""
        return length_laws.derivation_entropy(self.rules)

    @cached_property
    def _entropy(self) -> tuple[float, float]:
        if self._all_sentences is not None:
            probs = self._all_sentences[1]
            return float(-(probs * np.log(probs)).sum()), 0.0
        num = int(np.clip(ENTROPY_TOKENS / (self.mean_length + 1), 2**8, 2**13))
        drawn = self.plan.draw(philox_key(0, "entropy"), 0, np.arange(num))
        logs = self.sweeps.rows(drawn.padded(self.vocab_size + 1, np.dtype(np.int64)), drawn.lengths, 0)[2].sum(1)
        return float(-logs.mean()), float(logs.std(ddof=1) / math.sqrt(num))

    @property
    def entropy(self) -> float:
        """The entropy of a sentence in nats.

        Exact where sentences are few (2^14); elsewhere the mean
        of -log P, which is exact, over some thousand sentences that depend on nothing but the grammar, with the error
        `entropy_stderr`. It is at most `derivation_entropy`, and equal to it where no sentence is ambiguous.
        """
        return self._entropy[0]

    @property
    def entropy_stderr(self) -> float:
        """The standard error of `entropy`, 0 where it is exact."""
        return self._entropy[1]

    # Lengths.

    def length_law(self, longest: int) -> np.ndarray:
        """P(a sentence has n tokens), n = 0 .. longest, exact: float64 `(longest + 1,)`."""
        longest = check_integer("longest", longest, 0)
        check_memory(f"longest={longest}", 64 * longest, "ask for shorter sentences")
        return length_laws.length_law(self.binary, longest)

    @cached_property
    def _length_moments(self) -> tuple[float, float]:
        return length_laws.mean_and_variance(self.rules)

    @cached_property
    def mean_length(self) -> float:
        """The mean number of tokens of a sentence, exact."""
        return self._length_moments[0]

    @property
    def length_variance(self) -> float:
        """The variance of the number of tokens of a sentence, exact."""
        return self._length_moments[1]

    # Sentences.

    @cached_property
    def plan(self) -> derivation_draws.Plan:
        """The tables that sentences are drawn with."""
        return derivation_draws.Plan(self.rules, self.mean_length + self.binary.num_symbols)

    def draw_sentences(self, key: np.ndarray, attempt: int, indices: np.ndarray) -> np.ndarray:
        """See [`Source.draw_sentences`]."""
        return self.plan.draw(key, attempt, indices).padded(self.vocab_size + 1, self.token_dtype)

    def derivations(
        self,
        num: NonNegativeInt,
        seed: Seed = 0,
        split: str = "train",
        sampling: str | None = None,
        start: NonNegativeIndex = 0,
        disjoint: bool = False,
    ) -> list[Tree]:
        """The derivations of the sentences of `sample` with these arguments, as they were drawn: one [`Tree`] each."""
        tokens = self.sample(num, seed, split, sampling, start, disjoint)
        trees: list[Tree | None] = [None] * num
        missing, key, attempt = np.arange(num), philox_key(seed, split), 0
        while len(missing):  # a sentence is the first of its attempts that its split owns: the first that is equal
            drawn = self.plan.draw(key, attempt, start + missing)
            for i, row in enumerate(missing.tolist()):
                sentence = drawn.tokens[drawn.ends[i, 0] : drawn.ends[i + 1, 0]]
                if np.array_equal(sentence, tokens[row][tokens[row] < self.vocab_size]):
                    trees[row] = Tree(self.rules, drawn.rules_of(i))
            missing, attempt = np.array([row for row in missing.tolist() if trees[row] is None], np.int64), attempt + 1
        return trees

    def encode(self, words: str | list[str]) -> list[int]:
        """The tokens of terminals, a list of strings or one string with spaces between them."""
        words = words.split() if isinstance(words, str) else words
        known = {name: k for k, name in enumerate(self.terminals)}
        unknown = [word for word in words if word not in known]
        if unknown:
            raise ValueError(f"{unknown[0]!r} is no terminal: they are {', '.join(self.terminals[:50])}")
        return [known[word] for word in words]

    def decode(self, tokens: np.ndarray) -> str:
        """The terminals of a sentence up to its padding, with spaces between them."""
        tokens = np.asarray(check_ids("tokens", tokens))
        if tokens.ndim != 1:
            raise ValueError(f"tokens has shape {tokens.shape}: it must be one sentence, (length,)")
        return " ".join(self.terminals[t] for t in tokens if t < self.vocab_size)

    @cached_property
    def laws(self) -> Any:
        """The exact laws, a [`~rhm_hf.grammar.pcfg.laws.PCFGLaws`]."""
        from .laws import PCFGLaws  # torch takes a moment to import

        return PCFGLaws(self)
