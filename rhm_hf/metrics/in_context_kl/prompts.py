"""Prompts: ids that stand for the symbols of a grammar, one id between its sentences, and how many fit."""

from dataclasses import dataclass
from typing import Any

import numpy as np
import torch

from rhm_hf.judging import ModelReader
from rhm_hf.judging.loading import load_tokenizer


SYMBOLS = ("auto", "own", "words", "ids")
SEPARATORS = ("\n", ".", ",", ";")  # tried in this order between words
SPECIAL = ("bos", "eos", "pad", "mask", "sep", "cls", "unk")
SHORTEST_WORD = 2  # letters


@dataclass(frozen=True)
class PromptIds:
    """What a prompt of one model is written in.

    Attributes:
        kind (`str`): `"own"`, `"words"` or `"ids"`.
        candidates (`torch.Tensor`): int64, the ids that may stand for symbols.
        separator (`int`): the id between two sentences.
        first (`int`): the id before the first sentence: BOS, or the separator where the model has none.
        tokenizer (*optional*): of words.
    """

    kind: str
    candidates: torch.Tensor
    separator: int
    first: int
    tokenizer: Any = None

    def mappings(self, num: int, num_symbols: int, seed: int) -> torch.Tensor:
        """Independent mappings, int64 `(num, v)`: different ids for the v symbols, all choices equally likely."""
        generator = torch.Generator().manual_seed(seed)
        chosen = [torch.randperm(len(self.candidates), generator=generator)[:num_symbols] for _ in range(num)]
        return self.candidates[torch.stack(chosen)]

    def encode(self, sentences: torch.Tensor, mapping: torch.Tensor) -> torch.Tensor:
        """Prompts of sentences `(rows, N + 1, d)`: int64 `(rows, (N + 1) (d + 1) - 1)`, without the last token.

        The first id, the sentences with a separator between two of them; `mapping` is `(rows, v)`.
        """
        words = mapping.gather(1, sentences.flatten(1)).view(sentences.shape)
        lead = torch.full_like(words[..., :1], self.separator)
        lead[:, 0] = self.first
        return torch.cat([lead, words], -1).flatten(1)[:, :-1]

    def shown(self, prompt: torch.Tensor) -> str:
        """A prompt as people read it: its text, or its ids."""
        ids = prompt.tolist()
        return self.tokenizer.decode(ids) if self.tokenizer is not None else " ".join(map(str, ids))


def prompt_ids(
    reader: ModelReader, num_symbols: int, *, symbols: str, separator: str | int | None, bos: Any, tokenizer: Any
) -> PromptIds:
    """Finds the ids; arguments as of [`~rhm_hf.metrics.in_context_kl.in_context_kl`].

    Raises:
        `ValueError`: where there are too few ids or words, or none for the separator.
    """
    if symbols not in SYMBOLS:
        raise ValueError(f"symbols={symbols!r} is unknown: use one of {', '.join(SYMBOLS)}")
    fits = num_symbols <= reader.num_ids <= num_symbols + 3
    kind = symbols if symbols != "auto" else "own" if fits else "words"
    if kind == "words":
        path = str(getattr(reader.model, "name_or_path", "") or "")
        tokenizer = load_tokenizer(tokenizer, path, needed=True)
        candidates = word_ids(tokenizer, reader.num_ids)
    else:
        tokenizer = None
        candidates = list(range(num_symbols)) if kind == "own" else _ordinary(reader)
        if kind == "own" and not fits:
            raise ValueError(
                f"symbols='own': the model has {reader.num_ids} ids and the grammar {num_symbols} symbols; a model of "
                f"its symbols has {num_symbols} to {num_symbols + 3}. Use 'words' or 'ids'"
            )
    between = _separator(reader, kind, separator, tokenizer, candidates, num_symbols)
    first = _first(reader, bos, between)
    candidates = [i for i in candidates if i not in (between, first)]
    if len(candidates) < num_symbols:
        what = "single-token words of the tokenizer" if kind == "words" else "ids of the model"
        raise ValueError(
            f"{len(candidates)} {what} can stand for symbols and the grammar has {num_symbols}: take a grammar of "
            "fewer symbols" + (", or symbols='ids'" if kind == "words" else "")
        )
    return PromptIds(kind, torch.tensor(candidates), between, first, tokenizer)


def word_ids(tokenizer: Any, num_ids: int) -> list[int]:
    """The ids below `num_ids` that are whole words: two letters or more, one token wherever the word stands.

    A word counts if the last two of three, with spaces between, are this id.
    """
    special = set(tokenizer.all_special_ids)
    texts = tokenizer.batch_decode([[i] for i in range(min(num_ids, len(tokenizer))) if i not in special])
    words = sorted({text.strip() for text in texts if text.strip().isalpha() and len(text.strip()) >= SHORTEST_WORD})
    if not words:
        return []
    found = tokenizer([f"{word} {word} {word}" for word in words], add_special_tokens=False)["input_ids"]
    known = {ids[-1] for ids in found if len(ids) >= 3 and ids[-1] == ids[-2] and ids[-1] < num_ids}
    return sorted(known - special)


def _ordinary(reader: ModelReader) -> list[int]:
    special = set()
    for name in SPECIAL:
        value = getattr(reader.config, f"{name}_token_id", None)
        special |= set(value) if isinstance(value, list | tuple) else {value}
    return [i for i in range(reader.num_ids) if i not in special]


def _separator(reader, kind: str, separator, tokenizer, candidates: list[int], num_symbols: int) -> int:
    if isinstance(separator, int) and not isinstance(separator, bool):
        if not 0 <= separator < reader.num_ids or (kind == "own" and separator < num_symbols):
            raise ValueError(
                f"separator={separator} must be an id of the model (0 to {reader.num_ids - 1}) that is no symbol's"
            )
        return separator
    if kind == "words":
        for text in SEPARATORS if separator is None else (separator,):
            if (found := _between_words(tokenizer, text, candidates, reader.num_ids)) is not None:
                return found
        raise ValueError(
            f"separator={separator!r}: the tokenizer has no single token for it between words; pass another text, or "
            "an id"
        )
    if isinstance(separator, str):
        raise ValueError(f"separator={separator!r} is a text, and symbols={kind!r} are ids: pass an id")
    own = [reader.config.eos_token_id, reader.bos_token_id, num_symbols]
    own = [i for entry in own for i in (entry if isinstance(entry, list | tuple) else [entry])]
    for i in own if kind == "own" else own[:-1]:
        if i is not None and 0 <= i < reader.num_ids and not (kind == "own" and i < num_symbols):
            return i
    raise ValueError("the model has no EOS or BOS to stand between sentences: pass separator=, one of its ids")


def _between_words(tokenizer, text: str, candidates: list[int], num_ids: int) -> int | None:
    """The one id of a text between two words, None where it is several or changes the words."""
    for word_id in candidates[:1]:
        word = tokenizer.decode([word_id]).strip()
        plain, ids = (
            tokenizer.encode(f"{word} {word}{between} {word}", add_special_tokens=False) for between in ("", text)
        )
        if len(ids) > 2 and ids == [*plain[:-1], ids[-2], plain[-1]] and ids[-2] < num_ids:
            return None if ids[-2] in tokenizer.all_special_ids else ids[-2]
    return None


def _first(reader: ModelReader, bos: Any, separator: int) -> int:
    if bos is False:
        return separator
    if isinstance(bos, str) and bos == "auto":
        own = reader.bos_token_id
        return own if isinstance(own, int) and 0 <= own < reader.num_ids else separator
    if isinstance(bos, bool) or not isinstance(bos, int | np.integer) or not 0 <= bos < reader.num_ids:
        raise ValueError(f"bos={bos!r} must be 'auto', False (the separator), or an id: 0 to {reader.num_ids - 1}")
    return int(bos)


def examples_that_fit(reader: ModelReader, length: int, most: int | None, default: int) -> list[int]:
    """n = 0, 1, 2, 4, .. up to what the model's context holds, or to `most`.

    Args:
        reader ([`~rhm_hf.judging.ModelReader`]): of the model.
        length (`int`): d, tokens of a sentence.
        most (`int`, *optional*): the largest n; by default what fits, at most `default`.
        default (`int`): see `most`.

    Raises:
        `ValueError`: for a context without room for one sentence and the next.
    """
    if most is None:
        room = None if reader.longest is None else (reader.longest + 1) // (length + 1) - 1
        most = default if room is None else max(1, min(default, room))
    counts = [0] + [2**k for k in range(most.bit_length()) if 2**k <= most]
    example = torch.zeros(1, (counts[-1] + 1) * (length + 1) - 1, dtype=torch.int64)
    what = f"a prompt of {counts[-1]} sentences of {length} tokens and the next one needs"
    reader.check_length(example.shape[1], what, example)
    return counts
