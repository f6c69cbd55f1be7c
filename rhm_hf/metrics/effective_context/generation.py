"""Samples of a causal model's own law: nothing cut, nothing penalised, no special tokens."""

from contextlib import contextmanager

import numpy as np
import torch
from transformers import GenerationConfig

from rhm_hf.metrics.context_loss.reader import Reader
from rhm_hf.metrics.loading import evaluating


BATCH = 256  # sequences generated together


@torch.no_grad()
def generate(
    reader: Reader,
    prompts: np.ndarray,
    length: int,
    symbols: np.ndarray,
    seed: int = 0,
    batch_size: int = BATCH,
) -> np.ndarray:
    """Generates one sequence after every prompt; the global random state stays as it is.

    Ids that are no symbols (BOS, padding, rows of the head beyond the tokenizer's) are left out and the rest of the
    law renormalised, since a text holds none of them; so is the end of a text. Defaults saved with the model are not
    used: transformers' own would cut the law to its 50 likeliest tokens.

    Args:
        reader ([`~rhm_hf.metrics.context_loss.reader.Reader`]): the model and its special ids; BOS goes before each
            prompt.
        prompts (`np.ndarray`): shape `(sequences, prompt)`; may be `(sequences, 0)`.
        length (`int`): tokens to generate.
        symbols (`np.ndarray`): the ids that may be generated.

    Returns:
        `np.ndarray`: shape `(sequences, length)`, the prompts left out.

    Raises:
        `ValueError`: if the model's logits are NaN.
    """
    model = reader.model
    others = np.setdiff1d(np.arange(reader.num_ids), symbols)
    config = GenerationConfig(
        do_sample=True,
        top_k=0,
        top_p=1.0,
        temperature=1.0,
        num_beams=1,
        max_new_tokens=length,
        suppress_tokens=others.tolist() or None,
        pad_token_id=int(symbols[0]),  # never needed: all sequences are equally long
        use_cache=_uses_cache(model),
    )
    device, parts = model.device, []
    devices = [device] if device.type == "cuda" else []
    with torch.random.fork_rng(devices), _defaults_of(model, config), evaluating(model):
        torch.manual_seed(seed)
        for start in range(0, len(prompts), batch_size):
            shown = torch.from_numpy(prompts[start : start + batch_size].astype(np.int64)).to(device)
            prefix = shown.new_tensor(reader.prefix).expand(len(shown), -1)
            shown = torch.cat([prefix, shown], 1)
            if start == 0:
                _check_logits(model, shown[:1])
            found = model.generate(shown, attention_mask=torch.ones_like(shown), generation_config=config)
            parts.append(found[:, shown.shape[1] :].cpu().numpy())
    return np.concatenate(parts)


def _check_logits(model, shown: torch.Tensor) -> None:
    """Before sampling, which on CUDA would end the process where there is no law."""
    if model(input_ids=shown, attention_mask=torch.ones_like(shown)).logits.isnan().any():
        raise ValueError(
            f"the {type(model).__name__}'s logits are NaN: its weights, or the precision it runs in, are broken"
        )


def _uses_cache(model) -> bool:
    return all(getattr(config, "use_cache", True) is not False for config in (model.config, model.generation_config))


@contextmanager
def _defaults_of(model, config: GenerationConfig):
    """`generate` fills what a configuration leaves out from the model's own: for now that is the same one."""
    saved, model.generation_config = model.generation_config, config
    try:
        yield
    finally:
        model.generation_config = saved
