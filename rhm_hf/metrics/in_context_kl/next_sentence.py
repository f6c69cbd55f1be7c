"""What a causal model makes of n sentences of a grammar it has never seen: the exact KL of the next one, by token.

A prompt is the first id, sentence, separator, sentence, .. of one grammar. One pass of the model over it gives the
laws of the tokens of every sentence, so those after n = 0, 1, 2, 4, .. sentences, and no prompt is read twice.
"""

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch

from rhm_hf.checks import PositiveInt, Seed, Share, checked
from rhm_hf.grammar import NotSupported, Source
from rhm_hf.grammar.registry import from_parameters, parameters_from_name
from rhm_hf.inference import next_token_probs
from rhm_hf.judging import ModelReader, divergence_terms, evaluating, read_model, share_of_process
from rhm_hf.judging.compare import is_broken, refuse_broken
from rhm_hf.statistics import Accumulator
from rhm_hf.statistics.intervals import check_confidence

from .learners import LEARNERS, SMOOTHINGS, learner_laws, oracle_laws
from .means import Means
from .prompts import PromptIds, examples_that_fit, prompt_ids


FIRST_RULES_SEED = 2**40  # of the fresh grammars: far from the seeds that people train with
DEFAULT_EXAMPLES = 128  # n at most, where none is asked for
PROMPT_SENTENCES = 2**20  # numbers of a split's sentences that belong to one prompt
LOGITS_LIMIT = 2**25  # entries of one batch's logits
TERMS = ("kl", "kl_within", "leak_cost", "leaked_mass")


@checked
def in_context_kl(
    model: torch.nn.Module,
    grammar: Source,
    *,
    num_grammars: PositiveInt = 16,
    num_mappings: PositiveInt = 4,
    num_prompts: PositiveInt = 1,
    max_examples: PositiveInt | None = None,
    symbols: str = "auto",
    separator: str | int | None = None,
    tokenizer: Any = None,
    bos: str | int | bool = "auto",
    learners: Sequence[str] = LEARNERS,
    smoothings: Sequence[str | float] = SMOOTHINGS,
    first_rules_seed: Seed = FIRST_RULES_SEED,
    seed: Seed = 0,
    confidence: Share = 0.95,
    batch_size: PositiveInt | None = None,
    accelerator: Any = None,
) -> dict:
    """The exact KL, in nats per token, of the sentence after n sentences of a fresh grammar, n = 0, 1, 2, 4, ..

    Every prompt holds independent sentences of one grammar. The model is judged at every token of sentence n + 1
    against the exact law of that grammar given the sentence so far. It has to find out the grammar from the n
    sentences, so that its KL is not 0 at small n whatever it does; a model that knew the grammar would have 0.

    The model's law is over all its ids. With q its probabilities, of which sum q_k over the v symbols is kept,

        kl = kl_within + leak_cost,   kl_within = KL(p | q / kept),   leak_cost = -log(kept),   leaked_mass = 1 - kept.

    `kl_within` says what it knows of the grammar once it is told which ids may occur, and is what `gain` compares with
    reference lines, which never leave the symbols.

    Args:
        model (`PreTrainedModel`): causal; see [`~rhm_hf.judging.read_model`].
        grammar ([`~rhm_hf.grammar.Source`]): says which ensemble fresh grammars are drawn from, those of rules seeds
            `first_rules_seed`, .. Rules given by hand have no ensemble: they are judged themselves, with
            `num_grammars=1`. All sentences must have one length.
        num_grammars, num_mappings, num_prompts (`int`, *optional*, default to 16, 4 and 1): grammars; mappings of
            symbols to ids, drawn anew for every grammar; prompts of a grammar, whose sentences are the same under all
            its mappings.
        max_examples (`int`, *optional*): n is at most this; by default what the model's context holds, at most 128.
        symbols (`str`, *optional*, defaults to `"auto"`): what stands for symbols. `"own"`: ids 0 .. v-1 of a model
            with v to v + 3 ids, in random order; `"words"`: random words that are one token of the tokenizer each;
            `"ids"`: random ids, special ones excluded. `"auto"` is `"own"` where it fits, else `"words"`.
        separator (`str` or `int`, *optional*): text or id between sentences; by default the first of a line break,
            `.`, `,` and `;` that is one token between words, and EOS or BOS between ids.
        tokenizer (*optional*): for words; a tokenizer, directory or Hub id, by default that beside the model.
        bos (`"auto"`, `False` or `int`, *optional*): the id before the first sentence: the model's BOS, or the
            separator where it has none, or with `False`.
        learners (`Sequence[str]`, *optional*): which counting learners are fitted to the same n sentences: `"ngram"`,
            `"hierarchical_ngram"`, `"correlation_learner"`.
        smoothings (`Sequence[str | float]`, *optional*): which smoothings their counts get, `"kneser_ney"` or the k of
            add-k: each learner is shown with the best one at every n.
        first_rules_seed (`int`, *optional*, defaults to 2^40), seed (`int`, *optional*, defaults to 0): of the
            grammars; of sentences and mappings.
        confidence (`float`, *optional*, defaults to 0.95): of the intervals.
        batch_size (`int`, *optional*): prompts a call of the model; by default what keeps logits under 128 MB.
        accelerator (`accelerate.Accelerator`, *optional*): its processes share the prompts; all get the whole result.

    Returns:
        `dict`: `num_examples` (the n), and lists over them: `kl`, `kl_within`, `leak_cost`, `leaked_mass`, the first
        two with `kl_interval`, `kl_within_interval`; `kl_per_position` (n x d, of `kl_within`); `mapping_std`, the
        standard deviation of `kl_within` between mappings of one grammar and its sentences (None with one mapping).

        `lines`: by name, `kl`, `interval` and `per_position` likewise, `gain` = line - `kl_within` of the same
        prompts and `gain_interval`. `uniform`: the uniform law. `ngram_<k>`, `tied_ngram_<k>`: n-grams of order k with
        a table for every position, and with one for all, fitted to the n sentences; `ngram`: the best of these.
        `hierarchical_ngram` is told the rules and counts; `correlation_learner` infers latent symbols first. Of
        learners, `choice` says which smoothing (and order) is shown at each n: the best in the mean on the judged
        sentences themselves, in the learners' favour. `previous_token` and `block_<ℓ>` know the grammar and see one
        token before, or their block of level ℓ: a model that uses neighbours only stays above these.

        Intervals are Student's t over units: `unit` is `"grammar"` (means over its mappings and prompts), or
        `"prompt"` where one grammar is judged; `num_units`. `t_quantile` is their half-width in standard errors. Also
        `symbols`, `separator` and `bos` (ids), `prompt` (the first one, as text), `num_grammars`, `num_mappings`,
        `num_prompts`, `read_as`, `entropy` (nats per token, of the judged laws).

    Raises:
        `ValueError`: for a model that is not causal, whose context is too short for one sentence and the next, or
            whose logits are NaN or infinite; too few words or ids; arguments out of range.
            [`~rhm_hf.grammar.NotSupported`] where lengths vary.
    """
    check_confidence(confidence)
    if unknown := set(learners) - set(LEARNERS):
        raise ValueError(f"learners={list(learners)} holds {unknown.pop()!r}: it may hold {', '.join(LEARNERS)}")
    if grammar.lengths_vary:
        why = "its sentences differ in length, so that no position of a prompt has the same place in all of them"
        raise NotSupported("in_context_kl", grammar, why, "take a source whose sentences have one length")
    if grammar.parameters is None and num_grammars > 1:
        raise ValueError(
            f"num_grammars={num_grammars}: {grammar.name} was given by hand and belongs to no ensemble to draw from; "
            "pass num_grammars=1, and several num_prompts"
        )
    smoothings = _checked_smoothings(smoothings)
    reader = read_model(model, read_as="causal")
    counts = examples_that_fit(reader, grammar.sentence_length, max_examples, DEFAULT_EXAMPLES)
    options = {"symbols": symbols, "separator": separator, "bos": bos, "tokenizer": tokenizer}
    ids = prompt_ids(reader, grammar.vocab_size, **options)
    grammars = [grammar] if grammar.parameters is None else fresh_grammars(grammar, num_grammars, first_rules_seed)
    sentences = _sentences(grammars, num_prompts, counts[-1] + 1, seed)
    mappings = ids.mappings(len(grammars) * num_mappings, grammar.vocab_size, seed)
    truth, oracles = _exact(grammars, sentences[:, :, counts])
    judge = _Judge(reader, ids, counts, batch_size, accelerator)
    shape = (len(grammars), num_mappings, num_prompts)
    terms = judge.terms(sentences, mappings.view(*shape[:2], -1), truth)
    flat = sentences.flatten(0, 1).numpy()
    owners = [source for source in grammars for _ in range(num_prompts)]
    laws = {"uniform": torch.full_like(truth.flatten(0, 1), 1 / grammar.vocab_size)} | oracles
    counted = learner_laws(owners, flat, counts, learners, smoothings)
    means = Means("grammar" if len(grammars) > 1 else "prompt", confidence, truth)
    result = means.result(terms, laws, counted, list(map(str, smoothings)))
    prompt = ids.encode(sentences[0, :1], mappings[:1])[0]
    return {
        "num_examples": counts,
        **result,
        "num_grammars": len(grammars),
        "num_mappings": num_mappings,
        "num_prompts": num_prompts,
        "symbols": ids.kind,
        "separator": ids.separator,
        "bos": ids.first,
        "prompt": ids.shown(prompt),
        "read_as": reader.read_as,
    }


def fresh_grammars(grammar: Source, num: int, first_rules_seed: int) -> list[Source]:
    """Other sources of the same ensemble, by consecutive rules seeds."""
    return [from_parameters(parameters_from_name(grammar.parameters.name, first_rules_seed + k)) for k in range(num)]


def _sentences(grammars: Sequence[Source], num_prompts: int, length: int, seed: int) -> torch.Tensor:
    """Independent sentences, int64 `(grammars, prompts, N + 1, d)`; longer prompts begin as shorter ones do."""
    if length > PROMPT_SENTENCES:
        raise ValueError(f"max_examples={length - 1} is out of range: it must be less than {PROMPT_SENTENCES}")
    options = {"seed": seed, "split": "evaluation", "sampling": "iid"}
    starts = [prompt * PROMPT_SENTENCES for prompt in range(num_prompts)]
    drawn = [[source.sample(length, start=start, **options) for start in starts] for source in grammars]
    return torch.from_numpy(np.array(drawn, dtype=np.int64))


def _exact(grammars: Sequence[Source], judged: torch.Tensor) -> tuple[torch.Tensor, dict[str, torch.Tensor]]:
    """The exact laws of sentences `(grammars, prompts, counts, d)`, and those of oracles by name, without the first
    axis."""
    rows = [mine.flatten(0, 1) for mine in judged]
    truth = [next_token_probs(grammar, mine) for grammar, mine in zip(grammars, rows, strict=True)]
    oracles = [oracle_laws(grammar, mine.numpy()) for grammar, mine in zip(grammars, rows, strict=True)]
    shape = (*judged.shape[:-1], *truth[0].shape[1:])
    together = {name: torch.cat([law[name] for law in oracles]).view(-1, *shape[2:]) for name in oracles[0]}
    return torch.stack(truth).view(shape), together


class _Judge:
    """One model's terms at the judged sentences of prompts."""

    def __init__(
        self, reader: ModelReader, ids: PromptIds, counts: list[int], batch_size: int | None, accelerator: Any
    ):
        self.reader, self.ids, self.counts, self.accelerator = reader, ids, counts, accelerator
        self.batch_size = batch_size

    @torch.no_grad()
    def terms(self, sentences: torch.Tensor, mappings: torch.Tensor, truth: torch.Tensor) -> dict[str, torch.Tensor]:
        """Each of the terms, float64 `(grammars, mappings, prompts, counts, d)`.

        Args:
            sentences (`torch.Tensor`): `(grammars, prompts, N + 1, d)`.
            mappings (`torch.Tensor`): `(grammars, mappings, v)`.
            truth (`torch.Tensor`): exact laws `(grammars, prompts, counts, d, v)`.
        """
        grammars, prompts, _, d = sentences.shape
        shape = (grammars, mappings.shape[1], prompts)
        rows = torch.cartesian_prod(*map(torch.arange, shape)).view(-1, 3)
        device = self.reader.device
        found = torch.zeros(len(TERMS) + 1, len(rows), len(self.counts), d, dtype=torch.float64, device=device)
        mine = share_of_process(len(rows), self.accelerator)
        step = self.batch_size or self._batch_size(sentences)
        with evaluating(self.reader.model):
            for start in range(mine.start, mine.stop, step):
                at = slice(start, min(start + step, mine.stop))
                grammar, mapping, prompt = rows[at].T
                chosen = mappings[grammar, mapping]
                log_q = self._log_probs(sentences[grammar, prompt], chosen)
                terms = divergence_terms(truth[grammar, prompt].to(device), log_q)
                found[:-1, at] = torch.stack([terms[name] for name in TERMS])
                found[-1, at] = is_broken(log_q).double()
        if self.accelerator is not None and self.accelerator.num_processes > 1:
            found = self.accelerator.reduce(found, reduction="sum")
        broken = Accumulator((), device)
        broken.add(found[-1].flatten())
        refuse_broken(broken, self.reader.model)
        return {name: values.view(*shape, *values.shape[1:]).cpu() for name, values in zip(TERMS, found, strict=False)}

    def _batch_size(self, sentences: torch.Tensor) -> int:
        ids = sentences.shape[2] * (sentences.shape[3] + 1)
        return max(1, LOGITS_LIMIT // (ids * self.reader.num_ids))

    def _log_probs(self, sentences: torch.Tensor, mapping: torch.Tensor) -> torch.Tensor:
        """The symbols' log probabilities `(rows, counts, d, v)` at the judged sentences, of a law over all ids."""
        d, device = sentences.shape[-1], self.reader.device
        logits = self.reader.logits(self.ids.encode(sentences, mapping).to(device))
        # What the model says after id n (d + 1) + i is the law of token i of sentence n.
        place = torch.tensor(self.counts, device=device)[:, None] * (d + 1) + torch.arange(d, device=device)
        logits = logits[:, place]
        logits = logits if logits.dtype == torch.float64 else logits.float()
        wanted = mapping.to(device)[:, None, None].expand(*logits.shape[:-1], -1)
        return (logits.gather(-1, wanted) - logits.logsumexp(-1, keepdim=True)).double()


def _checked_smoothings(smoothings: Sequence[str | float]) -> list[str | float]:
    if not smoothings:
        raise ValueError("smoothings is empty: give 'kneser_ney', numbers k of add-k, or both")
    for smoothing in smoothings:
        if smoothing != "kneser_ney" and (isinstance(smoothing, str | bool) or not 0 < smoothing < np.inf):
            raise ValueError(f"smoothings holds {smoothing!r}: it may hold 'kneser_ney' and numbers k > 0 of add-k")
    return list(smoothings)
