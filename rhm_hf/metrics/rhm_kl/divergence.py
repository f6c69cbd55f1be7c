"""KL of a model to the exact law of a grammar, token by token over sentences of the grammar.

At every judged token, in a context x_<i (or the visible tokens), p is the exact law over the v symbols and q the
model's law over all its ids. KL = sum p log(p / q) = kl_within + leak_cost, where kl_within compares p with q
renormalised to the symbols and leak_cost = -log(1 - leaked mass) is the price of probability outside them. Terms with
p = 0 are 0.
"""

import math
from collections.abc import Sequence

import numpy as np
import torch

from rhm_hf.grammar import Grammar
from rhm_hf.grammar.enumeration import enumerate_sentences
from rhm_hf.inference import log_prob, next_token_probs, posteriors
from rhm_hf.judging.bare import evaluating, share_of_process
from rhm_hf.judging.models import read_model
from rhm_hf.statistics import Accumulator

from .vocabulary import ModelIds


ALL_SENTENCES_LIMIT = 2**16  # at most so many sentences are all judged, weighted, instead of a sample
LOGITS_LIMIT = 2**25  # entries of one batch's logits, 128 MB in float32
TERMS = ("kl", "kl_within", "leak_cost", "leaked_mass", "entropy")


@torch.no_grad()
def kl_divergence(
    model,
    grammar: Grammar,
    input_ids=None,
    *,
    num_sentences: int = 4096,
    seed: int = 0,
    batch_size: int | None = None,
    bos: str | int | bool = "auto",
    token_ids: Sequence[int] | None = None,
    mask_probability: float = 0.15,
    mask_seed: int = 0,
    mask_token_id: int | None = None,
    accelerator=None,
) -> dict:
    """The exact KL divergence, in nats per judged token, from a grammar's law to a model.

    Args:
        model (`PreTrainedModel`): causal or masked, on any device; see [`~rhm_hf.judging.models.read_model`].
        grammar ([`Grammar`]): the true law.
        input_ids (*optional*): sentences to judge, symbols only, `(n, sentence_length)`. By default all sentences,
            weighted by their probability, where there are at most 2^16; fresh iid ones elsewhere.
        num_sentences (`int`, *optional*, defaults to 4096): how many fresh sentences.
        seed (`int`, *optional*, defaults to 0): seed of the fresh sentences.
        batch_size (`int`, *optional*): sentences a call of the model; by default what keeps the logits under 128 MB.
        bos (`"auto"`, `False` or `int`, *optional*): the id put before every sentence. `"auto"` takes the model's BOS
            if it is one of its ids and no symbol's. With `False` the first token is not judged by a causal model.
        token_ids (`Sequence[int]`, *optional*): the model's id of every symbol; by default symbol k has id k, and the
            model must have v to v + 3 ids.
        mask_probability (`float`, *optional*, defaults to 0.15): of a token to be hidden from a masked model; every
            sentence has at least one hidden token (the one with the smallest random number).
        mask_seed (`int`, *optional*, defaults to 0): seed of the masks.
        mask_token_id (`int`, *optional*): the masked model's MASK; by default its configuration's, or v + 2 where the
            model has v + 3 ids.
        accelerator (`accelerate.Accelerator`, *optional*): splits the sentences over its processes; every process
            gets the whole result.

    Returns:
        `dict`: `kl` (nats per judged token, `inf` where the model excludes a possible token), `kl_within`,
        `leak_cost`, `leaked_mass`, `kl_stderr` (over sentences; 0 where all were judged), `kl_per_position` and
        `kl_stderr_per_position` (None where no token was judged), `positions` (the judged positions, from 1),
        `kl_sentence` (nats per sentence), `cross_entropy` and `entropy` (of the exact law, nats per judged token;
        cross_entropy = entropy + kl), `num_infinite` (sentences with infinite KL), `num_sentences`, `read_as`,
        `bos`.

    Raises:
        `ValueError`: for vocabularies that do not match, ungrammatical sentences, a BOS that is a symbol, sentences
            longer than the model's context.
    """
    reader = read_model(model, read_as="tokens", length=grammar.sentence_length + 1)
    model, masked = reader.model, reader.is_masked
    ids = ModelIds.of(model, grammar, token_ids=token_ids, bos=bos, masked=masked, mask_token_id=mask_token_id)
    tokens, weights = _sentences(grammar, input_ids, num_sentences, seed)
    hidden = _masks(tokens.shape, mask_probability, mask_seed) if masked else None
    device = model.device
    mine = share_of_process(len(tokens), accelerator)
    if batch_size is None:
        batch_size = max(1, min(512, LOGITS_LIMIT // (grammar.sentence_length * ids.num_ids)))
    elif batch_size < 1:
        raise ValueError(f"batch_size={batch_size} must be at least 1, or None for a size that fits the memory")

    per_token = {term: Accumulator(device=device) for term in TERMS}
    per_position = Accumulator((grammar.sentence_length,), device)
    with evaluating(model):
        for start in range(mine.start, mine.stop, batch_size):
            rows = slice(start, min(start + batch_size, mine.stop))
            batch, weight = tokens[rows].to(device), weights[rows].to(device)
            if masked:
                judged = hidden[rows].to(device)
                p = posteriors(grammar, tokens=batch, mask=judged)[0]
            else:
                judged = torch.ones_like(batch, dtype=torch.bool)
                judged[:, 0] = ids.bos is not None
                p = next_token_probs(grammar, batch)
            log_q = _symbol_log_probs(reader, ids, batch, judged if masked else None).double()
            terms = _divergence_terms(p, log_q, judged)
            counts = judged.double()
            for name, values in terms.items():
                per_token[name].add(values.sum(1), counts.sum(1), weight)
            per_position.add(terms["kl"], counts, weight)
    for accumulator in (*per_token.values(), per_position):
        accumulator.reduce(accelerator)
    exhaustive = input_ids is None and len(weights) == grammar.num_sentences and not masked
    found = _result(per_token, per_position, exhaustive, len(tokens), masked or ids.bos is not None)
    return found | {"read_as": reader.read_as, "bos": ids.bos}


def _sentences(grammar, input_ids, num_sentences, seed) -> tuple[torch.Tensor, torch.Tensor]:
    """Tokens `(n, d)` int64 and their weights `(n,)`, on the CPU."""
    if input_ids is None and grammar.num_sentences <= ALL_SENTENCES_LIMIT:
        tokens, probs = enumerate_sentences(grammar)
        return torch.from_numpy(tokens.astype(np.int64)), torch.from_numpy(probs)
    if input_ids is None:
        tokens = grammar.sample(num_sentences, seed=seed, split="evaluation", sampling="iid")
    else:
        tokens = np.asarray(input_ids.cpu() if isinstance(input_ids, torch.Tensor) else input_ids)
        if tokens.ndim != 2 or tokens.shape[1] != grammar.sentence_length or len(tokens) == 0:
            raise ValueError(
                f"input_ids has shape {tokens.shape}: give sentences as (n, {grammar.sentence_length}) symbols, "
                "without BOS or padding"
            )
    tokens = torch.from_numpy(tokens.astype(np.int64))
    if input_ids is not None and (wrong := torch.isinf(log_prob(grammar, tokens))).any():
        first = int(wrong.nonzero()[0, 0])
        raise ValueError(
            f"input_ids[{first}] = {tokens[first].tolist()} is no sentence of {grammar.name} ({int(wrong.sum())} "
            f"of {len(tokens)} are not): the law after an impossible prefix does not exist"
        )
    return tokens, torch.ones(len(tokens), dtype=torch.float64)


def _masks(shape: tuple[int, int], probability: float, seed: int) -> torch.Tensor:
    """Which tokens are hidden: each with the given probability, at least one a sentence; a function of the seed."""
    if not 0 < probability <= 1:
        raise ValueError(f"mask_probability={probability} must be above 0 and at most 1")
    numbers = torch.rand(shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)
    return (numbers < probability) | (numbers == numbers.amin(1, keepdim=True))


def _symbol_log_probs(reader, ids: ModelIds, batch: torch.Tensor, hidden: torch.Tensor | None) -> torch.Tensor:
    """The model's log probabilities of the symbols at every token, `(batch, d, v)`.

    The log-softmax over all ids is taken in float32 or better. Without BOS a causal model says nothing of the first
    token; its row is uniform, and not judged.
    """
    inputs = ids.encode(batch[:, :-1]) if hidden is None else ids.encode(batch, hidden)
    logits = reader.logits(inputs)
    if hidden is not None and ids.bos is not None:
        logits = logits[:, 1:]
    if logits.dtype != torch.float64:
        logits = logits.float()
    log_q = logits[..., ids.symbols] - logits.logsumexp(-1, keepdim=True)
    if hidden is None and ids.bos is None:
        log_q = torch.cat([torch.full_like(log_q[:, :1], -math.log(log_q.shape[-1])), log_q], 1)
    return log_q


def _divergence_terms(p: torch.Tensor, log_q: torch.Tensor, judged: torch.Tensor) -> dict[str, torch.Tensor]:
    """The terms of every token `(batch, d)`, 0 where it is not judged."""
    plogp = torch.xlogy(p, p)
    kl = torch.where(p > 0, plogp - p * log_q, 0).sum(-1)
    log_kept = log_q.logsumexp(-1).clamp(max=0)  # log of the model's mass on symbols
    renormalised = log_q - torch.where(torch.isinf(log_kept), 0, log_kept)[..., None]
    terms = {
        "kl": kl,
        "kl_within": torch.where(p > 0, plogp - p * renormalised, 0).sum(-1),
        "leak_cost": -log_kept,
        "leaked_mass": -torch.expm1(log_kept),
        "entropy": -plogp.sum(-1),
    }
    return {name: torch.where(judged, values, 0) for name, values in terms.items()}


def _result(per_token, per_position, exhaustive, num_sentences, judges_first) -> dict:
    kl, entropy = per_token["kl"], per_token["entropy"].mean.item()
    first = 0 if judges_first else 1
    means = _known(per_position.mean)[first:]
    return {
        **{term: per_token[term].mean.item() for term in TERMS if term != "entropy"},
        "kl_stderr": 0.0 if exhaustive else kl.stderr.item(),
        "kl_per_position": means,
        "kl_stderr_per_position": [0.0] * len(means) if exhaustive else _known(per_position.stderr)[first:],
        "positions": list(range(first + 1, first + 1 + len(means))),
        "kl_sentence": kl.mean_per_row.item(),
        "cross_entropy": entropy + kl.mean.item(),
        "entropy": entropy,
        "num_infinite": int(kl.num_infinite),
        "num_sentences": num_sentences,
    }


def _known(values: torch.Tensor) -> list[float | None]:
    """NaN, the mean of nothing, as None."""
    return [None if math.isnan(value) else value for value in values.tolist()]
