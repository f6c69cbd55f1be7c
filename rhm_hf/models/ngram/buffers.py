"""Counts as the buffers of a model."""

from typing import Any

import torch

from ..derived import derived
from ..modeling_law import LawForCausalLM
from .counts import OrderCounts, SmoothedLaws


class CountedLaw(LawForCausalLM):
    """A causal model whose law is made of counts; its configuration has their shapes and the smoothing.

    Counts are what is saved. The tables of laws are derived from them at the first call, and again when they change.
    """

    def __init__(self, config: Any):
        super().__init__(config)
        for order, (contexts, pairs) in enumerate(zip(config.num_contexts, config.num_pairs, strict=True)):
            self.register_buffer(f"contexts_{order}", torch.zeros(contexts, dtype=torch.int64))
            self.register_buffer(f"pairs_{order}", torch.zeros(pairs, dtype=torch.int64))
            self.register_buffer(f"counts_{order}", torch.zeros(pairs, dtype=torch.float64))
        self.post_init()

    @classmethod
    def from_counts(cls, config: Any, counts: list[OrderCounts]) -> "CountedLaw":
        """The model of a configuration, whose shapes are filled in, and counts."""
        config.num_contexts = [len(order.contexts) for order in counts]
        config.num_pairs = [len(order.pairs) for order in counts]
        model = cls(config)
        for number, order in enumerate(counts):
            for name, array in order._asdict().items():
                getattr(model, f"{name}_{number}").copy_(torch.from_numpy(array))
        return model.eval()

    @property
    def context_base(self) -> int:
        """Above every symbol of a context."""
        raise NotImplementedError

    @property
    def num_outcomes(self) -> int:
        """Outcomes of a law: v, and one more where END is one."""
        return self.config.num_symbols

    @property
    def laws(self) -> SmoothedLaws:
        """The smoothed laws, on the buffers' device."""
        names = [f"{name}_{order}" for order in range(len(self.config.num_contexts)) for name in OrderCounts._fields]
        return derived(self, "laws", names, self._smoothed)

    def _smoothed(self) -> SmoothedLaws:
        config = self.config
        orders = [
            tuple(self._buffers[f"{name}_{order}"] for name in OrderCounts._fields)
            for order, contexts in enumerate(config.num_contexts)
            if contexts  # a model that has counted nothing has the uniform law
        ]
        smoothing = config.smoothing, config.add_k, config.discount
        return SmoothedLaws(orders, self.num_outcomes, self.context_base, *smoothing)
