"""`context_loss`: the loss of any causal or masked model as a function of how many tokens it sees."""

from .by_context import log_spaced, loss_by_context
from .saturation import fit_decay, saturation_length


__all__ = ["fit_decay", "log_spaced", "loss_by_context", "saturation_length"]
