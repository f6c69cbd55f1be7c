"""Samples of a causal model's own law: nothing cut, nothing penalised, no special tokens.

transformers' `generate` is used with its key-value cache where the laws that it samples from are those of the model
itself, on the first tokens of a few sequences. Elsewhere (a cache that is wrong in batches, positions that it counts
in its own way, models that cannot do without `use_cache=False`) every token is drawn from a call of the whole prefix.
"""

from collections.abc import Iterator
from contextlib import contextmanager

import numpy as np
import torch
from transformers import GenerationConfig, LogitsProcessor, LogitsProcessorList

from rhm_hf.checks import check_integer
from rhm_hf.judging.bare import evaluating, has_adapters
from rhm_hf.judging.models import FAILURES
from rhm_hf.metrics.context_loss.reader import Reader


BATCH = 256  # sequences generated together
TRIED = (4, 6)  # sequences and tokens by which the cache is tried
SAME = 1e-3  # in probability: what two ways of computing may differ by
SAME_IN_HALF = 2e-2


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
        `ValueError`: if the model's logits are NaN, or leave no symbol any probability.
    """
    batch_size = check_integer("batch_size", batch_size, 1)
    model, device, parts = reader.model, reader.model.device, []
    prompts = torch.from_numpy(prompts.astype(np.int64))
    others = torch.from_numpy(np.setdiff1d(np.arange(reader.num_ids), symbols)).to(device)

    def shown(rows: slice) -> torch.Tensor:
        tokens = prompts[rows].to(device)
        return torch.cat([tokens.new_tensor(reader.prefix).expand(len(tokens), -1), tokens], 1)

    with evaluating(model):
        draw = _by_generate if _generates_its_law(reader, shown(slice(TRIED[0])), others, length, seed) else _by_hand
        torch.manual_seed(seed)
        for start in range(0, len(prompts), batch_size):
            batch = shown(slice(start, start + batch_size))
            parts.append(draw(reader, batch, others, length)[:, batch.shape[1] :].cpu().numpy())
    return np.concatenate(parts)


def _by_hand(reader: Reader, shown: torch.Tensor, others: torch.Tensor, length: int) -> torch.Tensor:
    """Every token from the law that the model has for the whole prefix."""
    for _ in range(length):
        law = _law(reader, shown, others)[:, -1]
        shown = torch.cat([shown, torch.multinomial(law, 1)], 1)
    return shown


def _law(reader: Reader, shown: torch.Tensor, others: torch.Tensor, places: int = 1) -> torch.Tensor:
    """Probabilities `(batch, places, ids)` after the last `places` prefixes, float32; 0 for what is no symbol."""
    keep = {"logits_to_keep": places} if reader.keeps else {}
    logits = reader.reader.logits(shown, **keep)[:, -places:].float()
    return _checked(logits.index_fill(-1, others, -torch.inf)).softmax(-1)


def _checked(scores: torch.Tensor) -> torch.Tensor:
    """Before sampling, which on CUDA would end the process where there is no law."""
    if scores.isnan().any() or (scores.amax(-1) == torch.inf).any():
        raise ValueError(
            "the model's logits are NaN or infinite: its weights, or the precision it runs in, are broken"
        )
    if (scores.amax(-1) == -torch.inf).any():
        raise ValueError("the model gives no symbol of the text any probability: it has learnt another vocabulary")
    return scores


class _Checked(LogitsProcessor):
    def __call__(self, input_ids: torch.LongTensor, scores: torch.FloatTensor) -> torch.FloatTensor:
        return _checked(scores)


def _by_generate(reader: Reader, shown: torch.Tensor, others: torch.Tensor, length: int, **options):
    """The same by transformers' `generate`, with its cache."""
    symbols = np.setdiff1d(np.arange(reader.num_ids), others.cpu().numpy())
    config = GenerationConfig(
        do_sample=True,
        top_k=0,
        top_p=1.0,
        temperature=1.0,
        num_beams=1,
        max_new_tokens=length,
        suppress_tokens=others.tolist() or None,
        pad_token_id=int(symbols[0]),  # never needed: all sequences are equally long
        use_cache=True,
        **options,
    )
    with _defaults_of(reader.model, config):
        return reader.model.generate(
            shown,
            attention_mask=torch.ones_like(shown),
            generation_config=config,
            logits_processor=LogitsProcessorList([_Checked()]),
        )


def _generates_its_law(reader: Reader, shown: torch.Tensor, others: torch.Tensor, length: int, seed: int) -> bool:
    """Whether what `generate` samples from is the model's own law, token by token on a few sequences."""
    model, count = reader.model, min(length, TRIED[1])
    if has_adapters(model) or not hasattr(model, "generate") or not _uses_cache(model):
        return False
    shown = torch.cat([shown] * TRIED[0])[: TRIED[0]]  # at least so many, which sampling makes differ
    try:
        torch.manual_seed(seed)
        found = _by_generate(reader, shown, others, count, output_scores=True, return_dict_in_generate=True)
    except FAILURES:
        return False  # whatever is wrong with the model itself, drawing by hand will say
    law = _law(reader, found.sequences[:, :-1], others, count)
    theirs = torch.stack(found.scores, 1).softmax(-1)
    same = SAME if model.dtype in (torch.float32, torch.float64) else SAME_IN_HALF
    return theirs.shape == law.shape and float((theirs - law).abs().max()) <= same


def _uses_cache(model) -> bool:
    configs = (model.config, getattr(model, "generation_config", None))
    return all(getattr(config, "use_cache", True) is not False for config in configs)


@contextmanager
def _defaults_of(model, config: GenerationConfig) -> Iterator[None]:
    """`generate` fills what a configuration leaves out from the model's own: for now that is the same one."""
    saved, model.generation_config = model.generation_config, config
    try:
        yield
    finally:
        model.generation_config = saved
