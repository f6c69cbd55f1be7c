"""The Kullback-Leibler divergence, once: terms with p = 0 are 0, whatever the model says there."""

import torch

from ..checks import checked


@checked
def divergence(p: torch.Tensor, log_q: torch.Tensor, log_p: torch.Tensor | None = None) -> torch.Tensor:
    """KL = sum p log(p / q) along the last axis, nats; `inf` where q is 0 and p is not.

    Args:
        p (`torch.Tensor`): probabilities `(.., outcomes)`.
        log_q (`torch.Tensor`): log probabilities of the same outcomes, `(.., outcomes)`, -inf where they are 0; they
            may leave out a part of q's mass.
        log_p (`torch.Tensor`, *optional*): the logarithms of p, where p was made from them: of one rounding less.

    Returns:
        `torch.Tensor` of shape `(..)`.
    """
    terms = torch.xlogy(p, p) - p * log_q if log_p is None else p * (torch.where(p > 0, log_p, 0) - log_q)
    return torch.where(p > 0, terms, 0).sum(-1)


@checked
def entropy(p: torch.Tensor) -> torch.Tensor:
    """-sum p log p along the last axis, nats."""
    return -torch.xlogy(p, p).sum(-1)


@checked
def divergence_terms(p: torch.Tensor, log_q: torch.Tensor) -> dict[str, torch.Tensor]:
    """KL and what it consists of, where q also gives probability to ids that are no outcome (BOS, MASK, ..).

    Args:
        p, log_q (`torch.Tensor`): as in [`divergence`]; q's mass outside the outcomes is *leaked*.

    Returns:
        `dict` of tensors `(..)`: `kl` = `kl_within` (q renormalised to the outcomes) + `leak_cost` (-log of the mass
        that is kept); `leaked_mass`; `entropy` of p.
    """
    log_kept = log_q.logsumexp(-1).clamp(max=0)
    renormalised = log_q - torch.where(torch.isinf(log_kept), 0, log_kept)[..., None]
    return {
        "kl": divergence(p, log_q),
        "kl_within": divergence(p, renormalised),
        "leak_cost": -log_kept,
        "leaked_mass": -torch.expm1(log_kept),
        "entropy": entropy(p),
    }
