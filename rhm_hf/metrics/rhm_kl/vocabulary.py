"""Which ids of a model stand for the symbols of a grammar, and which it puts before and instead of them."""

from collections.abc import Sequence
from dataclasses import dataclass

import torch


@dataclass(frozen=True)
class ModelIds:
    """The ids of one model for one grammar, on the model's device.

    Args:
        symbols (`torch.Tensor`): shape `(v,)`, the id of every symbol.
        bos (`int`, *optional*): the id put before every sentence; None for none.
        mask (`int`, *optional*): the id that hides a token; None for causal models.
        num_ids (`int`): ids the model's head has.
    """

    symbols: torch.Tensor
    bos: int | None
    mask: int | None
    num_ids: int

    @classmethod
    def of(
        cls,
        model,
        grammar,
        *,
        masked: bool,
        token_ids: Sequence[int] | None = None,
        bos: str | int | bool = "auto",
        mask_token_id: int | None = None,
    ) -> "ModelIds":
        """Resolves and checks the ids; see [`~rhm_hf.metrics.rhm_kl.kl_divergence`] for the arguments.

        Raises:
            `ValueError`: where they do not match, naming the argument to pass.
        """
        num_ids = _num_ids(model)
        symbols = _symbol_ids(grammar.vocab_size, num_ids, token_ids)
        bos = _bos_id(model.config, symbols, num_ids, bos, masked)
        mask = _mask_id(model.config, symbols, num_ids, grammar.vocab_size, mask_token_id) if masked else None
        _check_context(model.config, grammar.sentence_length - (not masked) + (bos is not None))
        return cls(torch.tensor(symbols, device=model.device), bos, mask, num_ids)

    def encode(self, tokens: torch.Tensor, hidden: torch.Tensor | None = None) -> torch.Tensor:
        """The model's inputs for symbols `(n, t)`: MASK where `hidden`, BOS first where there is one."""
        inputs = self.symbols[tokens]
        if hidden is not None:
            inputs = torch.where(hidden, self.mask, inputs)
        if self.bos is not None:
            inputs = torch.cat([inputs.new_full((len(inputs), 1), self.bos), inputs], 1)
        return inputs


def _num_ids(model) -> int:
    config = model.config.get_text_config()
    head = model.get_output_embeddings()
    return head.weight.shape[0] if getattr(head, "weight", None) is not None else config.vocab_size


def _symbol_ids(num_symbols: int, num_ids: int, token_ids) -> list[int]:
    if token_ids is None:
        if not num_symbols <= num_ids <= num_symbols + 3:
            raise ValueError(
                f"the model has {num_ids} ids and the grammar {num_symbols} symbols (with BOS, PAD and MASK "
                f"{num_symbols + 3}): pass token_ids=, the model's id of every symbol, for example "
                f"token_ids=range({num_symbols}) where symbol k has id k"
            )
        return list(range(num_symbols))
    token_ids = [int(i) for i in token_ids]
    if len(token_ids) != num_symbols or len(set(token_ids)) != num_symbols:
        raise ValueError(
            f"token_ids has {len(token_ids)} entries, {len(set(token_ids))} of them different: give {num_symbols} "
            "different ids, one for each symbol"
        )
    if min(token_ids) < 0 or max(token_ids) >= num_ids:
        bad = next(i for i in token_ids if not 0 <= i < num_ids)
        raise ValueError(f"token_ids holds {bad}, which is no id of the model: it has ids 0 to {num_ids - 1}")
    return token_ids


def _bos_id(config, symbols: list[int], num_ids: int, bos, masked: bool) -> int | None:
    if bos is False:
        return None
    if bos == "auto":
        own = getattr(config.get_text_config(), "bos_token_id", None)
        if own is not None and 0 <= own < num_ids and own not in symbols:
            return own
        if masked:  # a masked model is judged at the same tokens without
            return None
        why = "has none" if own is None else "is a symbol's id" if own in symbols else f"is {own}, no id of the model"
        raise ValueError(
            f"bos='auto' found no beginning-of-sentence id: the model's bos_token_id {why}. Pass bos=<id> if the "
            "model was trained with one, or bos=False to judge the tokens from the second on"
        )
    if isinstance(bos, bool) or not isinstance(bos, int) or not 0 <= bos < num_ids or bos in symbols:
        raise ValueError(
            f"bos={bos!r} must be 'auto', False, or an id of the model (0 to {num_ids - 1}) that is no symbol's"
        )
    return bos


def _mask_id(config, symbols: list[int], num_ids: int, num_symbols: int, mask_token_id: int | None) -> int:
    mask = mask_token_id if mask_token_id is not None else getattr(config, "mask_token_id", None)
    if mask is None and num_ids == num_symbols + 3:
        mask = num_symbols + 2
    if mask is None or not 0 <= mask < num_ids or mask in symbols:
        raise ValueError(
            f"mask_token_id={mask_token_id!r}: the model's MASK must be one of its ids (0 to {num_ids - 1}) and no "
            f"symbol's, and {mask!r} is not; pass mask_token_id="
        )
    return mask


def _check_context(config, length: int) -> None:
    longest = getattr(config.get_text_config(), "max_position_embeddings", None)
    if longest is not None and length > longest:
        raise ValueError(
            f"the model reads at most {longest} ids (max_position_embeddings) and this grammar's sentences need "
            f"{length}: judge it on a grammar with shorter sentences"
        )
