"""Generation without a key-value cache: every step reads the whole prefix, whatever the caller asks for."""

import copy
from typing import Any

import torch
from transformers import GenerationConfig, GenerationMixin, PretrainedConfig


def own_law(config: PretrainedConfig, max_new_tokens: int, **more: Any) -> GenerationConfig:
    """How `generate` samples a model's own law: nothing cut off or reweighted, no cache."""
    ids = {name: getattr(config, name) for name in ("bos_token_id", "eos_token_id", "pad_token_id")}
    return GenerationConfig(do_sample=True, top_k=0, use_cache=False, max_new_tokens=max_new_tokens, **more, **ids)


class WholePrefixGenerationMixin(GenerationMixin):
    """`generate` of models that have no cache.

    With a cache, transformers feeds the last token alone, and the law that is sampled is another one, without an
    error. Callers ask for one by habit (`use_cache=True`, `cache_implementation=`), so it is not for them to say.
    """

    def generate(
        self,
        inputs: torch.Tensor | None = None,
        generation_config: GenerationConfig | None = None,
        **kwargs: Any,
    ) -> torch.LongTensor:
        """As `GenerationMixin.generate`; `use_cache` and `cache_implementation` change nothing.

        Raises:
            `ValueError`: for a cache of earlier tokens, `past_key_values`.
        """
        if kwargs.get("past_key_values") is not None:
            raise ValueError(
                f"past_key_values was given to a {type(self).__name__}, which has no key-value cache: pass all ids"
            )
        if generation_config is not None:
            generation_config = copy.deepcopy(generation_config)
            generation_config.use_cache, generation_config.cache_implementation = False, None
        kwargs = {name: value for name, value in kwargs.items() if name != "cache_implementation"}
        return super().generate(inputs, generation_config, **kwargs | {"use_cache": False})

    def prepare_inputs_for_generation(
        self, input_ids: torch.Tensor, attention_mask: torch.Tensor | None = None, **kwargs: Any
    ) -> dict[str, Any]:
        """The whole prefix and its mask."""
        return {"input_ids": input_ids} | ({} if attention_mask is None else {"attention_mask": attention_mask})
