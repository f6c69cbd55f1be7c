"""What the configurations of all laws share: symbols, then the special ids."""

from typing import Any

from transformers import PretrainedConfig

from ..checks import checked
from .sizes import NumSymbols, check_labels


class LawConfig(PretrainedConfig):
    """Configuration of a law over sequences of v symbols; symbol k has token id k.

    Args:
        num_symbols (`int`, *optional*, defaults to 2): v.

    Special ids follow the symbols: BOS = EOS = v, PAD = v + 1, MASK = v + 2, and `vocab_size` = v + 3 counts all ids.
    """

    @checked
    def __init__(self, num_symbols: NumSymbols = 2, **kwargs: Any):
        check_labels(kwargs)
        self.num_symbols = num_symbols
        self.vocab_size: int = num_symbols + 3
        self.mask_token_id: int = num_symbols + 2
        specials = {"bos_token_id": num_symbols, "eos_token_id": num_symbols, "pad_token_id": num_symbols + 1}
        derived = ("vocab_size", "mask_token_id", *specials)  # never taken from elsewhere, always consistent
        super().__init__(**specials, **{name: value for name, value in kwargs.items() if name not in derived})
        self.use_cache = False  # after super().__init__, where it would be dropped: every call needs the whole prefix
