"""A family of its own, as somebody else would write it: palindromes of independent tokens, of different lengths.

A sentence is w followed by w reversed; w has 1 .. H tokens, each number equally likely, drawn independently from one
law. Registered on import: `palindromes-v3-h4`.
"""

import itertools
import re
from dataclasses import asdict, dataclass
from typing import ClassVar

import numpy as np
import torch

from rhm_hf.checks import check_integer
from rhm_hf.grammar import Source, register
from rhm_hf.grammar.laws.base import Laws
from rhm_hf.grammar.sentences.sampling import numbers_of


@dataclass(frozen=True)
class PalindromeParameters:
    vocab_size: int
    largest_half: int
    rules_seed: int = 0

    kind: ClassVar[str] = "palindromes"
    names: ClassVar[re.Pattern] = re.compile(r"palindromes-v(\d+)-h(\d+)")
    form: ClassVar[str] = "palindromes-v<vocab_size>-h<largest half>"
    wraps: ClassVar[bool] = False

    def __post_init__(self):
        check_integer("vocab_size", self.vocab_size, 1)
        check_integer("largest_half", self.largest_half, 1)

    @classmethod
    def from_name(cls, name, rules_seed=0):
        return cls(*map(int, cls.names.fullmatch(name).groups()), rules_seed)

    @property
    def name(self):
        return f"palindromes-v{self.vocab_size}-h{self.largest_half}"

    @property
    def keywords(self):
        return {"vocab_size": self.vocab_size, "rules_seed": self.rules_seed}

    def to_dict(self):
        return {"kind": self.kind, **asdict(self)}


class Palindromes(Source):
    family = "palindromes"
    laws_class = "palindromes:PalindromeLaws"
    lengths_vary = True

    def __init__(self, law, largest_half, parameters=None):
        self.law, self.largest_half, self.parameters = np.asarray(law, np.float64), int(largest_half), parameters
        self.vocab_size, self.max_length = len(self.law), 2 * self.largest_half
        self.num_sentences = sum(self.vocab_size**h for h in range(1, self.largest_half + 1))
        entropy = -(self.law * np.log(self.law)).sum()
        self.entropy = float(np.log(self.largest_half) + entropy * (self.largest_half + 1) / 2)
        self.mean_length = self.largest_half + 1.0

    def arrays(self):
        return {"law": self.law}

    def settings(self):
        return {"largest_half": self.largest_half}

    @classmethod
    def from_arrays(cls, arrays, settings, parameters=None):
        return cls(arrays["law"], settings["largest_half"], parameters)

    @classmethod
    def drawn_from(cls, parameters):
        weights = np.random.default_rng(parameters.rules_seed).random(parameters.vocab_size) + 0.5
        return cls(weights / weights.sum(), parameters.largest_half, parameters)

    def draw_sentences(self, key, attempt, indices):
        uniform = numbers_of(key, attempt, indices, self.largest_half + 1) / 2.0**64
        halves = 1 + (uniform[:, 0] * self.largest_half).astype(np.int64)
        symbols = np.searchsorted(self.law.cumsum()[:-1], uniform[:, 1:], side="right")
        rows = np.full((len(indices), 2 * halves.max(initial=0)), self.vocab_size + 1, self.token_dtype)
        for row, half, written in zip(rows, halves, symbols, strict=True):
            row[: 2 * half] = np.concatenate([written[:half], written[:half][::-1]])
        return rows

    def list_sentences(self):
        rows, probs = [], []
        for half in range(1, self.largest_half + 1):
            for written in itertools.product(range(self.vocab_size), repeat=half):
                padding = [self.vocab_size + 1] * (self.max_length - 2 * half)
                rows.append([*written, *written[::-1], *padding])
                probs.append(np.prod(self.law[list(written)]) / self.largest_half)
        return np.array(rows, self.token_dtype), np.array(probs)


class PalindromeLaws(Laws):
    def token_laws(self, tokens, positions, context_level, context_length, dtype):
        if context_level is not None or context_length is not None:
            raise self._lacks("a shorter context")
        source, v = self.source, self.source.vocab_size
        law = torch.tensor(source.law, dtype=dtype)
        probs = torch.zeros(len(tokens), positions, v + 1, dtype=dtype)
        for b, i in itertools.product(range(len(tokens)), range(positions)):
            prefix = tokens[b, :i]
            if (prefix >= v).any():
                continue
            for half in range(max(1, -(-i // 2)), source.largest_half + 1):  # the prefix fits into this sentence
                written, mirrored = prefix[:half], prefix[half:]
                if torch.equal(mirrored, written.flip(0)[: len(mirrored)]):
                    weight = law[written].prod()
                    if i < half:
                        probs[b, i, :v] += weight * law
                    else:
                        probs[b, i, v if i == 2 * half else prefix[2 * half - 1 - i]] += weight
        total = probs.sum(-1, keepdim=True)
        return torch.where(total > 0, probs / total, 1 / (v + 1)), total[..., 0] > 0


register(Palindromes, PalindromeParameters)
