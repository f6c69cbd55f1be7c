"""The locally connected network of Cagnetta et al., arXiv 2307.02129: no weight sharing."""

from ..modeling_feedforward import FeedForwardForSequenceClassification
from .configuration_locally_connected import LocallyConnectedConfig


class LocallyConnectedForSequenceClassification(FeedForwardForSequenceClassification):
    """A [`HierarchicalCNNForSequenceClassification`] with a filter of its own for every position."""

    config_class: type[LocallyConnectedConfig] = LocallyConnectedConfig
