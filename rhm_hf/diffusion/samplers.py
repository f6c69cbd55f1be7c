"""Samplers: ancestral for any discrete process; for masked diffusion, k tokens at a time in any order.

With the exact denoiser and one token at a time a sentence has the grammar's own law. Tokens that are drawn together do
not know of each other, and what that costs is computed by [`reveal_log_probs`] and in `comparisons`.
"""

import math
import sys
from collections.abc import Iterator
from typing import Annotated, Any

import torch
from tqdm import tqdm

from ..checks import OwnCheck, PositiveInt, check_integer, check_number, checked, naming
from .denoisers import as_denoiser
from .processes import DiscreteDiffusion, MaskedDiffusion, categorical, checked_symbols


ORDERS = ("random", "confidence", "left_to_right")
BATCH = 512  # sentences a call of the denoiser
LARGEST_SAMPLE = 2**31  # tokens of one call, 16 GiB


@torch.no_grad()
@checked
def sample_ancestral(
    model: Any,
    process: DiscreteDiffusion,
    num: int,
    length: int,
    steps: PositiveInt,
    generator: torch.Generator | None = None,
    batch_size: PositiveInt = BATCH,
    progress: bool = False,
) -> torch.Tensor:
    """Samples by T steps of p(x_s | x_t) from the prior, all tokens of a step independent (D3PM, MDLM).

    Args:
        model: a model of transformers, a [`~rhm_hf.diffusion.Denoiser`], or a `Grammar` for the exact one.
        process ([`DiscreteDiffusion`]): the noise to undo.
        num (`int`): sentences.
        length (`int`): d, tokens of a sentence.
        steps (`int`): T, at times 1, 1 - 1/T, .. 0.
        generator (`torch.Generator`, *optional*): on the denoiser's device.
        batch_size (`int`, *optional*, defaults to 512): sentences a call of the model; samples depend on it.
        progress (`bool`, *optional*, defaults to False): a bar over the calls of the model, on a terminal.

    Returns:
        int64 symbols `(num, length)`.
    """
    denoiser, steps = as_denoiser(model, process), check_integer("steps", steps, 1)
    prior, parts = process.prior().log().to(denoiser.device), []
    sizes = list(_sizes(num, length, batch_size))
    with _bar(len(sizes) * steps, progress) as bar, naming("input_ids", f"length={length}: input_ids"):
        for size in sizes:
            ids = process.ids_of(categorical(prior.expand(size, length, -1), generator))
            parts.append(_back(denoiser, process, ids, 1.0, steps, generator, bar))
    return torch.cat(parts) if parts else torch.empty(0, length, dtype=torch.int64, device=denoiser.device)


@torch.no_grad()
@checked
def denoise(
    model: Any,
    process: DiscreteDiffusion,
    noisy: torch.Tensor,
    t: float,
    steps: PositiveInt,
    generator: torch.Generator | None = None,
    progress: bool = False,
) -> torch.Tensor:
    """Goes from x_t to x_0 in equal steps of p(x_s | x_t), all tokens of a step independent.

    Args:
        model, process, generator, progress: as in [`sample_ancestral`].
        noisy (`torch.Tensor`): ids `(n, d)`, all handled in one batch.
        t (`float`): their time, above 0.
        steps (`int`): how many, at times t, t - t/steps, .. 0.

    Returns:
        int64 symbols `(n, d)`.
    """
    denoiser, steps = as_denoiser(model, process), check_integer("steps", steps, 1)
    if not check_number("t", t, 0, 1) > 0:
        raise ValueError(f"t={t} must be above 0, where nothing is to be undone, and at most 1")
    with _bar(steps, progress) as bar:
        return _back(denoiser, process, noisy, t, steps, generator, bar)


def _back(denoiser, process, noisy: torch.Tensor, t: float, steps: PositiveInt, generator, bar) -> torch.Tensor:
    for k in range(steps, 0, -1):
        if not process.uncertain(noisy).any():
            break  # nothing is left to be said
        start, end = t * (k - 1) / steps, t * k / steps
        law = process.log_reverse(noisy, denoiser(noisy, end), start, end)
        noisy = process.ids_of(categorical(law, generator))
        bar.update()
    return noisy


@torch.no_grad()
@checked
def sample_revealing(
    model: Any,
    process: Annotated[MaskedDiffusion, OwnCheck()],
    num: int,
    length: int,
    tokens_per_step: PositiveInt = 1,
    order: str | torch.Tensor = "random",
    generator: torch.Generator | None = None,
    batch_size: PositiveInt = BATCH,
    progress: bool = False,
) -> torch.Tensor:
    """Samples by revealing k hidden tokens a step, each from its own law given the visible ones.

    Args:
        model, process, num, length, generator, batch_size, progress: as in [`sample_ancestral`]; masked diffusion
            only.
        tokens_per_step (`int`, *optional*, defaults to 1): k.
        order (`str` or `torch.Tensor`, *optional*, defaults to `"random"`): which tokens come next: `"random"`, a
            random order of each sentence's own; `"confidence"`, those whose likeliest symbol is likeliest;
            `"left_to_right"`; or ranks `(d,)` or `(num, d)`, smaller ones are revealed first. Unlike MaskGIT's, the
            choice never looks at what was drawn for a hidden token, so that with k = 1 and the exact denoiser every
            order has the exact law.

    Returns:
        int64 symbols `(num, length)`.
    """
    order = _check_revealing(process, tokens_per_step, order, num, length)
    denoiser, parts = as_denoiser(model, process), []
    sizes = list(_sizes(num, length, batch_size))
    num_calls = len(sizes) * math.ceil(length / tokens_per_step)
    with _bar(num_calls, progress) as bar, naming("input_ids", f"length={length}: input_ids"):
        for size in sizes:
            ids = torch.full((size, length), process.mask_token_id, device=denoiser.device)
            given = order[sum(map(len, parts)) :][:size] if isinstance(order, torch.Tensor) else order
            ranks = _ranks(size, length, given, generator, denoiser.device)
            for _ in range(0, length, tokens_per_step):
                law, chosen = _next(denoiser, process, ids, ranks, tokens_per_step)
                ids.scatter_(1, chosen, categorical(law, generator))
                bar.update()
            parts.append(ids)
    return torch.cat(parts) if parts else torch.empty(0, length, dtype=torch.int64, device=denoiser.device)


@torch.no_grad()
@checked
def reveal_log_probs(
    model: Any,
    process: Annotated[MaskedDiffusion, OwnCheck()],
    tokens: Any,
    tokens_per_step: PositiveInt = 1,
    order: str | torch.Tensor = "random",
    generator: torch.Generator | None = None,
    batch_size: PositiveInt = BATCH,
) -> torch.Tensor:
    """The exact log probability that [`sample_revealing`] reaches given sentences along one order of revealing.

    For a fixed order (`"left_to_right"`, or a tensor) this is the sampler's law itself: summed over all sentences of
    a grammar, its exponential is the sampler's exact fraction of grammatical sentences. For `"random"` it is that of
    a random order given the order, whose exponential is an unbiased estimate. Along `"confidence"` the order is what
    the sampler itself would take on its way to the sentence, so again the law itself.

    Args:
        model, process, tokens_per_step, generator, batch_size: as in [`sample_revealing`].
        tokens (`torch.Tensor`): symbols `(n, d)`.
        order (`str` or `torch.Tensor`): as there, or ranks `(d,)` or `(n, d)`: smaller ones are revealed first.

    Returns:
        float64 `(n,)`, nats; -inf for what cannot be reached.
    """
    batch_size, denoiser = check_integer("batch_size", batch_size, 1), as_denoiser(model, process)
    tokens = checked_symbols("tokens", tokens, process).to(denoiser.device)
    n, length = tokens.shape
    order = _check_revealing(process, tokens_per_step, order, n, length)
    ranks = _ranks(n, length, order, generator, tokens.device)
    logs = torch.zeros(n, dtype=torch.float64, device=tokens.device)
    for rows in torch.arange(n, device=tokens.device).split(batch_size):
        ids = torch.full_like(tokens[rows], process.mask_token_id)
        for _ in range(0, length, tokens_per_step):
            law, chosen = _next(denoiser, process, ids, None if ranks is None else ranks[rows], tokens_per_step)
            shown = tokens[rows].gather(1, chosen)
            logs[rows] += law.gather(2, shown.unsqueeze(2)).squeeze(2).double().sum(1)
            ids.scatter_(1, chosen, shown)
    return logs


def _next(denoiser, process, ids: torch.Tensor, ranks: torch.Tensor | None, k: int):
    """Laws `(n, k, v)` and places `(n, k)` of the tokens that are revealed next; their number is the same in all rows.

    Those of the lowest ranks, or where there are none the most confident; equals from left to right.
    """
    hidden = ids == process.mask_token_id
    left = int(hidden[0].sum()) if len(ids) else 0
    alpha = torch.tensor(1 - left / ids.shape[1], dtype=torch.float64)
    law = denoiser(ids, process.schedule.time(alpha))
    score = law.amax(-1) if ranks is None else -ranks
    order = score.masked_fill(~hidden, -torch.inf).argsort(dim=1, descending=True, stable=True)
    chosen = order[:, : min(k, left)]
    return law.gather(1, chosen.unsqueeze(2).expand(-1, -1, law.shape[2])), chosen


def _check_revealing(process, tokens_per_step: PositiveInt, order, num: int, length: int) -> str | torch.Tensor:
    """The order: its name, or ranks as float64 `(num, length)`."""
    check_integer("tokens_per_step", tokens_per_step, 1)
    if not isinstance(process, MaskedDiffusion):
        raise ValueError(f"process={process!r}: only masked diffusion reveals tokens; take sample_ancestral")
    if isinstance(order, str) and order in ORDERS:
        return order
    if not isinstance(order, torch.Tensor):
        raise ValueError(f"order={order!r} is unknown: it must be {', '.join(ORDERS)}, or a tensor of ranks")
    if order.shape not in ((length,), (num, length)):
        raise ValueError(f"order has shape {tuple(order.shape)}: give ranks as {(length,)} or {(num, length)}")
    if not torch.isfinite(order.double()).all():
        raise ValueError("order holds NaN or infinities: ranks are numbers, smaller ones are revealed first")
    return order.double().expand(num, length)


def _ranks(num: int, length: int, order, generator, device) -> torch.Tensor | None:
    """When a token's turn comes, float64 `(num, length)`, smallest first; None where the denoiser says so."""
    if isinstance(order, torch.Tensor):
        return order.to(device)
    if order == "confidence":
        return None
    if order == "random":
        return torch.rand(num, length, dtype=torch.float64, device=device, generator=generator)
    return torch.arange(length, dtype=torch.float64, device=device).expand(num, length)


def _bar(calls: int, progress: bool) -> tqdm:
    return tqdm(total=calls, desc="sampling", unit="call", leave=False, disable=not (progress and sys.stderr.isatty()))


def _sizes(num: int, length: int, batch_size: PositiveInt) -> Iterator[int]:
    num, length = check_integer("num", num, 0), check_integer("length", length, 1)
    if num * length > LARGEST_SAMPLE:
        raise ValueError(
            f"num={num} sentences of length={length} are {8 * num * length / 2**30:.0f} GiB of tokens: sample at most "
            f"{LARGEST_SAMPLE // length} at a time"
        )
    batch_size = check_integer("batch_size", batch_size, 1)
    yield from (min(batch_size, num - start) for start in range(0, num, batch_size))
