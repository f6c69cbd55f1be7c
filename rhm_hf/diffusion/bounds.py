"""Losses, which are bounds on the log likelihood: continuous-time masked diffusion, and D3PM in T steps.

    -log p(x_0) <= E_t [-alpha'(t) / (1 - alpha(t)) sum over hidden tokens of -log p(x_0,i | x_t)] + prior    (masked)
    -log p(x_0) <= sum over t of KL(q(x_s | x_t, x_0) || p(x_s | x_t)) + prior,   s = t - 1/T           (any, T steps)

The first is the limit of the second (MDLM 2406.07524; MD4 2406.04329) and does not depend on the schedule. By the
any-order identity it is an equality for the exact denoiser, sentence by sentence. `prior` is 0 where alpha(1) = 0.
"""

from collections.abc import Iterator

import torch

from ..grammar.parameters import check_integer
from ..statistics import Accumulator
from .denoisers import Denoiser, as_denoiser
from .processes import DiscreteDiffusion, MaskedDiffusion


class DenoisingLoss:
    """The loss of a denoiser as a pure function of tokens and uniform numbers.

    Args:
        process ([`DiscreteDiffusion`]): the noise.
        steps (`int`, *optional*): T of the D3PM bound; without it time is continuous, which asks for masked diffusion.

    Raises:
        `ValueError`: for continuous time with another process.
    """

    def __init__(self, process: DiscreteDiffusion, steps: int | None = None):
        if steps is None and not isinstance(process, MaskedDiffusion):
            raise ValueError(
                f"steps=None with {process!r}: the continuous-time loss is that of masked diffusion; give steps=, the "
                "number of steps of the D3PM bound"
            )
        self.process = process
        self.steps = None if steps is None else check_integer("steps", steps, 1)
        self._prior = process.prior_kl()

    def num_uniforms(self, length: int) -> int:
        """k: a sentence's noise takes one number for the time and one for every token."""
        return length + 1

    def __call__(self, model, tokens: torch.Tensor, uniforms: torch.Tensor) -> torch.Tensor:
        """Mean loss, nats per token: a scalar through which gradients flow to the model.

        Args:
            model: a model of transformers, a [`Denoiser`], or a `Grammar` for the exact one.
            tokens (`torch.Tensor`): symbols `(n, d)` of any integer type.
            uniforms (`torch.Tensor`): in [0, 1), `(n, d + 1)`, better in float64. Each row's loss depends on its
                own numbers alone; [`stratified`] makes their times even over a batch, before it is split.
        """
        return self.sentence_bounds(model, tokens, uniforms).mean() / tokens.shape[1]

    def sentence_bounds(self, model, tokens: torch.Tensor, uniforms: torch.Tensor) -> torch.Tensor:
        """Unbiased estimates of the bounds on -log p(x_0), nats per sentence, `(n,)`; arguments as above."""
        if uniforms.shape != (len(tokens), self.num_uniforms(tokens.shape[1])):
            raise ValueError(
                f"uniforms has shape {tuple(uniforms.shape)}: it must be "
                f"{(len(tokens), self.num_uniforms(tokens.shape[1]))}, a number for the time, then one for each token"
            )
        denoiser, tokens = as_denoiser(model, self.process), tokens.long()
        terms = self._continuous if self.steps is None else self._discrete
        return terms(denoiser, tokens, uniforms.double()) + self._prior * tokens.shape[1]

    def _continuous(self, denoiser: Denoiser, tokens: torch.Tensor, uniforms: torch.Tensor) -> torch.Tensor:
        t = 1 - uniforms[:, 0]  # above 0, where the weight is infinite
        noisy = self.process.noise(tokens, t, uniforms[:, 1:])
        losses = -denoiser(noisy, t).gather(2, tokens.unsqueeze(2)).squeeze(2)
        hidden = noisy == self.process.mask_token_id
        summed = torch.where(hidden, losses, 0).sum(1)
        return self.process.schedule.weight(t).to(summed.dtype) * summed

    def _discrete(self, denoiser: Denoiser, tokens: torch.Tensor, uniforms: torch.Tensor) -> torch.Tensor:
        step = (uniforms[:, 0] * self.steps).floor().clamp(max=self.steps - 1)
        s, t = step / self.steps, (step + 1) / self.steps
        noisy = self.process.noise(tokens, t, uniforms[:, 1:])
        log_p = self.process.log_reverse(noisy, denoiser(noisy, t), s, t)
        q = self.process.posterior(noisy, tokens, s, t).to(log_p.dtype)
        divergence = torch.where(q > 0, torch.xlogy(q, q) - q * torch.where(q > 0, log_p, 0), 0)
        return self.steps * divergence.sum((1, 2))


def stratified(uniforms: torch.Tensor) -> torch.Tensor:
    """The same numbers with a low-discrepancy first column: row i gets (u_0 + i / n) mod 1 of the first row's u_0.

    The times of a batch then cover [0, 1] evenly, each being uniform by itself, which takes much of the noise out of
    the loss (Kingma et al. 2107.00630; MDLM 2406.07524). For the whole batch, before it is split over processes.
    """
    even = torch.arange(len(uniforms), device=uniforms.device, dtype=torch.float64) / max(1, len(uniforms))
    first = (uniforms[:1, 0].double() + even) % 1
    return torch.cat([first.to(uniforms.dtype)[:, None].clamp(max=1 - 2.0**-24), uniforms[:, 1:]], 1)


@torch.no_grad()
def log_likelihood_bound(
    model,
    process: DiscreteDiffusion,
    tokens,
    steps: int | None = None,
    num_samples: int = 1,
    generator: torch.Generator | None = None,
    batch_size: int = 512,
) -> dict[str, float]:
    """An upper bound on a diffusion model's negative log likelihood, averaged over sentences.

    For the exact denoiser it is the entropy of the grammar in continuous masked time, and falls to it with the number
    of steps elsewhere: what is lost is what tokens that are drawn together do not know of each other.

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
    """
    loss = DenoisingLoss(process, steps)
    denoiser = as_denoiser(model, process)
    tokens = torch.as_tensor(tokens).to(denoiser.device).long()
    check_integer("num_samples", num_samples, 1)
    found = Accumulator(device=denoiser.device)
    for rows in tokens.split(batch_size):
        samples = [
            loss.sentence_bounds(denoiser, rows, numbers.to(denoiser.device))
            for numbers in _numbers(rows, loss, num_samples, generator)
        ]
        found.add(torch.stack(samples).mean(0), float(tokens.shape[1]))
    return {
        "bound": found.mean.item(),
        "bound_stderr": found.stderr.item(),
        "bound_sentence": found.mean_per_row.item(),
        "num_infinite": int(found.num_infinite),
        "num_sentences": len(tokens),
    }


def _numbers(rows: torch.Tensor, loss: DenoisingLoss, num_samples: int, generator) -> Iterator[torch.Tensor]:
    for _ in range(num_samples):
        shape = (len(rows), loss.num_uniforms(rows.shape[1]))
        yield stratified(torch.rand(shape, dtype=torch.float64, generator=generator))
