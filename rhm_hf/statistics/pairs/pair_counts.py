"""`PairCounts`: how often two tokens occur at a distance t, counted in pieces, merged, saved and resumed.

Counts are kept by *block*: the pairs whose right token is number i of the corpus belong to block
(i // block_length) mod num_blocks. Blocks are what error bars, unbiased products of two halves and bootstraps are made
of. The block of a pair does not depend on how the corpus was cut into pieces, so neither does any result.
"""

import json
import os
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from safetensors import safe_open
from safetensors.numpy import save_file

from ...checks import NonNegativeInt, PositiveInt, checked
from .checked_ids import as_tensor, checked_array, checked_distances, compact_ids
from .count_tables import DenseTables, Layout, Piece, SparseTables
from .pair_laws import BlockTable


FORMAT = 1
DENSE_ENTRIES = 2**27  # 1 GiB of counts; larger tables are sparse
PIECE_TOKENS = 2**24  # a larger array is read in pieces: a memory-mapped file never lies in memory as a whole
SPARSE_PIECE_TOKENS = 2**21  # sorting needs some 50 bytes a token


class PairCounts:
    """Counts of the pairs (x_(i-t), x_i) at chosen distances t.

    Args:
        distances (`Iterable[int]`): t >= 1, tokens.
        vocab_size (`int`): v; tokens are 0 .. v-1.
        anchor (`str`, *optional*, defaults to `"all"`): `"all"` pairs, or `"last"`: only those that end with the last
            token of a row or document, (x_(d-1-t), x_(d-1)).
        num_left (`int`, *optional*): count other ids, 0 .. num_left-1, as left members (tuples, classes, latent
            symbols); they are then given beside the tokens, -1 where there is none.
        center (`str`, *optional*, defaults to `"pooled"`): what C = J - p q^T subtracts: `"pooled"`, J's own
            marginals, or `"position"`, the mean of p_i q_(i+t) over the positions i of rows of equal length.
        num_blocks (`int`, *optional*, defaults to 32): see above; 1 where no error bars are wanted.
        block_length (`int`, *optional*, defaults to 16384): tokens, much more than the largest distance.
        start (`int`, *optional*, defaults to 0): number of the first token in the corpus, for shards whose merged
            counts should equal those of one pass to the last block.
        sparse (`bool`, *optional*): keep only pairs that occur; by default where dense tables would take over 1 GiB.
        device (`torch.device`, *optional*, defaults to the CPU): where counts are kept; tokens are moved there.
        num_threads (`int`, *optional*, defaults to 1): threads that share the distances of dense counting on the CPU.
    """

    @checked
    def __init__(
        self,
        distances: Iterable[int],
        vocab_size: int,
        *,
        anchor: str = "all",
        num_left: int | None = None,
        center: str = "pooled",
        num_blocks: PositiveInt = 32,
        block_length: int = 2**14,
        start: int = 0,
        sparse: bool | None = None,
        device: torch.device | str = "cpu",
        num_threads: PositiveInt = 1,
    ):
        distances = checked_distances(distances)
        for name, value, least in (
            ("vocab_size", vocab_size, 1),
            ("num_blocks", num_blocks, 1),
            ("block_length", block_length, 1),
            ("start", start, 0),
            ("num_threads", num_threads, 1),
            *([] if num_left is None else [("num_left", num_left, 1)]),
        ):
            if isinstance(value, bool) or not isinstance(value, int | np.integer) or value < least:
                raise ValueError(f"{name}={value!r} must be an integer >= {least}")
        if anchor not in ("all", "last"):
            raise ValueError(f"anchor={anchor!r} is unknown: it must be 'all' or 'last'")
        if center not in ("pooled", "position") or (center == "position" and (anchor == "last" or num_left)):
            raise ValueError(
                f"center={center!r} with anchor={anchor!r}: it must be 'pooled', or 'position' with anchor='all' and "
                "without num_left (anchor='last' has one position only)"
            )
        self.settings: dict[str, Any] = {
            "distances": list(distances),
            "vocab_size": int(vocab_size),
            "anchor": anchor,
            "num_left": num_left,
            "center": center,
            "num_blocks": int(num_blocks),
            "block_length": int(block_length),
        }
        # A left id of -1 is counted in one more row, which is left out at the end: nothing branches.
        rows = vocab_size if num_left is None else num_left + 1
        self._layout = Layout(distances, anchor == "last", rows, vocab_size, num_blocks, block_length)
        if self._layout.size * num_blocks >= 2**63:
            raise ValueError(f"num_left={rows} x vocab_size={vocab_size} x num_blocks={num_blocks} exceeds 64 bits")
        entries = self._layout.size * num_blocks * len(distances)
        self.is_sparse: bool = entries > DENSE_ENTRIES if sparse is None else bool(sparse)
        self.device: torch.device = torch.device(device)
        self._tables = (SparseTables if self.is_sparse else DenseTables)(self._layout, self.device)
        self._positions: torch.Tensor | None = None  # (blocks, d, v), where centred by position
        self._position = start
        self._carry: tuple[torch.Tensor, torch.Tensor] | None = None  # the end of the open document
        self._threads = num_threads
        self.num_tokens: int = 0
        self.longest: int = 0  # tokens of the longest document, for error messages
        self._open_length = 0

    # Counting.

    @checked
    def add(self, tokens: Any, left: Any = None) -> "PairCounts":
        """Counts whole documents.

        Args:
            tokens: an array `(n, d)` of n rows, or `(n,)`, one document; numpy (memory-mapped too), torch or lists.
            left (*optional*): the ids of left members, of the same shape; needed where `num_left` was given.

        Returns:
            `PairCounts`: this one.

        Raises:
            `ValueError`: for anything but integers in range.
        """
        self.close()
        tokens, left = checked_array("tokens", tokens), None if left is None else checked_array("left", left)
        if left is not None and left.shape != tokens.shape:
            raise ValueError(f"left has shape {tuple(left.shape)}: it must be that of tokens, {tuple(tokens.shape)}")
        if tokens.ndim == 1 and not self._layout.only_last:
            step = self._piece_tokens
            for at in range(0, len(tokens), step):
                self.extend(tokens[at : at + step], None if left is None else left[at : at + step])
            self.close()
            return self
        if tokens.ndim == 1:
            tokens, left = tokens[None], None if left is None else left[None]
        if tokens.ndim != 2:
            raise ValueError(f"tokens has shape {tuple(tokens.shape)}: it must be (rows, length) or (length,)")
        length = tokens.shape[1]
        step = max(1, self._piece_tokens // max(1, length))
        for at in range(0, len(tokens) if length else 0, step):
            part = tokens[at : at + step]
            starts = torch.arange(len(part) + 1) * length
            self._count(part.reshape(-1), None if left is None else left[at : at + step].reshape(-1), starts)
            self.longest = max(self.longest, length)
        return self

    @checked
    def add_documents(self, documents: Iterable[Any], block: NonNegativeInt | None = None) -> "PairCounts":
        """Counts documents of any lengths, each an array or list of tokens; windows never cross their borders.

        Args:
            documents (`Iterable`): of arrays or lists of tokens.
            block (`int`, *optional*): puts their pairs into this block wherever the counting stands; `block_length`
                has to exceed their tokens.
        """
        self.close()
        if block is not None:
            self._position = block * self._layout.block_length
        waiting, size = [], 0
        for document in documents:
            document = checked_array("a document", document)
            if document.ndim != 1:
                raise ValueError(f"a document has shape {tuple(document.shape)}: it must be (length,)")
            if len(document):
                waiting.append(document)
                size += len(document)
            if size >= self._piece_tokens:
                self._count_documents(waiting)
                waiting, size = [], 0
        if waiting:
            self._count_documents(waiting)
        return self

    @checked
    def extend(self, tokens: Any, left: Any = None) -> "PairCounts":
        """Counts the next tokens `(n,)` of the open document: pairs reach back into earlier pieces."""
        if self._layout.only_last:
            raise ValueError("anchor='last' needs whole documents: use add or add_documents")
        tokens, left = checked_array("tokens", tokens), None if left is None else checked_array("left", left)
        if tokens.ndim != 1 or (left is not None and left.shape != tokens.shape):
            raise ValueError(f"tokens has shape {tuple(tokens.shape)}: a piece, and its left ids, must be (length,)")
        if len(tokens):
            self._count(tokens, left, None)
        return self

    def close(self) -> "PairCounts":
        """Ends the open document of [`PairCounts.extend`]; what comes next has no pairs with it."""
        self._carry, self._open_length = None, 0
        return self

    @property
    def _piece_tokens(self) -> int:
        return PIECE_TOKENS if not self.is_sparse and self.device.type == "cpu" else SPARSE_PIECE_TOKENS

    def _count_documents(self, documents: Sequence[Any]) -> None:
        lengths = [len(document) for document in documents]
        self.longest = max(self.longest, *lengths)
        flat = torch.cat([as_tensor(document) for document in documents])
        self._count(flat, None, torch.tensor([0, *lengths]).cumsum(0))

    def _count(self, tokens: Any, left: Any, starts: torch.Tensor | None) -> None:
        """Counts flat tokens: documents that start at `starts`, or where None the next piece of the open one."""
        layout, settings = self._layout, self.settings
        right = compact_ids("tokens", tokens, 0, settings["vocab_size"] - 1, self.device)
        if (left is None) != (settings["num_left"] is None):
            raise ValueError("left ids must be given if and only if num_left was")
        left = right if left is None else compact_ids("left", left, -1, settings["num_left"] - 1, self.device)
        new, first = len(right), 0
        if starts is None:
            if self._carry is not None:
                first = len(self._carry[0])
                left, right = (torch.cat(parts) for parts in zip(self._carry, (left, right), strict=True))
            starts = torch.tensor([0, len(right)])
            keep = max(layout.distances)
            self._carry = left[-keep:].clone(), right[-keep:].clone()
            self._open_length += new
            self.longest = max(self.longest, self._open_length)
        piece = Piece(left, right, starts, first, self._position)
        if settings["center"] == "position":
            self._count_positions(piece)
        self._tables.count(piece, self._threads)
        self._position += new
        self.num_tokens += new

    def _count_positions(self, piece: Piece) -> None:
        lengths = piece.starts.diff()
        length, layout = int(lengths[0]), self._layout
        if self._positions is None:
            shape = (layout.num_blocks, length, layout.num_right)
            self._positions = torch.zeros(shape, dtype=torch.int64, device=self.device)
        if bool((lengths != length).any()) or length != self._positions.shape[1] or piece.first:
            raise ValueError("center='position' needs rows of one length: use add with arrays (rows, length)")
        number = torch.arange(len(piece.right), device=self.device)
        block = (number + piece.position) // layout.block_length % layout.num_blocks
        keys = (block * length + number % length) * layout.num_right + piece.right.long()
        self._positions += torch.bincount(keys, minlength=self._positions.numel()).view(self._positions.shape)

    # Merging.

    @checked
    def merge(self, other: "PairCounts") -> "PairCounts":
        """Adds what another one of the same settings has counted; returns this one."""
        for name, value in self.settings.items():
            if other.settings[name] != value:
                raise ValueError(f"{name}={other.settings[name]!r} of the other counts differs from {value!r}")
        if self.is_sparse != other.is_sparse:
            raise ValueError(f"sparse={other.is_sparse} of the other counts differs: give sparse= to both")
        self._tables.merge(other._tables)
        if other._positions is not None:
            theirs = other._positions.to(self.device)
            self._positions = theirs.clone() if self._positions is None else self._positions + theirs
        self.num_tokens += other.num_tokens
        self.longest = max(self.longest, other.longest)
        return self

    def __add__(self, other: "PairCounts") -> "PairCounts":
        merged = type(self)(**self.settings, sparse=self.is_sparse, device=self.device, num_threads=self._threads)
        return merged.merge(self).merge(other)

    # Results.

    @property
    def distances(self) -> tuple[int, ...]:
        return self._layout.distances

    @checked
    def blocks(self, distance: int) -> BlockTable:
        """The counts of one distance by block.

        Raises:
            `ValueError`: if this distance was not counted, or no document was long enough for it.
        """
        if distance not in self.distances:
            raise ValueError(f"distance={distance} was not counted: {list(self.distances)} were")
        index, layout = self.distances.index(distance), self._layout
        positions = None if self._positions is None else self._positions.cpu().numpy()
        table = BlockTable(
            self._tables.entries(index),
            (layout.num_blocks, layout.num_left, layout.num_right),
            distance,
            positions,
            self.settings["num_left"],
        )
        if not len(table.occupied):
            longest = f"the longest document has {self.longest} tokens" if self.num_tokens else "the text is empty"
            if self.settings["num_left"] is not None and self.longest > distance:
                longest = (
                    "left holds -1 wherever a left member would be (tuple_ids: t is a multiple of the block length)"
                )
            raise ValueError(
                f"distances: distance={distance} has no pairs: {longest}, and a pair needs {distance + 1}; give "
                "smaller distances or more text"
            )
        return table

    @checked
    def table(self, distance: int) -> np.ndarray:
        """The counts of one distance as one dense int64 array `(left, right)`."""
        table = self.blocks(distance)
        law = table.law()
        counts = np.rint(law.values * law.num_pairs).astype(np.int64)
        if table.pattern is None:
            return counts
        dense = np.zeros((table.num_left, table.num_right), np.int64)
        dense[table.pattern] = counts
        return dense

    # Storage.

    @checked
    def save(self, file: str | Path) -> None:
        """Writes one safetensors file, the settings as JSON in its header; renamed into place when complete."""
        state = self._tables.state()
        if self._positions is not None:
            state["positions"] = self._positions.cpu().numpy()
        if self._carry is not None:
            state["carry.left"], state["carry.right"] = (part.cpu().numpy() for part in self._carry)
        facts = ("num_tokens", "longest", "_position", "_open_length", "is_sparse")
        header = {"format": FORMAT, "settings": self.settings} | {name: getattr(self, name) for name in facts}
        partial = f"{file}.{os.getpid()}.partial"
        save_file(state, partial, metadata={"pair_counts": json.dumps(header)})
        os.replace(partial, file)

    @classmethod
    @checked
    def load(cls, file: str | Path, device: torch.device | str = "cpu", num_threads: PositiveInt = 1) -> "PairCounts":
        """Reads what [`PairCounts.save`] wrote; counting goes on where it stopped."""
        with safe_open(str(file), "np") as opened:
            header = json.loads((opened.metadata() or {}).get("pair_counts", "{}"))
            if header.get("format") != FORMAT:
                raise ValueError(f"{file} has format {header.get('format')!r}: this version of rhm_hf reads {FORMAT}")
            state = {name: opened.get_tensor(name) for name in opened.keys()}  # noqa: SIM118  it is no dict
        sparse = header.pop("is_sparse")
        counts = cls(**header.pop("settings"), sparse=sparse, device=device, num_threads=num_threads)
        counts._tables.load(state)
        for name in ("num_tokens", "longest", "_position", "_open_length"):
            setattr(counts, name, header[name])
        if "positions" in state:
            counts._positions = torch.from_numpy(state["positions"]).to(counts.device)
        if "carry.left" in state:
            counts._carry = tuple(torch.from_numpy(state[f"carry.{s}"]).to(counts.device) for s in ("left", "right"))
        return counts
