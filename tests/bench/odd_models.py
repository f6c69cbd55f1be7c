"""Models that a bench must refuse, or take: named as odd_models:Name."""

import torch
from torch import nn
from transformers import PretrainedConfig, PreTrainedModel
from transformers.modeling_outputs import CausalLMOutput


class OddConfig(PretrainedConfig):
    """Width, and how odd."""

    model_type = "odd"

    def __init__(self, vocab_size: int = 8, hidden_size: int = 8, **kwargs):
        self.vocab_size, self.hidden_size = vocab_size, hidden_size
        super().__init__(**kwargs)


class Good(PreTrainedModel):
    """A law of the next token given the last one alone."""

    config_class = OddConfig
    auto_class = "AutoModelForCausalLM"

    def __init__(self, config: OddConfig):
        super().__init__(config)
        self.table = nn.Embedding(config.vocab_size, config.hidden_size)
        self.readout = nn.Linear(config.hidden_size, config.vocab_size, bias=False)
        self.post_init()

    def _init_weights(self, module: nn.Module) -> None:
        nn.init.normal_(module.weight)

    def states(self, input_ids: torch.Tensor) -> torch.Tensor:
        return self.table(input_ids)

    def forward(self, input_ids: torch.Tensor, attention_mask: torch.Tensor | None = None, **kwargs) -> CausalLMOutput:
        return CausalLMOutput(logits=self.readout(self.states(input_ids)))


class Peeks(Good):
    """Sees the next token."""

    def states(self, input_ids: torch.Tensor) -> torch.Tensor:
        states = self.table(input_ids)
        return states + states.roll(-1, 1)


class Broken(Good):
    """NaN from the first call on."""

    def states(self, input_ids: torch.Tensor) -> torch.Tensor:
        return self.table(input_ids) * torch.nan


class Steep(Good):
    """A finite loss whose gradient is not."""

    def states(self, input_ids: torch.Tensor) -> torch.Tensor:
        states = self.table(input_ids)
        return states + torch.sqrt((states - states.detach()).abs())


class Headless(PreTrainedModel):
    """No kind of model that a bench knows."""

    config_class = OddConfig

    def __init__(self, config: OddConfig):
        super().__init__(config)
        self.post_init()
