"""The hierarchical convolutional network of Cagnetta et al., arXiv 2307.02129."""

from ..modeling_feedforward import FeedForwardForSequenceClassification
from .configuration_hierarchical_cnn import HierarchicalCNNConfig


class HierarchicalCNNForSequenceClassification(FeedForwardForSequenceClassification):
    """ReLU convolutions with filter = stride = s and a readout scaled by 1/width (mean field).

    On sentences of a grammar with tuples of s tokens it learns the class from about n_c m^L examples. With SGD take a
    learning rate of order `hidden_size`. See [`HierarchicalCNNConfig`] and
    [`~rhm_hf.models.modeling_feedforward.FeedForwardForSequenceClassification`].
    """

    config_class: type[HierarchicalCNNConfig] = HierarchicalCNNConfig
