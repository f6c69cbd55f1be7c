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
    num_rule_sets = 1  # of a row: grammars that its random numbers are enough for
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
        self.noise_per_row = self.num_rule_sets * self.num_rule_numbers + self.num_sentence_numbers
        self.targets_per_row = float(self.num_sentences * length)
        self.context_length = self.tokens_per_row = self.num_sentences * (length + 1)
        self.columns = type(self).columns

    @property
    def num_rule_numbers(self) -> int:
        """Random numbers for the rules of a row's grammar."""
        return self.parameters.depth * self.parameters.vocab_size**self.parameters.tuple_size

    @property
    def num_sentence_numbers(self) -> int:
        """Random numbers for a row's sentences: for each its root's and one for every node above the tokens."""
        nodes = sum(self.parameters.tuple_size**level for level in range(self.parameters.depth))
        return self.num_sentences * (1 + nodes)

    def draw(
        self, noise: torch.Tensor, num_sentences: int | None = None, num_synonyms: int | None = None
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """Grammars and their sentences, from the random numbers of rows.

        Args:
            noise (`torch.Tensor`): `(rows, noise_per_row)` uniform numbers.
            num_sentences (`int`, *optional*): of a grammar, by default all of a row; of fewer, a row has as many
                grammars as it has room for.
            num_synonyms (`int`, *optional*): rules of a symbol, by default those of the run's grammar.

        Returns:
            `tuple`: rules, root first, int64 `(grammars, L, v, m, s)`; and sentences, int64 `(grammars, n, d)`.
        """
        p, n = self.parameters, num_sentences or self.num_sentences
        m, count = num_synonyms or p.num_synonyms, self.num_sentences // n
        of_rules, of_sentences = noise.tensor_split([self.num_rule_sets * self.num_rule_numbers], 1)
        of_rules = of_rules.view(len(noise), self.num_rule_sets, p.depth, -1)[:, :count].flatten(0, 1)
        of_sentences = of_sentences.view(len(noise), self.num_sentences, -1)[:, : count * n]
        rules = _rules(of_rules, p.vocab_size, m, p.tuple_size)
        return rules, _sentences(of_sentences.reshape(len(rules), n, -1), rules, p.num_classes)

    def prompts(self, sentences: torch.Tensor) -> dict[str, torch.Tensor]:
        """`input_ids` and `labels`, int64 `(grammars, n (d + 1))`, of sentences `(grammars, n, d)`."""
        lead = torch.full_like(sentences[..., :1], self.bos)
        inputs = torch.cat([lead, sentences], -1).flatten(1)
        labels = torch.cat([sentences, torch.full_like(lead, IGNORED)], -1).flatten(1)
        return {"input_ids": inputs, "labels": labels}

    def collate(self, rows: torch.Tensor, noise: torch.Tensor | None = None) -> dict[str, torch.Tensor]:
        """`input_ids` and `labels`, int64 `(batch, num_sentences (d + 1))`, from the rows' random numbers alone."""
        return self.prompts(self.draw(noise)[1])

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


class FreshGrammars64(FreshGrammars):
    """The same with 64 sentences before the last one."""

    num_sentences = 65


class GrowingPrompts(FreshGrammars):
    """The same for models that learn a vector for each position (GPT-2): easy first.

    For a fifth of the steps a symbol has one rule, and prompts have 2, 4, 8, then all sentences, for a quarter of that
    time each; after it all is as above. So the few first positions learn to look one token back, where most can be
    foretold, before the many others do.
    """

    name = "growing_prompts"
    easy = 0.2  # share of the steps
    lengths = (2, 4, 8)  # sentences, before all of them
    num_rule_sets = FreshGrammars.num_sentences // lengths[0]

    def training_batch(
        self, rows: torch.Tensor, noise: torch.Tensor | None = None, progress: float = 0.0
    ) -> dict[str, torch.Tensor]:
        """Prompts of this part of the run: as many tokens a row as ever, but for what does not divide."""
        if progress >= self.easy:
            return self.collate(rows, noise)
        lengths = (*self.lengths, self.num_sentences)
        now = lengths[int(len(lengths) * progress / self.easy)]
        return self.prompts(self.draw(noise, now, num_synonyms=1)[1])

    def loss(self, model: torch.nn.Module, batch: dict[str, torch.Tensor]) -> torch.Tensor:
        """Nats per target of prompts of any length."""
        return super().loss(model, batch) * (self.tokens_per_row / batch["input_ids"].shape[1])


def _rules(numbers: torch.Tensor, num_symbols: int, num_synonyms: int, tuple_size: int) -> torch.Tensor:
    """Rules int64 `(g, L, v, m, s)` from random numbers `(g, L, v^s)`: sorted, they put all tuples in random order."""
    codes = numbers.argsort(-1)[..., : num_symbols * num_synonyms].unflatten(-1, (num_symbols, num_synonyms))
    return torch.stack([codes // num_symbols ** (tuple_size - 1 - i) % num_symbols for i in range(tuple_size)], -1)


def _sentences(numbers: torch.Tensor, rules: torch.Tensor, num_classes: int) -> torch.Tensor:
    """Sentences int64 `(g, n, d)` from random numbers `(g, n, 1 + nodes)`: a root, then a rule a node."""
    symbols, used = _choice(numbers[..., :1], num_classes), 1
    grammar = torch.arange(len(rules), device=rules.device)[:, None, None]
    for level in range(rules.shape[1]):
        width = symbols.shape[-1]
        rule = _choice(numbers[..., used : used + width], rules.shape[-2])
        symbols = rules[grammar, level, symbols, rule].flatten(-2)
        used += width
    return symbols


def _choice(numbers: torch.Tensor, of: int) -> torch.Tensor:
    """Equally likely integers below `of` from uniform numbers; a rounded product may be `of` itself."""
    return (numbers * of).long().clamp(max=of - 1)
