"""Task for `rhm train --task recipes.in_context.fresh_grammars:FreshGrammars`: a prompt of a new grammar in every row.

A model learns to learn: every row of every batch is a prompt of sentences of a grammar that occurs in no other, drawn
from the ensemble of the run's grammar by the row's own uniform random numbers. So the run's sentences are not read;
`num_train` only says what an epoch is called.
"""

from typing import Any

import torch

from rhm_hf.checks import NonNegativeInt, PositiveInt, checked
from rhm_hf.grammar import Source
from rhm_hf.grammar.layered.parameters import GrammarParameters
from rhm_hf.judging.bare import bare_model
from rhm_hf.metrics.in_context_kl import in_context_kl
from rhm_hf.tasks import NextToken
from rhm_hf.tasks.task import IGNORED


MOST_TUPLES = 4096  # v^s: rules are drawn by sorting a random number of every tuple
JUDGED_GRAMMARS = 32  # at every evaluation


class FreshGrammars(NextToken):
    """BOS, then sentences of one grammar with BOS between them; all their tokens are predicted, BOS is not.

    A subclass may say another `num_sentences`.

    The random numbers of a row are one for every level and tuple, for the rules, then for every sentence one for its
    root and one for every node. Sorting the numbers of a level gives a random order of all tuples, whose first v m are
    the rules: the law of the ensemble.
    """

    name = "fresh_grammars"
    num_sentences = 17  # of a prompt: n = 0 .. 16 examples before the last one
    columns = ("kl", "kl_stderr", "kl_first", "entropy")

    @checked
    def __init__(
        self,
        num_symbols: PositiveInt,
        length: PositiveInt,
        grammar: Source | None = None,
        auto_class: str | None = None,
        kl_sentences: NonNegativeInt = 2048,
    ):
        super().__init__(num_symbols, length, grammar, auto_class, kl_sentences)
        p = None if grammar is None else grammar.parameters
        plain = isinstance(p, GrammarParameters) and grammar.is_equiprobable and not p.uncorrelated
        if not plain or p.vocab_size**p.tuple_size > MOST_TUPLES:
            raise ValueError(
                f"grammar={getattr(grammar, 'name', None)!r}: fresh grammars are drawn of the plain ensemble "
                f"(v16-m4-s2-L3, with -c), with at most {MOST_TUPLES} tuples v^s"
            )
        self.parameters = p
        self.noise_per_row = self.num_rule_numbers + self.num_sentences * self.numbers_per_sentence
        self.targets_per_row = float(self.num_sentences * length)
        self.context_length = self.tokens_per_row = self.num_sentences * (length + 1)
        self.columns = type(self).columns

    @property
    def num_rule_numbers(self) -> int:
        """Random numbers for the rules of a row's grammar."""
        return self.parameters.depth * self.parameters.vocab_size**self.parameters.tuple_size

    @property
    def numbers_per_sentence(self) -> int:
        """Random numbers for a sentence: its root's and one for every node above the tokens."""
        return 1 + sum(self.parameters.tuple_size**level for level in range(self.parameters.depth))

    def rules(self, noise: torch.Tensor) -> torch.Tensor:
        """The rules of every row's grammar, root first: int64 `(rows, L, v, m, s)`."""
        p = self.parameters
        v, m, s = p.vocab_size, p.num_synonyms, p.tuple_size
        order = noise[:, : self.num_rule_numbers].view(len(noise), p.depth, v**s).argsort(-1)
        codes = order[..., : v * m].view(len(noise), p.depth, v, m)
        return torch.stack([codes // v ** (s - 1 - i) % v for i in range(s)], -1)

    def sentences(self, noise: torch.Tensor) -> torch.Tensor:
        """Sentences of every row's grammar: int64 `(rows, num_sentences, d)`."""
        p, rules = self.parameters, self.rules(noise)
        numbers = noise[:, self.num_rule_numbers :].view(len(noise), self.num_sentences, -1)
        symbols, used = _choice(numbers[..., :1], p.num_classes), 1
        row = torch.arange(len(noise), device=noise.device)[:, None, None]
        for level in range(p.depth):
            width = symbols.shape[-1]
            rule = _choice(numbers[..., used : used + width], p.num_synonyms)
            symbols = rules[row, level, symbols, rule].flatten(-2)
            used += width
        return symbols

    def collate(self, rows: torch.Tensor, noise: torch.Tensor | None = None) -> dict[str, torch.Tensor]:
        """`input_ids` and `labels`, int64 `(batch, num_sentences (d + 1))`, from the rows' random numbers alone."""
        sentences = self.sentences(noise)
        lead = torch.full_like(sentences[..., :1], self.bos)
        inputs = torch.cat([lead, sentences], -1).flatten(1)
        labels = torch.cat([sentences, torch.full_like(lead, IGNORED)], -1).flatten(1)
        return {"input_ids": inputs, "labels": labels}

    def judge(
        self, model: torch.nn.Module, accelerator: Any = None, batch_size: PositiveInt | None = None
    ) -> dict[str, float]:
        """`kl` of the last sentence of a prompt and `kl_stderr` over grammars, `kl_first` of the first one, and
        `entropy`, in nats per token."""
        found = in_context_kl(
            bare_model(model),
            self.grammar,
            num_grammars=JUDGED_GRAMMARS,
            num_mappings=1,
            learners=[],
            max_examples=self.num_sentences - 1,
            accelerator=accelerator,
        )
        low, high = found["kl_interval"][-1]
        stderr = (high - low) / 2 / found["t_quantile"]
        entropy = self.grammar.entropy / self.grammar.sentence_length
        return {"kl": found["kl"][-1], "kl_stderr": stderr, "kl_first": found["kl"][0], "entropy": entropy}


def _choice(numbers: torch.Tensor, of: int) -> torch.Tensor:
    """Equally likely integers below `of` from uniform numbers; a rounded product may be `of` itself."""
    return (numbers * of).long().clamp(max=of - 1)


class FreshGrammars64(FreshGrammars):
    """The same with 64 sentences before the last one."""

    num_sentences = 65
