"""Losses, which are bounds on the log likelihood: continuous-time masked diffusion, and D3PM in T steps.

    -log p(x_0) <= E_t [-alpha'(t) / (1 - alpha(t)) sum over hidden tokens of -log p(x_0,i | x_t)] + prior    (masked)
    -log p(x_0) <= sum over t of KL(q(x_s | x_t, x_0) || p(x_s | x_t)) + prior,   s = t - 1/T           (any, T steps)

The first is the limit of the second (MDLM 2406.07524; MD4 2406.04329). `prior` is 0 where alpha(1) = 0, and then the
first does not depend on the schedule and is, by the any-order identity, an equality for the exact denoiser, sentence
by sentence. Where alpha(1) > 0 (`log_linear`) a share of tokens is left to the prior, which takes them as uniform: the
exact denoiser's bound is then above -log p, on average by at most alpha(1) (log v - entropy per token given all
others) a token.
"""

from collections.abc import Iterator
from typing import Any

import torch

from ..checks import PositiveInt, check_integer, checked
from ..judging import accumulate, divergence
from ..judging.compare import refuse_broken
from .denoisers import as_denoiser
from .processes import DiscreteDiffusion, MaskedDiffusion, checked_symbols


class DenoisingLoss:
    """The loss of a denoiser as a pure function of tokens and uniform numbers.

    Args:
        process ([`DiscreteDiffusion`]): the noise.
        steps (`int`, *optional*): T of the D3PM bound; without it time is continuous, which asks for masked diffusion.

    Raises:
        `ValueError`: for continuous time with another process.
    """

    @checked
    def __init__(self, process: DiscreteDiffusion, steps: PositiveInt | None = None):
        if steps is None and not isinstance(process, MaskedDiffusion):
            raise ValueError(
                f"steps=None with {process!r}: the continuous-time loss is that of masked diffusion; give steps=, the "
                "number of steps of the D3PM bound"
            )
        self.process = process
        self.steps: int | None = None if steps is None else check_integer("steps", steps, 1)
        self._prior = process.prior_kl()

    def num_uniforms(self, length: int) -> int:
        """k: a sentence's noise takes one number for the time and one for every token."""
        return length + 1

    def __call__(self, model: Any, tokens: torch.Tensor, uniforms: torch.Tensor) -> torch.Tensor:
        """Mean loss, nats per token: a scalar through which gradients flow to the model.

        Args:
            model: a model of transformers, a [`Denoiser`], or a `Grammar` for the exact one.
            tokens (`torch.Tensor`): symbols `(n, d)` of any integer type.
            uniforms (`torch.Tensor`): in [0, 1), `(n, d + 1)`, better in float64. Each row's loss depends on its
                own numbers alone; [`stratified`] makes their times even over a batch, before it is split.
        """
        return self.sentence_bounds(model, tokens, uniforms).mean() / tokens.shape[1]

    def sentence_bounds(self, model: Any, tokens: torch.Tensor, uniforms: torch.Tensor) -> torch.Tensor:
        """Unbiased estimates of the bounds on -log p(x_0), nats per sentence, `(n,)`; arguments as above."""
        if uniforms.shape != (len(tokens), self.num_uniforms(tokens.shape[1])):
            raise ValueError(
                f"uniforms has shape {tuple(uniforms.shape)}: it must be "
                f"{(len(tokens), self.num_uniforms(tokens.shape[1]))}, a number for the time, then one for each token"
            )
        noisy, s, t = self.noisy(tokens, uniforms)
        return self.bounds_at(tokens, noisy, as_denoiser(model, self.process)(noisy, t), s, t)

    def noisy(
        self, tokens: torch.Tensor, uniforms: torch.Tensor
    ) -> tuple[torch.Tensor, torch.Tensor | None, torch.Tensor]:
        """What the denoiser is shown: x_t, ids `(n, d)`, and float64 times `(n,)`: s, None in continuous time, and t.

        Arguments as in [`DenoisingLoss.__call__`].
        """
        uniforms = uniforms.double()
        if self.steps is None:
            s, t = None, 1 - uniforms[:, 0]  # above 0, where the weight is infinite
        else:
            step = (uniforms[:, 0] * self.steps).floor().clamp(max=self.steps - 1)
            s, t = step / self.steps, (step + 1) / self.steps
        return self.process.noise(tokens, t, uniforms[:, 1:]), s, t

    def bounds_at(
        self,
        tokens: torch.Tensor,
        noisy: torch.Tensor,
        log_probs: torch.Tensor,
        s: torch.Tensor | None,
        t: torch.Tensor,
    ) -> torch.Tensor:
        """The estimates of [`DenoisingLoss.sentence_bounds`], `(n,)`, from what a denoiser said.

        Args:
            tokens (`torch.Tensor`): x_0, symbols `(n, d)`.
            noisy, s, t: from [`DenoisingLoss.noisy`].
            log_probs (`torch.Tensor`): log p(x_0 | x_t), `(n, d, v)`.
        """
        tokens = tokens.long()
        if self.steps is None:
            losses = -log_probs.gather(2, tokens.unsqueeze(2)).squeeze(2)
            summed = torch.where(self.process.uncertain(noisy), losses, 0).sum(1)
            terms = self.process.schedule.weight(t).to(summed.dtype) * summed
        else:
            log_p = self.process.log_reverse(noisy, log_probs, s, t)
            q = self.process.posterior(noisy, tokens, s, t).to(log_p.dtype)
            kl = torch.where(q > 0, torch.xlogy(q, q) - q * torch.where(q > 0, log_p, 0), 0)
            terms = self.steps * kl.sum((1, 2))
        return terms + self._prior * tokens.shape[1]

    def excess(
        self,
        noisy: torch.Tensor,
        exact: torch.Tensor,
        log_probs: torch.Tensor,
        s: torch.Tensor | None,
        t: torch.Tensor,
    ) -> torch.Tensor:
        """What a denoiser's bound loses against the exact one's: the mean over x_0 given x_t, nats `(n,)`, at least 0.

        The exact law of a step is the mean of q(x_s | x_t, x_0) over x_0 given x_t, so what is left of the difference
        of two bounds is the KL from the exact law to the model's, token by token: weighted, of p(x_0,i | x_t) in
        continuous time, and of p(x_s,i | x_t), T times, in steps.

        Args:
            noisy, s, t: from [`DenoisingLoss.noisy`].
            exact, log_probs (`torch.Tensor`): log p(x_0 | x_t) of [`ExactDenoiser`] and of the denoiser, `(n, d, v)`.
        """
        if self.steps is None:
            kl = torch.where(self.process.uncertain(noisy), divergence(exact.exp(), log_probs, exact), 0).sum(1)
            return self.process.schedule.weight(t).to(kl.dtype) * kl.clamp(min=0)
        log_p, log_q = (self.process.log_reverse(noisy, law, s, t) for law in (exact, log_probs))
        return self.steps * divergence(log_p.exp(), log_q, log_p).sum(1).clamp(min=0)


@checked
def stratified(uniforms: torch.Tensor) -> torch.Tensor:
    """The same numbers with a low-discrepancy first column: row i gets (u_0 + i / n) mod 1 of the first row's u_0.

    The times of a batch then cover [0, 1] evenly, each being uniform by itself, which takes much of the noise out of
    the loss (Kingma et al. 2107.00630; MDLM 2406.07524). For the whole batch, before it is split over processes.
    """
    even = torch.arange(len(uniforms), device=uniforms.device, dtype=torch.float64) / max(1, len(uniforms))
    first = (uniforms[:1, 0].double() + even) % 1
    return torch.cat([first.to(uniforms.dtype)[:, None].clamp(max=1 - 2.0**-24), uniforms[:, 1:]], 1)


@torch.no_grad()
@checked
def log_likelihood_bound(
    model: Any,
    process: DiscreteDiffusion,
    tokens: Any,
    steps: PositiveInt | None = None,
    num_samples: PositiveInt = 1,
    generator: torch.Generator | None = None,
    batch_size: PositiveInt = 512,
) -> dict[str, float]:
    """An upper bound on a diffusion model's negative log likelihood, averaged over sentences.

    For the exact denoiser it is the entropy of the grammar in continuous masked time (where alpha(1) = 0, see above),
    and falls to it with the number of steps elsewhere: what is lost is what tokens that are drawn together do not know
    of each other. It is infinite for what the exact denoiser excludes.

    Args:
        model: a model of transformers, a [`Denoiser`], or a `Grammar` for the exact one.
        process ([`DiscreteDiffusion`]): the noise.
        tokens (tensor or array): sentences `(n, d)`.
        steps (`int`, *optional*): T; None for continuous time, masked diffusion only.
        num_samples (`int`, *optional*, defaults to 1): noises drawn for every sentence.
        generator (`torch.Generator`, *optional*): on the CPU.
        batch_size (`int`, *optional*, defaults to 512): sentences a call of the model.

    Returns:
        `dict`: `bound` and `bound_stderr` (nats per token; sentences are independent, the noises of one are not),
        `bound_sentence` (nats per sentence), `num_infinite` (sentences to which the model gives no probability;
        `bound` is then infinite), `num_sentences`.

    Raises:
        `ValueError`: for ids that are no symbols, and a model whose logits are NaN or infinite.
    """
    loss = DenoisingLoss(process, steps)
    denoiser = as_denoiser(model, process)
    tokens = checked_symbols("tokens", tokens, process).to(denoiser.device)
    num_samples = check_integer("num_samples", num_samples, 1)
    batch_size = check_integer("batch_size", batch_size, 1)
    impossible = denoiser.excludes(tokens)

    def measure(part: slice) -> dict:
        rows = tokens[part]
        samples = [
            loss.sentence_bounds(denoiser, rows, numbers.to(denoiser.device))
            for numbers in _numbers(rows, loss, num_samples, generator)
        ]
        bounds = torch.stack(samples).mean(0).double().masked_fill(impossible[part], torch.inf)
        broken = bounds.isnan() | (bounds == -torch.inf)
        return {"bound": (bounds, float(tokens.shape[1]), 1.0), "broken": (broken, 1.0, 1.0)}

    found = accumulate(
        len(tokens), {"bound": (), "broken": ()}, measure, device=denoiser.device, batch_size=batch_size
    )
    refuse_broken(found["broken"], model)
    bound = found["bound"]
    return {
        "bound": bound.mean.item(),
        "bound_stderr": bound.stderr.item(),
        "bound_sentence": bound.mean_per_row.item(),
        "num_infinite": int(bound.num_infinite),
        "num_sentences": len(tokens),
    }


def _numbers(rows: torch.Tensor, loss: DenoisingLoss, num_samples: PositiveInt, generator) -> Iterator[torch.Tensor]:
    for _ in range(num_samples):
        shape = (len(rows), loss.num_uniforms(rows.shape[1]))
        yield stratified(torch.rand(shape, dtype=torch.float64, generator=generator))
