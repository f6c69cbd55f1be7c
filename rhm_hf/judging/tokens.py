"""A model's laws of tokens beside the exact ones: causal models at every next token, masked ones at hidden tokens."""

import math
from typing import Any

import torch
import torch.nn.functional as F

from ..checks import PositiveInt, checked
from ..grammar import Source
from ..inference import next_token_probs, posteriors, prefix_probs
from ..statistics.accumulator import Accumulator
from .compare import Sums, accumulate, is_broken, refuse_broken
from .divergence import divergence_terms
from .model_ids import ModelIds
from .models import ModelReader, read_model
from .sentences import Sentences
from .splits import Split


LOGITS_LIMIT = 2**25  # entries of one batch's logits, 128 MB in float32
TERMS = ("kl", "kl_within", "leak_cost", "leaked_mass", "entropy")


@checked
def compare_tokens(
    model: torch.nn.Module | ModelReader,
    source: Source,
    sentences: Sentences,
    ids: ModelIds,
    hidden: torch.Tensor | None = None,
    batch_size: PositiveInt | None = None,
    accelerator: Any = None,
    split: Split | None = None,
) -> dict[str, Any]:
    """The exact KL of a model, token by token.

    Args:
        model (`torch.nn.Module` or [`ModelReader`]): on any device, in any mode; given back in the same.
        source (`Source`): the true law.
        sentences ([`Sentences`]): of the source.
        ids ([`ModelIds`]): of the model.
        hidden (`torch.Tensor`, *optional*): bool `(n, d)`, the tokens hidden from a masked model, judged there; a
            causal model is judged at every next token, and END is one where lengths vary.
        batch_size (`int`, *optional*): sentences a call of the model; by default what keeps its logits under 128 MB.
        accelerator (`accelerate.Accelerator`, *optional*): splits the sentences over its processes.
        split ([`~rhm_hf.judging.splits.Split`], *optional*): of a causal model: to what its KL is put down.

    Returns:
        `dict`: see [`~rhm_hf.metrics.rhm_kl.kl_divergence`]. With `split` also `kl_split`, what each group adds to
        `kl`, and `split_share`, the share of the judged tokens that it has: both sum to the whole.
    """
    ends = hidden is None and source.lengths_vary
    longest = sentences.tokens.shape[1]
    reader = model
    if not isinstance(model, ModelReader):
        reader = read_model(model, read_as="causal" if hidden is None else "masked", length=longest + 1)
    ids.check_length(reader, longest - (hidden is None and not ends))
    size = _batch_size(batch_size, (longest + ends) * ids.num_ids)
    shapes = dict.fromkeys(TERMS, ()) | {"per_position": (longest + ends,), "broken": ()}
    if ends:
        shapes["end"] = ()
    device = reader.device
    if split is not None:
        num_groups = split.num_groups(sentences.tokens[:1])
        shapes |= {"split": (num_groups,), "split_share": (num_groups,)}

    def measure(rows: slice) -> dict[str, Sums]:
        batch, lengths = sentences.tokens[rows].to(device), sentences.lengths[rows].to(device)
        mask = None if hidden is None else hidden[rows].to(device)
        if ends:
            batch = batch[:, : int(lengths.max())]  # what is padding in all of them is not read
        beyond = longest - batch.shape[1]
        weight = sentences.weights[rows].to(device)
        judged = _judged(lengths, batch.shape[1] + ends, ends, ids) if mask is None else mask
        log_q = _log_probs(reader, ids, batch, mask, source.lengths_vary).double()
        exact = _exact(source, batch, mask, ends)
        terms = divergence_terms(exact, log_q)
        if split is not None:
            of_groups, shares = split.parts(batch, exact, log_q, terms["kl"], judged)
        terms = {name: F.pad(torch.where(judged, values, 0), (0, beyond)) for name, values in terms.items()}
        broken = (judged & is_broken(log_q)).sum(1)
        judged = F.pad(judged, (0, beyond))
        counts = judged.double()
        found = {name: (values.sum(1), counts.sum(1), weight) for name, values in terms.items()}
        found["per_position"] = (terms["kl"], counts, weight)
        found["broken"] = (broken, 1.0, 1.0)
        if ends:
            last = terms["kl"].gather(1, lengths[:, None])[:, 0]
            found["end"] = (last, judged.gather(1, lengths[:, None])[:, 0].double(), weight)
        if split is not None:
            total = counts.sum(1)[:, None]
            found |= {"split": (of_groups, total, weight), "split_share": (shares, total, weight)}
        return found

    options = {"device": device, "model": reader.model, "accelerator": accelerator, "batch_size": size}
    found = accumulate(len(sentences), shapes, measure, **options)
    refuse_broken(found["broken"], reader.model)
    certain = sentences.exhaustive and hidden is None
    result = _result(found, certain, len(sentences), hidden is not None or ids.bos is not None)
    result |= {"read_as": reader.read_as, "bos": ids.bos}
    if ends:
        result |= {"kl_end": found["end"].mean.item(), "kl_end_stderr": 0.0 if certain else found["end"].stderr.item()}
    if split is not None:
        result |= {"kl_split": found["split"].mean.tolist(), "split_share": found["split_share"].mean.tolist()}
    if source.has_blocks:
        result["kl_by_level"] = _by_level(source, found["per_position"])
    return result


def _batch_size(batch_size: int | None, entries: int) -> int:
    """Sentences whose logits, of so many entries each, are computed together."""
    if batch_size is None:
        return max(1, min(512, LOGITS_LIMIT // entries))
    if isinstance(batch_size, bool) or not hasattr(batch_size, "__index__") or batch_size < 1:
        raise ValueError(f"batch_size={batch_size!r} must be at least 1, or None for a size that fits the memory")
    return int(batch_size)


def _judged(lengths: torch.Tensor, positions: int, ends: bool, ids: ModelIds) -> torch.Tensor:
    """Where a causal model is judged, bool `(n, positions)`: up to END, and from the first token on after BOS."""
    place = torch.arange(positions, device=lengths.device)
    judged = place < lengths[:, None] + ends
    return judged if ids.bos is not None else judged & (place > 0)


def _exact(source: Source, batch: torch.Tensor, hidden: torch.Tensor | None, ends: bool) -> torch.Tensor:
    """The exact laws, float64 `(n, positions, outcomes)`."""
    if hidden is not None:
        return posteriors(source, tokens=batch, mask=hidden)[0]
    return prefix_probs(source, batch)[0] if ends else next_token_probs(source, batch)


def _log_probs(
    reader: ModelReader, ids: ModelIds, batch: torch.Tensor, hidden: torch.Tensor | None, vary: bool
) -> torch.Tensor:
    """The model's log probabilities of the outcomes at every position, `(n, positions, outcomes)`.

    The log-softmax over all ids is taken in float32 or better. Without BOS a causal model says nothing of the first
    token; its row is uniform, and not judged.
    """
    read = batch if hidden is not None or vary else batch[:, :-1]
    # Padding lies to the right: a causal model does not see it, whether it takes a mask or not.
    seen = ids.seen(read) if vary and (hidden is not None or reader.takes_mask) else None
    logits = reader.logits(ids.encode(read, hidden), seen)
    if hidden is not None and ids.bos is not None:
        logits = logits[:, 1:]
    if logits.dtype != torch.float64:
        logits = logits.float()
    log_q = logits[..., ids.outcomes] - logits.logsumexp(-1, keepdim=True)
    if hidden is None and ids.bos is None:
        log_q = torch.cat([torch.full_like(log_q[:, :1], -math.log(log_q.shape[-1])), log_q], 1)
    return log_q


def _result(found, certain: bool, num_sentences: int, judges_first: bool) -> dict:
    kl, entropy, per_position = found["kl"], found["entropy"].mean.item(), found["per_position"]
    first = 0 if judges_first else 1
    means = _known(per_position.mean)[first:]
    return {
        **{term: found[term].mean.item() for term in TERMS if term != "entropy"},
        "kl_stderr": 0.0 if certain else kl.stderr.item(),
        "kl_per_position": means,
        "kl_stderr_per_position": [0.0] * len(means) if certain else _known(per_position.stderr)[first:],
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


def _by_level(source: Source, per_position: Accumulator) -> list[float]:
    """Entry ℓ = 0..L: what the positions that open a block of level ℓ, and of no higher one, add to `kl`.

    By the chain rule the KL of a sentence is the sum of those of its tokens, and the token at which a block begins is
    the first to tell what stands above it. The first token opens the root.
    """
    counts = per_position.num_items
    added = torch.where(counts > 0, per_position.mean * (counts / counts.sum()), 0).tolist()
    opened = torch.zeros(len(added), dtype=torch.int64)
    for level in range(1, source.depth + 1):
        opened[:: source.block_length(level)] = level
    split = [0.0] * (source.depth + 1)
    for level, value in zip(opened.tolist(), added, strict=True):
        split[level] += value
    return split
