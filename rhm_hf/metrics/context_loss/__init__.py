"""`context_loss`: the loss of any causal or masked model as a function of how many tokens it sees."""

from .approach import fit_decay
from .by_context import loss_by_context
from .lengths import log_spaced
from .saturation import Saturation, saturation


__all__ = ["Saturation", "fit_decay", "log_spaced", "loss_by_context", "saturation"]
