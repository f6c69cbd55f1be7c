"""Configuration of the hierarchical n-gram model."""

from typing import Any

from ...checks import checked
from ..rhm.configuration_rhm import RHMConfig
from .smoothing import Counts, check_counts, check_smoothing


class HierarchicalNGramConfig(RHMConfig):
    """Configuration of [`HierarchicalNGramForCausalLM`]; [`HierarchicalNGramForCausalLM.fit`] makes it.

    Args:
        num_symbols (`int`), source (`dict`, *optional*): the grammar that parses the contexts, as in [`RHMConfig`].
        context_level (`int`, *optional*, defaults to L): ℓ; a context holds the left siblings of the token's level-j
            ancestors, j = 0..ℓ-1.
        smoothing (`str`, *optional*, defaults to `"kneser_ney"`), add_k (`float`, *optional*, defaults to 0.5),
            discount (`float`, *optional*), num_contexts, num_pairs (`list[int]`, *optional*): as in [`NGramConfig`].
    """

    model_type = "hierarchical_ngram"

    @checked
    def __init__(
        self,
        smoothing: str = "kneser_ney",
        add_k: float = 0.5,
        discount: Any = None,
        num_contexts: Counts = (0,),
        num_pairs: Counts = (0,),
        **kwargs: Any,
    ):
        check_smoothing(smoothing, add_k, discount)
        check_counts(num_contexts, num_pairs)
        if kwargs.get("context_length") is not None:
            raise ValueError(
                f"context_length={kwargs['context_length']}: hierarchical contexts are cut by level, context_level="
            )
        self.smoothing = smoothing
        self.add_k = add_k
        self.discount = discount
        self.num_contexts: list[Any] = list(num_contexts)
        self.num_pairs: list[Any] = list(num_pairs)
        super().__init__(**kwargs)
