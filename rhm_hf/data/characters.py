"""Characters as tokens: a stock tokenizer that goes back exactly, and the same encoding as one table look-up."""

from collections.abc import Sequence
from typing import Annotated

import numpy as np
from tokenizers import Regex, Tokenizer
from tokenizers.decoders import Fuse
from tokenizers.models import WordLevel
from tokenizers.pre_tokenizers import Split
from transformers import PreTrainedTokenizerBase, PreTrainedTokenizerFast

from ..checks import OwnCheck, checked, smallest_dtype
from .tokenizer import BOS_TOKEN, MASK_TOKEN, PAD_TOKEN


UNKNOWN = "\ufffd"  # Unicode's replacement character: one character, so that lengths are kept
CODE_POINTS = 0x110000
SURROGATES = range(0xD800, 0xE000)  # no characters by themselves; they count as unknown
CHUNK = 2**16  # characters encoded at a time: they stay in the cache


@checked
def char_tokenizer(characters: Annotated[str | Sequence[str], OwnCheck()]) -> PreTrainedTokenizerFast:
    """A tokenizer whose tokens are single characters: `decode(encode(text)) == text`, line ends and blanks included.

    The k-th character has id k. The unknown character (written `"\\ufffd"`) follows, then BOS = EOS, PAD, MASK: with v
    ids that text can hold, the unknown one among them, BOS = v as everywhere in this package. No special token is
    added by itself, and none is read from a text: `"<s>"` in a text is three characters.

    Args:
        characters (`Sequence[str]`): the known characters, in the order of their ids.

    Returns:
        `PreTrainedTokenizerFast`: `save_pretrained` and `AutoTokenizer.from_pretrained` work as for any other, without
        this package.

    Raises:
        `ValueError`: if there are none, or one is repeated or not a single character.
    """
    if not isinstance(characters, str | Sequence):
        raise ValueError(f"characters={characters!r} has the wrong type: give a string or a list of characters")
    characters = list(characters)
    if not characters:
        raise ValueError("characters is empty: give at least one character")
    for character in characters:
        if not isinstance(character, str) or len(character) != 1 or ord(character) in SURROGATES:
            raise ValueError(f"characters holds {character!r}: each must be one character, a string of length 1")
    if len(set(characters)) < len(characters) or UNKNOWN in characters:
        repeated = next(c for i, c in enumerate([UNKNOWN, *characters]) if c in [UNKNOWN, *characters][:i])
        raise ValueError(f"characters repeats {repeated!r} ({UNKNOWN!r} is there by itself): give each one once")
    tokens = [*characters, UNKNOWN, BOS_TOKEN, PAD_TOKEN, MASK_TOKEN]
    backend = Tokenizer(WordLevel({token: i for i, token in enumerate(tokens)}, unk_token=UNKNOWN))
    backend.pre_tokenizer = Split(Regex(r"[\s\S]"), "isolated")
    backend.decoder = Fuse()
    return PreTrainedTokenizerFast(
        tokenizer_object=backend,
        unk_token=UNKNOWN,
        bos_token=BOS_TOKEN,
        eos_token=BOS_TOKEN,
        pad_token=PAD_TOKEN,
        mask_token=MASK_TOKEN,
        split_special_tokens=True,
        clean_up_tokenization_spaces=False,
    )


class CharEncoder:
    """What a tokenizer of [`char_tokenizer`] does to a text, as a look-up of code points: about 1000 times faster.

    Args:
        tokenizer (`PreTrainedTokenizerBase`): of single characters, with an unknown one, also one loaded again.

    Raises:
        `ValueError`: if its tokens are not single characters.
    """

    @checked
    def __init__(self, tokenizer: PreTrainedTokenizerBase):
        special = set(tokenizer.all_special_tokens)
        vocabulary = {token: i for token, i in tokenizer.get_vocab().items() if token not in special}
        longer = sorted(token for token in vocabulary if len(token) != 1)
        if longer or tokenizer.unk_token_id is None:
            what = f"holds {longer[0]!r}" if longer else "has no unknown token"
            raise ValueError(f"tokenizer {what}: characters need a tokenizer made by char_tokenizer")
        self.num_symbols: int = max([*vocabulary.values(), tokenizer.unk_token_id]) + 1
        self.table: np.ndarray = np.full(CODE_POINTS, tokenizer.unk_token_id, dtype=smallest_dtype(self.num_symbols))
        self.table[[ord(token) for token in vocabulary]] = list(vocabulary.values())

    def __call__(self, text: str) -> np.ndarray:
        """Ids `(characters,)` in the smallest type that holds `num_symbols`: uint8, uint16 or int32."""
        ids = np.empty(len(text), dtype=self.table.dtype)
        for start in range(0, len(text), CHUNK):
            codes = code_points(text[start : start + CHUNK])
            ids[start : start + len(codes)] = self.table[codes]
        return ids


def code_points(text: str) -> np.ndarray:
    """The code points of a text, uint32."""
    return np.frombuffer(text.encode("utf-32-le", "surrogatepass"), dtype="<u4")


class Alphabet:
    """Counts characters in one pass: texts get provisional ids, in order of appearance, until all has been read."""

    def __init__(self):
        self._ids = np.full(CODE_POINTS, -1, dtype=np.int32)
        self._codes = np.empty(0, dtype=np.uint32)  # code point of every provisional id
        self._counts = np.empty(0, dtype=np.int64)

    def read(self, text: str) -> np.ndarray:
        """Counts a text; returns its provisional ids, uint16 (int32 where those are too many)."""
        parts = [self._read(text[start : start + CHUNK]) for start in range(0, len(text), CHUNK)]
        return np.concatenate(parts) if parts else np.empty(0, dtype=np.uint16)

    def _read(self, text: str) -> np.ndarray:
        codes = code_points(text)
        ids = self._ids[codes]
        if (new := ids < 0).any():
            fresh = np.unique(codes[new])
            self._ids[fresh] = np.arange(len(self._codes), len(self._codes) + len(fresh))
            self._codes = np.concatenate([self._codes, fresh])
            self._counts = np.concatenate([self._counts, np.zeros(len(fresh), dtype=np.int64)])
            ids = self._ids[codes]
        self._counts += np.bincount(ids, minlength=len(self._counts))
        return ids.astype(np.uint16 if len(self._codes) <= 2**16 else np.int32)

    def most_frequent(self, max_size: int | None, min_count: int) -> list[str]:
        """The characters to keep, most frequent first (code points break ties); see [`char_corpus`]."""
        known = [(-n, c) for n, c in zip(self._counts.tolist(), self._codes.tolist(), strict=True) if n >= min_count]
        kept = [chr(c) for _, c in sorted(known) if c not in SURROGATES and chr(c) != UNKNOWN]
        return kept[:max_size]

    def translation(self, encoder: CharEncoder) -> np.ndarray:
        """From provisional ids to those of an encoder, a table to index."""
        return encoder.table[self._codes]
