"""What a denoiser and a sampler are worth, exactly, where the law of the data is known.

The laws of one step, p(x_s,i | x_t), are compared token by token with the exact ones, at noisy states of real
sentences; a sampler that reveals k tokens at a time is compared with the grammar as a law over sentences.
"""

import math
from typing import Annotated, Any

import torch

from ..checks import OwnCheck, PositiveInt, Seed, check_integer, check_number, checked
from ..grammar import Source
from ..inference import log_prob
from ..judging import accumulate, divergence, given_sentences, judged_sentences, read_rows
from ..judging.compare import is_broken, refuse_broken
from ..judging.sentences import known_symbols
from ..statistics import Accumulator
from ..statistics.intervals import share_interval
from .bounds import stratified
from .denoisers import ExactDenoiser, as_denoiser, refuse_lengths
from .processes import DiscreteDiffusion, MaskedDiffusion, checked_symbols
from .samplers import reveal_log_probs


@torch.no_grad()
@checked
def one_step_kl(
    model: Any,
    grammar: Source,
    process: DiscreteDiffusion,
    tokens: Any,
    steps: PositiveInt | None = None,
    t: float | None = None,
    generator: torch.Generator | None = None,
    batch_size: PositiveInt = 512,
) -> dict[str, float]:
    """KL from the exact law of one sampling step to the model's, at noisy states x_t of given sentences.

    Args:
        model: a model of transformers, a [`Denoiser`], or a `Grammar`.
        grammar (`Grammar`): the true law.
        process ([`DiscreteDiffusion`]): the noise.
        tokens (tensor or array): sentences of the grammar `(n, d)`.
        steps (`int`, *optional*): T of the step from t to s = t - 1/T; without it only the denoisers are compared.
        t (`float`, *optional*): time of all states, in (0, 1]; by default times spread evenly over the sentences,
            those of the T steps where `steps` is given.
        generator (`torch.Generator`, *optional*): of the noise, on the CPU.
        batch_size (`int`, *optional*, defaults to 512): sentences a call.

    Returns:
        `dict`: `denoiser_kl` and `denoiser_kl_stderr`, KL of p(x_0,i | x_t), nats per token (all tokens; a visible one
        of masked diffusion has none); with `steps`, `step_kl` and `step_kl_stderr`, KL of p(x_s,i | x_t), nats per
        token and step; `num_infinite`, sentences where the model excludes what is possible; `num_sentences`.
    """
    steps = None if steps is None else check_integer("steps", steps, 1)
    if t is not None and not check_number("t", t, 0, 1) > 0:
        raise ValueError(f"t={t} must be above 0, where nothing is hidden, and at most 1")
    exact, denoiser = ExactDenoiser(grammar, process), as_denoiser(model, process)
    tokens = checked_symbols("tokens", tokens, process).to(denoiser.device)
    given_sentences(grammar, tokens, "tokens")
    numbers = torch.rand(len(tokens), tokens.shape[1] + 1, dtype=torch.float64, generator=generator)
    numbers = stratified(numbers).to(denoiser.device)
    names = ("denoiser_kl",) if steps is None else ("denoiser_kl", "step_kl")

    def measure(part: slice) -> dict:
        rows, uniforms = tokens[part], numbers[part]
        times = _times(uniforms[:, 0], steps, t)
        noisy = process.noise(rows, times, uniforms[:, 1:])
        log_p, log_q = exact(noisy, times), denoiser(noisy, times).double()
        uncertain, length = process.uncertain(noisy), float(rows.shape[1])
        kl = torch.where(uncertain, divergence(log_p.exp(), log_q, log_p), 0).sum(1)
        found = {"denoiser_kl": (kl, length, 1.0), "broken": ((uncertain & is_broken(log_q)).sum(1), 1.0, 1.0)}
        if steps is not None:
            s = (times - 1 / steps).clamp(min=0)
            log_p, log_q = (process.log_reverse(noisy, law, s, times) for law in (log_p, log_q))
            found["step_kl"] = (divergence(log_p.exp(), log_q, log_p).sum(1), length, 1.0)
        return found

    options = {"device": denoiser.device, "batch_size": check_integer("batch_size", batch_size, 1)}
    found = accumulate(len(tokens), dict.fromkeys((*names, "broken"), ()), measure, **options)
    refuse_broken(found["broken"], model)
    result = {}
    for name in names:
        result |= {name: found[name].mean.item(), f"{name}_stderr": found[name].stderr.item()}
    return result | {"num_infinite": int(found["denoiser_kl"].num_infinite), "num_sentences": len(tokens)}


def _times(uniforms: torch.Tensor, steps: PositiveInt | None, t: float | None) -> torch.Tensor:
    if t is not None:
        return torch.full_like(uniforms, t)
    return 1 - uniforms if steps is None else ((uniforms * steps).floor() + 1) / steps


@torch.no_grad()
@checked
def revealing_law(
    model: Any,
    grammar: Source,
    process: Annotated[MaskedDiffusion, OwnCheck()],
    tokens_per_step: PositiveInt = 1,
    order: str | torch.Tensor = "random",
    num_sentences: PositiveInt = 4096,
    seed: Seed = 0,
) -> dict[str, float]:
    """The law of [`sample_revealing`] against the grammar's: its KL and its fraction of grammatical sentences.

    Nothing is generated. With q(x) the sampler's probability of a sentence, from [`reveal_log_probs`], the fraction is
    the sum of q over the grammar's sentences, the mean of q / P over sentences of law P.

    Args:
        model: a model of transformers, a [`Denoiser`], or the `Grammar` for the exact one.
        grammar (`Grammar`): the true law.
        process, tokens_per_step, order: as in [`sample_revealing`], order also a tensor of ranks `(d,)`.
        num_sentences (`int`, *optional*, defaults to 4096): fresh sentences that are judged; all of them, weighted,
            where the grammar has at most 2^16.
        seed (`int`, *optional*, defaults to 0): of those sentences and of random orders.

    Returns:
        `dict`: `kl` (nats per sentence; for random orders the mean over orders, an upper bound on the KL of their
        mixture), `kl_stderr`, `fraction_grammatical`, `fraction_grammatical_stderr` (infinite where unknown),
        `num_infinite` (sentences out of reach; `kl` is then infinite), `num_sentences`. Errors are 0 where all
        sentences were judged along one order; with random orders they are those of independent sentences.
    """
    refuse_lengths(grammar, "revealing_law")
    sentences = judged_sentences(grammar, num_sentences, seed)
    denoiser = as_denoiser(model, process)
    tokens, weights = sentences.tokens.to(denoiser.device), sentences.weights
    generator = torch.Generator(denoiser.device).manual_seed(seed)
    log_p = log_prob(grammar, tokens)
    log_q = reveal_log_probs(denoiser, process, tokens, tokens_per_step, order, generator)
    kl, fraction = Accumulator(device=denoiser.device), Accumulator(device=denoiser.device)
    kl.add(log_p - log_q, weights=weights)
    fraction.add((log_q - log_p).exp(), weights=weights)
    certain = sentences.exhaustive and not (isinstance(order, str) and order == "random")
    return {
        "kl": kl.mean.item(),
        "kl_stderr": 0.0 if certain else kl.stderr.item(),
        "fraction_grammatical": fraction.mean.item(),
        "fraction_grammatical_stderr": 0.0 if certain else fraction.stderr.item(),
        "num_infinite": int(kl.num_infinite),
        "num_sentences": len(tokens),
    }


@checked
def judge_samples(grammar: Source, samples: Any) -> dict[str, float]:
    """Fraction of grammatical samples and the log probability of those.

    Args:
        grammar (`Grammar`): the true law.
        samples (tensor, array or lists): symbols `(n, d)`; where lengths vary of any lengths. Ids that are no symbols
            make their sentence wrong.

    Returns:
        `dict`: `fraction_grammatical`, its binomial `fraction_grammatical_stderr` (0 where all or none are) and
        `fraction_grammatical_interval` (95 %, also there), `log_prob` (mean over the
        grammatical samples, nats per sentence; None where there is none; minus the entropy for exact samples),
        `num_samples`.
    """
    logs = known_symbols(grammar, torch.from_numpy(read_rows("samples", samples, grammar)))[2]
    valid = logs.isfinite()
    fraction = valid.double().mean().item()
    return {
        "fraction_grammatical": fraction,
        "fraction_grammatical_stderr": math.sqrt(fraction * (1 - fraction) / max(1, len(logs))),
        "fraction_grammatical_interval": share_interval(fraction, len(logs)),
        "log_prob": logs[valid].mean().item() if valid.any() else None,
        "num_samples": len(logs),
    }
