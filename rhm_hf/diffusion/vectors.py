"""Noise that leaves no token behind: Gaussian noise on one-hot vectors, and the ε-process of beliefs."""

import torch

from ..checks import check_integer, checked
from .processes import as_time, check_dtype, mixed_with_uniform
from .schedules import Schedule, schedule_of


class GaussianDiffusion:
    """z_t = sqrt(alpha) e(x_0) + sqrt(1 - alpha) n, e a one-hot vector of v numbers and n standard normal.

    The continuous diffusion of Sclocchi et al. (2402.16991, 2410.13770); alpha(t) is that of the schedule. What a
    denoiser needs is the likelihood of every symbol, soft evidence for belief propagation.

    Args:
        num_symbols (`int`): v.
        schedule (`str` or [`Schedule`], *optional*, defaults to `"linear"`).
    """

    name = "gaussian"

    @checked
    def __init__(self, num_symbols: int, schedule: str | Schedule = "linear"):
        self.num_symbols: int = check_integer("num_symbols", num_symbols, 2)
        self.schedule: Schedule = schedule_of(schedule)

    def uniforms(self, tokens: torch.Tensor, generator: torch.Generator | None = None) -> torch.Tensor:
        """What [`GaussianDiffusion.noise`] takes, float64 `(n, d, v)`."""
        return torch.rand(*tokens.shape, self.num_symbols, dtype=torch.float64, generator=generator)

    @checked
    def noise(self, tokens: torch.Tensor, t: float | torch.Tensor, uniforms: torch.Tensor) -> torch.Tensor:
        """Draws z_t, float64 `(n, d, v)`, for tokens `(n, d)` from uniform numbers in [0, 1), `(n, d, v)`."""
        check_dtype(tokens)
        alpha = self.schedule.alpha(as_time(t, tokens)).unsqueeze(-1)
        normal = torch.special.ndtri(uniforms.double().clamp(min=2.0**-54))  # 0 would be at minus infinity
        return (
            alpha.sqrt() * torch.nn.functional.one_hot(tokens.long(), self.num_symbols) + (1 - alpha).sqrt() * normal
        )

    def evidence(self, noisy: torch.Tensor, t: float | torch.Tensor) -> torch.Tensor:
        """P(z_t | x_0 = .), up to a constant, for vectors `(n, d, v)`: exp(sqrt(alpha) z / (1 - alpha)), t > 0.

        Rows are scaled to a largest entry of 1.
        """
        alpha = self.schedule.alpha(as_time(t, noisy)).unsqueeze(-1)
        logs = noisy.double() * alpha.sqrt() / (1 - alpha)
        return (logs - logs.amax(-1, keepdim=True)).exp()


class EpsilonProcess:
    """The ε-process of 2402.16991: a belief of 1 - ε + ε/v in the true token and ε/v in each of the others.

    Nothing is drawn: ε = 1 - alpha(t), time itself with the linear schedule. It is no noise that hits tokens: the
    evidence always points to the truth, so the class survives up to far larger ε than under noise.

    Args:
        num_symbols (`int`): v.
        schedule (`str` or [`Schedule`], *optional*, defaults to `"linear"`).
    """

    name = "epsilon"

    @checked
    def __init__(self, num_symbols: int, schedule: str | Schedule = "linear"):
        self.num_symbols: int = check_integer("num_symbols", num_symbols, 2)
        self.schedule: Schedule = schedule_of(schedule)

    def uniforms(self, tokens: torch.Tensor, generator: torch.Generator | None = None) -> torch.Tensor:
        """None are needed: `(n, 0)`."""
        return torch.empty(len(tokens), 0, dtype=torch.float64)

    @checked
    def noise(
        self, tokens: torch.Tensor, t: float | torch.Tensor | None = None, uniforms: torch.Tensor | None = None
    ) -> torch.Tensor:
        """The tokens themselves."""
        check_dtype(tokens)
        return tokens

    def evidence(self, noisy: torch.Tensor, t: float | torch.Tensor) -> torch.Tensor:
        """The belief in every symbol, float64 `(n, d, v)`, for true tokens `(n, d)`."""
        return mixed_with_uniform(noisy, self.schedule.alpha(as_time(t, noisy)).unsqueeze(-1), self.num_symbols)
