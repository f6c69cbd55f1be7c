"""Which ids of a model stand for the symbols of a grammar, and which it puts before, after and instead of them."""

import operator
from collections.abc import Sequence
from dataclasses import dataclass

import torch

from ..grammar import Source
from .models import ModelReader


@dataclass(frozen=True)
class ModelIds:
    """The ids of one model for one grammar, on the model's device.

    Args:
        symbols (`torch.Tensor`): shape `(v,)`, the id of every symbol.
        bos (`int`, *optional*): the id put before every sentence; None for none.
        mask (`int`, *optional*): the id that hides a token; None for causal models.
        num_ids (`int`): ids the model's head has.
        end (`int`, *optional*): the id that ends a sentence, where lengths vary; None elsewhere.
    """

    symbols: torch.Tensor
    bos: int | None
    mask: int | None
    num_ids: int
    end: int | None = None

    @classmethod
    def of(
        cls,
        model: torch.nn.Module,
        grammar: Source,
        *,
        masked: bool,
        token_ids: Sequence[int] | None = None,
        bos: str | int | bool = "auto",
        mask_token_id: int | None = None,
    ) -> "ModelIds":
        """Resolves and checks the ids; see [`~rhm_hf.metrics.rhm_kl.kl_divergence`] for the arguments.

        The context of a model is checked by [`ModelIds.check_length`].

        Raises:
            `ValueError`: where they do not match, naming the argument to pass.
        """
        num_ids, vary = _num_ids(model), grammar.lengths_vary
        symbols, end = _symbol_ids(grammar.vocab_size, num_ids, token_ids, vary and not masked)
        bos = _bos_id(model.config, symbols, num_ids, bos, masked)
        mask = _mask_id(model.config, symbols, num_ids, grammar.vocab_size, mask_token_id) if masked else None
        if vary and not masked and end is None:
            end = _end_id(model.config, symbols, num_ids, grammar.vocab_size, bos)
        return cls(torch.tensor(symbols, device=model.device), bos, mask, num_ids, end)

    @property
    def outcomes(self) -> torch.Tensor:
        """The ids of what can come next, in the order of the laws' columns: the symbols, and END if there is one."""
        return self.symbols if self.end is None else torch.cat([self.symbols, self.symbols.new_tensor([self.end])])

    def check_length(self, reader: ModelReader, length: int) -> None:
        """Raises a `ValueError` where the model cannot read so many tokens, and BOS where there is one."""
        example = self.encode(torch.zeros(1, length, dtype=torch.int64, device=self.symbols.device))
        reader.check_length(example.shape[1], example=example)

    def encode(self, tokens: torch.Tensor, hidden: torch.Tensor | None = None) -> torch.Tensor:
        """The model's inputs for symbols `(n, t)`: MASK where `hidden`, BOS first where there is one.

        PAD = v + 1, where sentences end before the row does, becomes an id that the model has; see [`ModelIds.seen`].
        """
        inputs = self.symbols[torch.where(tokens < len(self.symbols), tokens, 0)]
        if hidden is not None:
            inputs = torch.where(hidden, self.mask, inputs)
        if self.bos is not None:
            inputs = torch.cat([inputs.new_full((len(inputs), 1), self.bos), inputs], 1)
        return inputs

    def seen(self, tokens: torch.Tensor) -> torch.Tensor:
        """The attention mask of [`ModelIds.encode`]'s inputs: int64, 0 where a row is padded."""
        seen = (tokens < len(self.symbols)).long()
        return seen if self.bos is None else torch.nn.functional.pad(seen, (1, 0), value=1)


def _num_ids(model) -> int:
    config = model.config.get_text_config()
    head = getattr(model, "get_output_embeddings", lambda: None)()
    return head.weight.shape[0] if getattr(head, "weight", None) is not None else config.vocab_size


def _symbol_ids(num_symbols: int, num_ids: int, token_ids, with_end: bool) -> tuple[list[int], int | None]:
    """The ids of the symbols, and that of END where `token_ids` has one more entry for it."""
    if token_ids is None:
        if not num_symbols <= num_ids <= num_symbols + 3:
            raise ValueError(
                f"the model has {num_ids} ids and the grammar {num_symbols} symbols (with BOS, PAD and MASK "
                f"{num_symbols + 3}): pass token_ids=, the model's id of every symbol, for example "
                f"token_ids=range({num_symbols}) where symbol k has id k"
            )
        return list(range(num_symbols)), None
    token_ids = _integers(token_ids, num_symbols)
    allowed = (num_symbols, num_symbols + 1) if with_end else (num_symbols,)
    if len(token_ids) not in allowed or len(set(token_ids)) != len(token_ids):
        last = ", and one more for END" if with_end else ""
        raise ValueError(
            f"token_ids has {len(token_ids)} entries, {len(set(token_ids))} of them different: give {num_symbols} "
            f"different ids, one for each symbol{last}"
        )
    if min(token_ids) < 0 or max(token_ids) >= num_ids:
        bad = next(i for i in token_ids if not 0 <= i < num_ids)
        raise ValueError(f"token_ids holds {bad}, which is no id of the model: it has ids 0 to {num_ids - 1}")
    return token_ids[:num_symbols], token_ids[num_symbols] if len(token_ids) > num_symbols else None


def _integers(token_ids, num_symbols: int) -> list[int]:
    wanted = f"give the model's {num_symbols} ids in the order of the symbols, as integers"
    if isinstance(token_ids, dict | set | frozenset | str | bytes):
        raise ValueError(f"token_ids is a {type(token_ids).__name__}, which has no order of its own: {wanted}")
    try:
        entries = token_ids.tolist() if hasattr(token_ids, "tolist") else list(token_ids)
    except TypeError:
        raise ValueError(f"token_ids={token_ids!r}: {wanted}") from None
    for entry in entries:
        if isinstance(entry, bool) or not hasattr(entry, "__index__"):
            raise ValueError(f"token_ids holds {entry!r}: {wanted}")
    return [operator.index(entry) for entry in entries]


def _end_id(config, symbols: list[int], num_ids: int, num_symbols: int, bos: int | None) -> int:
    """The model's EOS; BOS, which is EOS here, or v where the model has this package's ids."""
    own = config.get_text_config().eos_token_id
    choices = [own] if not isinstance(own, list | tuple) else list(own)
    if num_ids <= num_symbols + 3:
        choices += [bos, num_symbols]
    for end in choices:
        if end is not None and 0 <= end < num_ids and end not in symbols:
            return end
    raise ValueError(
        f"sentences differ in length, and no id of the model ends them (eos_token_id={own!r}, of {num_ids} ids): pass "
        f"token_ids= with {num_symbols + 1} entries, the ids of the symbols, then that of END"
    )


def _bos_id(config, symbols: list[int], num_ids: int, bos, masked: bool) -> int | None:
    if bos is False:
        return None
    if isinstance(bos, str) and bos == "auto":
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
    if isinstance(bos, bool) or not hasattr(bos, "__index__") or not 0 <= bos < num_ids or bos in symbols:
        raise ValueError(
            f"bos={bos!r} must be 'auto', False, or an id of the model (0 to {num_ids - 1}) that is no symbol's"
        )
    return operator.index(bos)


def _mask_id(config, symbols: list[int], num_ids: int, num_symbols: int, mask_token_id: int | None) -> int:
    mask = mask_token_id if mask_token_id is not None else getattr(config, "mask_token_id", None)
    if mask is not None and (isinstance(mask, bool) or not hasattr(mask, "__index__")):
        raise ValueError(f"mask_token_id={mask!r}: the model's MASK is an integer, one of its ids and no symbol's")
    if mask is None and num_ids == num_symbols + 3:
        mask = num_symbols + 2
    if mask is None or not 0 <= mask < num_ids or mask in symbols:
        raise ValueError(
            f"mask_token_id={mask_token_id!r}: the model's MASK must be one of its ids (0 to {num_ids - 1}) and no "
            f"symbol's, and {mask!r} is not; pass mask_token_id="
        )
    return mask
