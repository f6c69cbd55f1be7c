"""Discrete diffusion: tokens are replaced one by one, independently, by noise of a fixed law pi.

    q(x_t | x_s) = r delta(x_s) + (1 - r) pi,      r = alpha(t) / alpha(s),      0 <= s < t <= 1

with pi all on MASK (absorbing diffusion) or uniform over the symbols (D3PM, Austin et al. 2107.03006). States are the
ids of the package, symbols 0..v-1 and MASK = v + 2; where laws of states have an axis of their own, MASK is its last
entry, number v. What is random is a function of uniform numbers in [0, 1), so that a batch and its noise can be a
function of (seed, step).
"""

from typing import Any

import torch

from ..checks import PositiveInt, check_integer, check_number, checked, naming
from ..judging import read_rows
from .schedules import Schedule, schedule_of


class DiscreteDiffusion:
    """What the discrete processes share; use [`MaskedDiffusion`] or [`UniformDiffusion`].

    Args:
        num_symbols (`int`): v.
        schedule (`str` or [`Schedule`], *optional*, defaults to `"linear"`): `"linear"`, `"cosine"`, `"log_linear"`.

    Attributes:
        num_states (`int`): v, or v + 1 with MASK.
        mask_token_id (`int`): v + 2.
    """

    name = ""

    @checked
    def __init__(self, num_symbols: PositiveInt, schedule: str | Schedule = "linear"):
        self.num_symbols: int = check_integer("num_symbols", num_symbols, 2)
        self.schedule: Schedule = schedule_of(schedule)
        self.mask_token_id: int = num_symbols + 2

    def __repr__(self) -> str:
        return f"{type(self).__name__}({self.num_symbols}, {self.schedule!r})"

    @property
    def num_states(self) -> int:
        raise NotImplementedError

    def stationary(self) -> torch.Tensor:
        """pi, float64 `(states,)`: what replaces a token."""
        raise NotImplementedError

    @checked
    def transition(self, s: float, t: float) -> torch.Tensor:
        """q(x_t | x_s) as a matrix, float64 `(states at s, states at t)`, for s < t."""
        start, end = checked_times(s, t)
        kept = self.schedule.alpha(end) / self.schedule.alpha(start)
        return kept * torch.eye(self.num_states, dtype=torch.float64) + (1 - kept) * self.stationary()

    def marginal(self, tokens: torch.Tensor, t: float | torch.Tensor) -> torch.Tensor:
        """q(x_t | x_0): float64 `(n, d, states)` for tokens `(n, d)` at time `t`, one for all or `(n,)`."""
        alpha = self.schedule.alpha(as_time(t, tokens)).unsqueeze(-1)
        kept = torch.nn.functional.one_hot(tokens.long(), self.num_states).double()
        return alpha * kept + (1 - alpha) * self.stationary().to(tokens.device)

    def prior(self) -> torch.Tensor:
        """The law of a token where sampling begins, float64 `(states,)`: q(x_1) of a uniform token."""
        floor = self.schedule.alpha(torch.ones((), dtype=torch.float64))
        uniform = torch.full((self.num_states,), 1 / self.num_symbols, dtype=torch.float64)
        uniform[self.num_symbols :] = 0
        return floor * uniform + (1 - floor) * self.stationary()

    def prior_kl(self) -> float:
        """KL of q(x_1 | x_0) from the prior, nats per token, the same for every x_0; 0 where alpha(1) = 0."""
        law, prior = self.marginal(torch.zeros(1, 1, dtype=torch.int64), 1.0)[0, 0], self.prior()
        return float(torch.where(law > 0, torch.xlogy(law, law / prior), 0).sum())

    def uniforms(self, tokens: torch.Tensor, generator: torch.Generator | None = None) -> torch.Tensor:
        """What [`DiscreteDiffusion.noise`] takes, float64 `(n, d)` on the CPU."""
        return torch.rand(tokens.shape, dtype=torch.float64, generator=generator)

    @checked
    def noise(self, tokens: torch.Tensor, t: float | torch.Tensor, uniforms: torch.Tensor) -> torch.Tensor:
        """Draws x_t from q(x_t | x_0).

        Args:
            tokens (`torch.Tensor`): symbols `(n, d)`.
            t (`float` or `torch.Tensor`): time, one for all or `(n,)`.
            uniforms (`torch.Tensor`): in [0, 1), `(n, d)`. The same numbers hit more tokens at a later time.

        Returns:
            int64 ids `(n, d)`, MASK = v + 2 among them.
        """
        check_dtype(tokens)
        hit = 1 - self.schedule.alpha(as_time(t, tokens))
        return torch.where(uniforms < hit, self._replacements(uniforms / hit), tokens.long())

    def _replacements(self, uniforms: torch.Tensor) -> torch.Tensor:
        """Ids drawn from pi; entries at 1 and above are not used."""
        raise NotImplementedError

    def uncertain(self, noisy: torch.Tensor) -> torch.Tensor:
        """Which tokens of x_t leave x_0 open, bool `(n, d)`: all, or of masked diffusion the hidden ones."""
        return torch.ones_like(noisy, dtype=torch.bool)

    def evidence(self, noisy: torch.Tensor, t: float | torch.Tensor) -> torch.Tensor:
        """P(x_t | x_0 = .) for belief propagation, up to a constant: float64 `(n, d, v)` for ids `(n, d)`."""
        raise NotImplementedError

    def log_reverse(
        self,
        noisy: torch.Tensor,
        log_probs: torch.Tensor,
        s: float | torch.Tensor | None,
        t: float | torch.Tensor | None,
    ) -> torch.Tensor:
        """log p(x_s | x_t) = log sum over x_0 of q(x_s | x_t, x_0) p(x_0 | x_t), token by token.

        Args:
            noisy (`torch.Tensor`): x_t, ids `(n, d)`.
            log_probs (`torch.Tensor`): log p(x_0 | x_t), `(n, d, v)`, of a denoiser.
            s, t (`float` or `torch.Tensor`): times 0 <= s < t <= 1, one for all or `(n,)`.

        Returns:
            `(n, d, states)`, of the dtype of `log_probs`.
        """
        raise NotImplementedError

    def posterior(
        self, noisy: torch.Tensor, tokens: torch.Tensor, s: float | torch.Tensor | None, t: float | torch.Tensor | None
    ) -> torch.Tensor:
        """q(x_s | x_t, x_0): float64 `(n, d, states)`, exact; see [`DiscreteDiffusion.log_reverse`]."""
        known = torch.nn.functional.one_hot(tokens.long(), self.num_symbols).double().log()
        return self.log_reverse(noisy, known, s, t).exp()

    def ids_of(self, states: torch.Tensor) -> torch.Tensor:
        """Numbers on the axis of states to ids."""
        return torch.where(states == self.num_symbols, self.mask_token_id, states)

    def states_of(self, ids: torch.Tensor) -> torch.Tensor:
        """Ids to numbers on the axis of states."""
        return torch.where(ids == self.mask_token_id, self.num_symbols, ids)


class MaskedDiffusion(DiscreteDiffusion):
    """Absorbing diffusion: a token becomes MASK and stays so (D3PM 2107.03006; MDLM 2406.07524; MD4 2406.04329)."""

    name = "masked"

    @property
    def num_states(self) -> int:
        return self.num_symbols + 1

    def stationary(self) -> torch.Tensor:
        return torch.eye(self.num_states, dtype=torch.float64)[-1]

    def _replacements(self, uniforms):
        return torch.full(uniforms.shape, self.mask_token_id, device=uniforms.device)

    def uncertain(self, noisy: torch.Tensor) -> torch.Tensor:
        return noisy == self.mask_token_id

    def evidence(self, noisy: torch.Tensor, t: float | torch.Tensor | None = None) -> torch.Tensor:
        """One row for a visible token, ones for a hidden one, whatever the time; see [`DiscreteDiffusion`]."""
        hidden = (noisy == self.mask_token_id).unsqueeze(-1)
        symbols = torch.nn.functional.one_hot(torch.where(hidden[..., 0], 0, noisy), self.num_symbols)
        return torch.where(hidden, 1.0, symbols.double())

    def log_reverse(
        self,
        noisy: torch.Tensor,
        log_probs: torch.Tensor,
        s: float | torch.Tensor | None,
        t: float | torch.Tensor | None,
    ) -> torch.Tensor:
        start, end = (self.schedule.alpha(time) for time in checked_times(s, t, noisy))
        stays = ((1 - start) / (1 - end)).log().to(log_probs.dtype).expand(noisy.shape)
        shown = ((start - end) / (1 - end)).log().to(log_probs.dtype).unsqueeze(-1)
        hidden = noisy == self.mask_token_id
        visible = torch.nn.functional.one_hot(self.states_of(noisy), self.num_states).to(log_probs.dtype).log()
        revealed = torch.cat([log_probs + shown, stays.unsqueeze(-1)], -1)
        return torch.where(hidden.unsqueeze(-1), revealed, visible)


class UniformDiffusion(DiscreteDiffusion):
    """D3PM-uniform: a token becomes a uniformly drawn symbol, itself included (Austin et al. 2107.03006)."""

    name = "uniform"

    @property
    def num_states(self) -> int:
        return self.num_symbols

    def stationary(self) -> torch.Tensor:
        return torch.full((self.num_symbols,), 1 / self.num_symbols, dtype=torch.float64)

    def _replacements(self, uniforms):
        return (uniforms * self.num_symbols).long().clamp(max=self.num_symbols - 1)

    def evidence(self, noisy: torch.Tensor, t: float | torch.Tensor | None) -> torch.Tensor:
        return mixed_with_uniform(noisy, self.schedule.alpha(as_time(t, noisy)).unsqueeze(-1), self.num_symbols)

    def log_reverse(
        self,
        noisy: torch.Tensor,
        log_probs: torch.Tensor,
        s: float | torch.Tensor | None,
        t: float | torch.Tensor | None,
    ) -> torch.Tensor:
        # sum_i q(k | j, i) p_i = Q_st[k, j] sum_i Q_0s[i, k] w_i with w_i = p_i / Q_0t[i, j], all in logarithms.
        start, end = (self.schedule.alpha(time).unsqueeze(-1) for time in checked_times(s, t, noisy))
        is_noisy = torch.nn.functional.one_hot(noisy.long(), self.num_symbols).double()
        dtype = log_probs.dtype
        to_noisy = (end / start * is_noisy + (1 - end / start) / self.num_symbols).log().to(dtype)
        log_weights = log_probs - (end * is_noisy + (1 - end) / self.num_symbols).log().to(dtype)
        others = log_weights.logsumexp(-1, keepdim=True) + ((1 - start) / self.num_symbols).log().to(dtype)
        return to_noisy + torch.logaddexp(log_weights + start.log().to(dtype), others)


def mixed_with_uniform(symbols: torch.Tensor, alpha: torch.Tensor, num_symbols: int) -> torch.Tensor:
    """Laws with alpha on the symbol itself and 1 - alpha spread over all: float64 `(n, d, v)` for `(n, d)`."""
    return alpha * torch.nn.functional.one_hot(symbols.long(), num_symbols).double() + (1 - alpha) / num_symbols


def as_time(t: float | torch.Tensor, like: torch.Tensor) -> torch.Tensor:
    """A time of 0..1 as float64 on the device of `like`, of shape `(n, 1)`, or `(1, 1)` where it is one for all."""
    if not isinstance(t, torch.Tensor):
        t = check_number("t", t, 0, 1)
    elif not bool(((t >= 0) & (t <= 1)).all()):
        bad = t[~((t >= 0) & (t <= 1))].flatten()[0].item()
        raise ValueError(f"t holds {bad}, out of range: times are 0 (data) to 1 (noise)")
    return torch.as_tensor(t, dtype=torch.float64, device=like.device).reshape(-1, 1)


def checked_times(
    s: float | torch.Tensor | None, t: float | torch.Tensor | None, like: torch.Tensor | None = None
) -> tuple[torch.Tensor, torch.Tensor]:
    """Two times with 0 <= s < t <= 1."""
    like = torch.empty(0) if like is None else like
    with naming("t", "s"):
        start = as_time(s, like)
    end = as_time(t, like)
    if not bool((start < end).all()):
        raise ValueError(f"s={s} and t={t} must satisfy 0 <= s < t <= 1: 0 is data, 1 is noise")
    return start, end


def check_dtype(tokens: torch.Tensor) -> None:
    """Symbols are integers."""
    if tokens.is_floating_point() or tokens.is_complex() or tokens.dtype == torch.bool:
        raise ValueError(f"tokens has dtype {tokens.dtype}: symbols must be integers")


def checked_symbols(name: str, tokens: Any, process: DiscreteDiffusion) -> torch.Tensor:
    """Rows of symbols 0 .. v - 1 as int64 `(n, d)`, on their own device where they are a tensor.

    Raises:
        `ValueError`: for another shape, ids that are no integers, and ids that are no symbols.
    """
    device = tokens.device if isinstance(tokens, torch.Tensor) else None
    rows = torch.from_numpy(read_rows(name, tokens)).to(device)
    lowest, highest = int(rows.min()), int(rows.max())
    if lowest < 0 or highest >= process.num_symbols:
        raise ValueError(
            f"{name} holds {lowest if lowest < 0 else highest}: symbols are 0 to {process.num_symbols - 1}, as the "
            f"process has num_symbols={process.num_symbols}"
        )
    return rows


def categorical(log_probs: torch.Tensor, generator: torch.Generator | None = None) -> torch.Tensor:
    """One index for every law along the last axis, by its cumulated sum; never one of probability 0.

    Raises:
        `ValueError`: where there is no law: NaN, which would be drawn as symbol 0, or no symbol of any probability.
    """
    summed = log_probs.double().exp().cumsum(-1)
    total = summed[..., -1]
    if not (total.isfinite() & (total > 0)).all():
        raise ValueError(
            "the model has no law where a token is to be drawn: its logits are NaN or infinite, or all -inf; its "
            "weights are broken (training diverged?), or too large for their dtype"
        )
    shape = (*log_probs.shape[:-1], 1)
    uniform = torch.rand(shape, dtype=torch.float64, device=log_probs.device, generator=generator)
    return (summed <= uniform * summed[..., -1:]).sum(-1)
