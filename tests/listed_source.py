"""A source for tests: any law over a short list of sentences of different lengths, everything by enumeration."""

from functools import cached_property

import numpy as np
import torch

from rhm_hf.grammar import Source
from rhm_hf.grammar.laws.base import Laws
from rhm_hf.grammar.sentences.sampling import numbers_of


class ListedSource(Source):
    """Sentences with their probabilities and classes."""

    family, lengths_vary = "listed", True

    def __init__(self, sentences, probs, classes=None, vocab_size=3):
        self.vocab_size, self.num_sentences = vocab_size, len(sentences)
        self.sentences, self.probs = [tuple(s) for s in sentences], np.asarray(probs, dtype=np.float64)
        self.class_of = np.zeros(len(sentences), dtype=np.int64) if classes is None else np.asarray(classes)
        self.num_classes, self.max_length = int(self.class_of.max()) + 1, max(map(len, sentences))
        self.entropy = float(-(self.probs * np.log(self.probs)).sum())

    @cached_property
    def tokens(self) -> np.ndarray:
        rows = np.full((len(self.sentences), self.max_length), self.vocab_size + 1, dtype=self.token_dtype)
        for row, sentence in zip(rows, self.sentences, strict=True):
            row[: len(sentence)] = sentence
        return rows

    def arrays(self):
        return {"tokens": self.tokens.astype(np.int32), "probs": self.probs, "classes": self.class_of}

    def settings(self):
        return {"vocab_size": self.vocab_size}

    def _drawn(self, key, attempt, indices) -> np.ndarray:
        numbers = numbers_of(key, attempt, indices, 1)[:, 0] / 2.0**64
        return np.minimum(np.searchsorted(self.probs.cumsum(), numbers, side="right"), len(self.probs) - 1)

    def draw_sentences(self, key, attempt, indices):
        rows = self.tokens[self._drawn(key, attempt, indices)]
        return rows[:, : self.lengths_of(rows).max()]

    def list_sentences(self):
        return self.tokens, self.probs

    def classes(self, num, seed=0, split="train", sampling=None, start=0, disjoint=False):
        found = dict(zip(self.sentences, self.class_of, strict=True))
        rows, lengths = self.sample(num, seed, split, sampling, start, disjoint, return_lengths=True)
        return np.array([found[tuple(row[:n])] for row, n in zip(rows.tolist(), lengths, strict=True)])

    @cached_property
    def laws(self):
        return ListedLaws(self)


class ListedLaws(Laws):
    """By plain loops over the list."""

    def token_laws(self, tokens, positions, context_level, context_length, dtype):
        source, v = self.source, self.source.vocab_size
        assert context_level is None
        assert context_length is None
        probs = torch.full((len(tokens), positions, v + 1), 1 / (v + 1), dtype=dtype)
        valid = torch.zeros(len(tokens), positions, dtype=torch.bool)
        for row, ids in enumerate(tokens.tolist()):
            for place in range(positions):
                law = np.zeros(v + 1)
                for sentence, p in zip(source.sentences, source.probs, strict=True):
                    if sentence[:place] == tuple(ids[:place]):
                        law[sentence[place] if place < len(sentence) else v] += p
                if len(ids[:place]) == place and v + 1 not in ids[:place] and law.sum() > 0:
                    probs[row, place], valid[row, place] = torch.from_numpy(law / law.sum()), True
        return probs, valid

    def posteriors(self, tokens=None, mask=None, evidence=None, dtype=None, return_log_evidence=False):
        """Of the tokens, and of the class, given the length and what is visible."""
        source, tokens = self.source, self.checked(tokens)
        n, width = tokens.shape
        leaves = torch.zeros(n, width, source.vocab_size, dtype=torch.float64)
        roots = torch.zeros(n, 1, source.num_classes, dtype=torch.float64)
        for row, (ids, hidden) in enumerate(zip(tokens.tolist(), mask.tolist(), strict=True)):
            length = ids.index(source.vocab_size + 1) if source.vocab_size + 1 in ids else width
            for sentence, p, root in zip(source.sentences, source.probs, source.class_of, strict=True):
                seen = all(h or a == b for a, b, h in zip(ids, sentence, hidden, strict=False))
                if len(sentence) == length and seen:
                    roots[row, 0, root] += p
                    leaves[row, torch.arange(length), torch.tensor(sentence, dtype=torch.int64)] += p
        leaves /= leaves.sum(-1, keepdim=True).clamp(min=1e-300)
        return [leaves, roots / roots.sum(-1, keepdim=True)]


def palindromes(vocab_size: int = 3, longest: int = 5, seed: int = 0) -> ListedSource:
    """Palindromes of independent tokens, their class the middle token's parity; some of a second class beside."""
    rng = np.random.default_rng(seed)
    token, length = rng.dirichlet(np.ones(vocab_size)), rng.dirichlet(np.ones(longest))
    sentences, probs, classes = [], [], []
    for n in range(1, longest + 1):
        for half in np.ndindex(*(vocab_size,) * ((n + 1) // 2)):
            sentences.append((*half, *half[: n // 2][::-1]))
            probs.append(length[n - 1] * np.prod(token[list(half)]))
            classes.append(half[-1] % 2)
    return ListedSource(sentences, probs, classes, vocab_size)
