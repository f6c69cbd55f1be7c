"""Fully connected networks on one-hot sentences, the baselines of Cagnetta et al., arXiv 2307.02129."""

from ..modeling_feedforward import FeedForwardForSequenceClassification
from .configuration_fully_connected import FullyConnectedConfig


class FullyConnectedForSequenceClassification(FeedForwardForSequenceClassification):
    """Dense ReLU layers on the flattened one-hot sentence, mean-field by default.

    With `lazy` the network is exactly linear in its parameters δ: the output is J(x) δ, where J is the Jacobian of the
    same network with a readout of 1/sqrt(width), at weights that are drawn once, saved as buffers and never trained
    (Jacot et al., arXiv 1806.07572). δ starts at 0, and so does the output; weight decay pulls towards the
    initialisation.
    """

    config_class: type[FullyConnectedConfig] = FullyConnectedConfig
