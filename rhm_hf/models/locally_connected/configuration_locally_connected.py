"""Configuration of the hierarchical network without weight sharing."""

from typing import Any

from ...checks import checked
from ..hierarchical_cnn.configuration_hierarchical_cnn import HierarchicalCNNConfig
from ..sizes import Width


class LocallyConnectedConfig(HierarchicalCNNConfig):
    """Configuration of [`LocallyConnectedForSequenceClassification`], with the fields of [`HierarchicalCNNConfig`]."""

    model_type = "locally_connected"
    shared_filters = False

    @checked
    def __init__(self, filter_size: Width = 2, stride: Width | None = None, flat_readout: bool = False, **kwargs: Any):
        # Said here: transformers gives a config without __init__ one of its own.
        super().__init__(filter_size, stride, flat_readout, **kwargs)
