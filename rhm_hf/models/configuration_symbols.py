"""What the configurations of trainable models share: sizes, symbols, then the special ids."""

from typing import Any

from transformers import PretrainedConfig

from ..checks import check_integer, checked
from .sizes import NumIds, NumParts, NumSymbols, Width, check_labels


class SymbolsConfig(PretrainedConfig):
    """Configuration of a network that reads sequences of v symbols; symbol k has token id k.

    Args:
        vocab_size (`int`, *optional*, defaults to 19): all ids, v + 3: symbols, BOS = EOS = v, PAD = v + 1,
            MASK = v + 2.
        num_symbols (`int`, *optional*, defaults to `vocab_size - 3`): v.
        max_position_embeddings (`int`, *optional*, defaults to 8): the longest input, in tokens.
        hidden_size (`int`, *optional*, defaults to 256): width.
        num_hidden_layers (`int`, *optional*, defaults to 3): layers between the input and the linear readout.
        bos_token_id, eos_token_id, pad_token_id, mask_token_id (`int`, *optional*): by default v, v, v + 1, v + 2.

    Raises:
        `ValueError`: for a size that is no positive integer, or more symbols than ids.
    """

    @checked
    def __init__(
        self,
        vocab_size: NumIds = 19,
        num_symbols: NumSymbols | None = None,
        max_position_embeddings: Width = 8,
        hidden_size: Width = 256,
        num_hidden_layers: NumParts = 3,
        bos_token_id: Any = None,
        eos_token_id: Any = None,
        pad_token_id: Any = None,
        mask_token_id: Any = None,
        **kwargs: Any,
    ):
        check_labels(kwargs)
        self.vocab_size: int = vocab_size
        v = self.vocab_size - 3
        if num_symbols is not None:
            v = check_integer("num_symbols", num_symbols, 1, self.vocab_size - 2)
        self.num_symbols = v
        self.max_position_embeddings: int = max_position_embeddings
        self.hidden_size: int = hidden_size
        self.num_hidden_layers: int = num_hidden_layers
        self.mask_token_id: int = v + 2 if mask_token_id is None else mask_token_id
        super().__init__(
            bos_token_id=v if bos_token_id is None else bos_token_id,
            eos_token_id=v if eos_token_id is None else eos_token_id,
            pad_token_id=v + 1 if pad_token_id is None else pad_token_id,
            **kwargs,
        )
        self.use_cache = False  # after super().__init__, where it would be dropped: every call needs the whole prefix
