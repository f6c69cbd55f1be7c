"""Exact laws of trees of every shape: next tokens with END, sentences, hidden symbols given prefixes and sentences."""

from typing import Any

import numpy as np
import torch

from ...laws.inputs import checked_dtype
from .charts import chart, token_rows
from .prefixes import LN2, ends, next_laws
from .rows import Frame, TooLarge
from .tree_tables import TreeTables


CHUNK_TOKENS = {"cpu": 2**13, "cuda": 2**16}
BUDGET_BYTES = {"cpu": 2**28, "cuda": 2**31}  # of the rows of one kind: a batch that needs more is cut in two


class TreeLaws:
    """The exact laws of a [`TreeGrammar`]. Tables are kept for every device and dtype."""

    def __init__(self, source):
        self.source = source
        self._tables: dict[tuple, TreeTables] = {}

    def tables(self, device: torch.device, dtype: torch.dtype, counting: bool = False) -> TreeTables:
        key = (str(device), dtype, counting)
        if key not in self._tables:
            self._tables[key] = TreeTables(self.source, device, dtype, counting)
        return self._tables[key]

    @torch.no_grad()
    def token_laws(self, tokens: Any, positions: int | None = None, context_level=None, context_length=None, dtype=None):
        """The laws of the next token, or END, at the positions 0 .. positions - 1 of padded sentences or prefixes."""
        tokens, lengths = checked_rows(self.source, tokens)
        positions = tokens.shape[1] + 1 if positions is None else positions
        dtype = checked_dtype(dtype)
        v = self.source.vocab_size
        laws = torch.full((len(tokens), positions, v + 1), 1 / (v + 1), dtype=dtype, device=tokens.device)
        valid = torch.zeros(len(tokens), positions, dtype=torch.bool, device=tokens.device)

        def compute(part, frame, tables):
            own = lengths[part]
            levels = chart(frame, tables, token_rows(frame, tables, tokens[part], own))
            probs, exists, _ = next_laws(frame, tables, levels)
            size = min(positions, frame.longest + 1)
            inside = torch.arange(size, device=own.device) <= own[:, None]
            valid[part, :size] = exists[:, :size] & inside
            laws[part, :size] = torch.where(valid[part, :size, None], probs[:, :size], 1 / (v + 1))

        self._in_chunks(compute, tokens, lengths, dtype)
        return laws, valid

    @torch.no_grad()
    def log_prob(self, tokens: Any, dtype=None) -> torch.Tensor:
        """log P(x) in nats, END included: float64 `(n,)`, -inf where no tree derives the sentence."""
        tokens, lengths = checked_rows(self.source, tokens)
        logs = torch.empty(len(tokens), dtype=torch.float64, device=tokens.device)

        def compute(part, frame, tables):
            levels = chart(frame, tables, token_rows(frame, tables, tokens[part], lengths[part]))
            end, exponents = ends(frame, tables, levels[-1].symbols)
            place = frame.places(torch.arange(frame.num_sentences, device=end.device), lengths[part])
            logs[part] = end[place].double().log() + LN2 * exponents[place].double()

        self._in_chunks(compute, tokens, lengths, checked_dtype(dtype))
        return logs

    def _in_chunks(self, compute, tokens, lengths, dtype, counting=False, maximise=False) -> None:
        """Calls `compute(part, frame, tables)` for slices of the sentences that fit the memory."""
        tables = self.tables(tokens.device, dtype, counting)
        kind = "cpu" if tokens.device.type == "cpu" else "cuda"
        size = max(1, CHUNK_TOKENS[kind] // (tokens.shape[1] + 1))
        parts = [slice(first, min(first + size, len(tokens))) for first in range(0, len(tokens), size)][::-1]
        while parts:
            part = parts.pop()
            longest = int(lengths[part].max())
            frame = Frame(part.stop - part.start, longest, BUDGET_BYTES[kind], maximise)
            try:
                compute(part, frame, tables)
            except TooLarge:
                middle = (part.start + part.stop) // 2
                parts += [slice(middle, part.stop), slice(part.start, middle)]


def checked_rows(source, tokens: Any) -> tuple[torch.Tensor, torch.Tensor]:
    """Sentences or prefixes of any type as int64 `(n, T)`, and their lengths `(n,)`.

    A row's length is the number of ids before its first PAD = v + 1; lists of lists may have different lengths.
    """
    pad, v = source.vocab_size + 1, source.vocab_size
    if not isinstance(tokens, torch.Tensor | np.ndarray):
        rows = [np.asarray(row) for row in tokens]
        if any(row.ndim != 1 or (row.size and row.dtype.kind not in "iu") for row in rows):
            raise ValueError("tokens must be rows of integers: one sentence is [tokens]")
        filled = np.full((len(rows), max(map(len, rows), default=0)), pad, dtype=np.int64)
        for row, given in zip(filled, rows, strict=True):
            row[: len(given)] = given
        tokens = filled
    if isinstance(tokens, np.ndarray):
        if tokens.dtype.kind not in "iu":
            raise ValueError(f"tokens has dtype {tokens.dtype}: symbols must be integers")
        tokens = torch.from_numpy(tokens.astype(np.int64))
    if tokens.is_floating_point() or tokens.is_complex() or tokens.dtype == torch.bool:
        raise ValueError(f"tokens has dtype {tokens.dtype}: symbols must be integers")
    if tokens.ndim != 2:
        raise ValueError(f"tokens has shape {tuple(tokens.shape)}: it must be (sentences, T); one sentence is tokens[None]")
    tokens = tokens.to(torch.int64)
    inside = (tokens != pad).cumprod(1).bool()
    tokens = torch.where(inside, tokens, 0)
    if tokens.numel():
        lowest, highest = torch.stack(tokens.aminmax()).tolist()
        if lowest < 0 or highest >= v:
            raise ValueError(
                f"tokens holds {lowest if lowest < 0 else highest}, out of range: vocab_size={v}, so symbols are 0 to "
                f"{v - 1} and PAD is {pad}; other special ids such as BOS must be removed"
            )
    return tokens, inside.sum(1)
