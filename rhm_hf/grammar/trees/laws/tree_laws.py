"""Exact laws of trees of every shape: next tokens with END, sentences, hidden symbols given prefixes and sentences."""

from typing import Any

import numpy as np
import torch

from ...laws.inputs import checked_dtype, checked_mask
from ..tree_sampling import Tree
from .charts import chart, token_rows
from .open_beliefs import beliefs
from .prefixes import LN2, ends, next_laws
from .rows import Frame, Rows, TooLarge
from .span_posteriors import SpanLaws, evidence_rows, span_posteriors, whole_sentences
from .tree_draws import trees
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

    @torch.no_grad()
    def causal_posteriors(self, tokens: Any, dtype=None) -> list[torch.Tensor]:
        """The law of the ancestors of every token given the tokens up to it."""
        tokens, lengths = checked_rows(self.source, tokens)
        dtype, n = checked_dtype(dtype), len(tokens)
        laws = [
            torch.zeros(n, tokens.shape[1], self.source.num_symbols_at(level), dtype=dtype, device=tokens.device)
            for level in range(self.source.depth + 1)
        ]

        def compute(part, frame, tables):
            rows = token_rows(frame, tables, tokens[part], lengths[part])
            for law, found in zip(laws, beliefs(frame, tables, rows, chart(frame, tables, rows)), strict=True):
                law[part, : frame.longest] = found

        self._in_chunks(compute, tokens, lengths, dtype)
        return laws

    @torch.no_grad()
    def posteriors(self, tokens: Any = None, mask: Any = None, evidence: Any = None, lengths: Any = None, dtype=None, return_log_evidence: bool = False):
        """The law of every node that a sentence may have, given evidence on its tokens."""
        dtype = checked_dtype(dtype)
        given, lengths = self._evidence(tokens, mask, evidence, lengths, dtype)
        n, length, v = given.shape
        token_laws, root = torch.zeros_like(given), given.new_zeros(n, 1, self.source.num_classes)
        logs = torch.empty(n, dtype=torch.float64, device=given.device)
        spans: list[list[SpanLaws]] = [[] for _ in range(self.source.depth - 1)]

        def compute(part, frame, tables):
            found = span_posteriors(frame, tables, given[part, : frame.longest], lengths[part])
            token_laws[part, : frame.longest], inner, root[part, 0], logs[part] = found
            for collected, laws in zip(spans, inner, strict=True):
                collected.append(SpanLaws(laws.sentence + part.start, laws.start, laws.end, laws.probs))

        self._in_chunks(compute, given, lengths, dtype)
        middle = [
            SpanLaws(*(torch.cat([getattr(laws, name) for laws in level]) for name in ("sentence", "start", "end", "probs")))
            for level in spans
        ]
        laws = [token_laws, *middle, root]
        if return_log_evidence:
            return laws, logs
        refuse_impossible(logs)
        return laws

    @torch.no_grad()
    def sample_posterior(self, tokens: Any = None, mask: Any = None, evidence: Any = None, lengths: Any = None, generator: torch.Generator | None = None) -> list[Tree]:
        """One tree for every row of evidence, drawn from its exact posterior."""
        return self._trees(*self._evidence(tokens, mask, evidence, lengths, torch.float64), generator=generator)

    @torch.no_grad()
    def most_probable_parse(self, tokens: Any) -> list[Tree]:
        """The most probable tree of every sentence; of equally probable ones the same one every time."""
        return self._trees(*self._evidence(tokens, None, None, None, torch.float64), best=True)

    def _trees(self, given, lengths, generator=None, best=False) -> list[Tree]:
        found: list[Tree | None] = [None] * len(given)

        def compute(part, frame, tables):
            rows = evidence_rows(frame, given[part, : frame.longest], lengths[part])
            found[part] = trees(frame, tables, rows, chart(frame, tables, rows), lengths[part], generator, best)

        self._in_chunks(compute, given, lengths, torch.float64, maximise=best)
        refuse_impossible(torch.tensor([-torch.inf if tree is None else 0.0 for tree in found]))
        return found

    @torch.no_grad()
    def log_num_derivations(self, tokens: Any) -> torch.Tensor:
        """The logarithm of the number of trees that derive each sentence: float64 `(n,)`, -inf for none."""
        mantissas, exponents = self._counted(tokens)
        return mantissas.log() + LN2 * exponents

    @torch.no_grad()
    def num_derivations(self, tokens: Any) -> torch.Tensor:
        """The number of trees (root symbol and rules) that derive each sentence: int64 `(n,)`."""
        mantissas, exponents = self._counted(tokens)
        if bool((exponents > 53).any()):
            raise ValueError("a sentence has more than 2^53 derivations: use log_num_derivations, which is not exact")
        return torch.exp2(exponents.clamp(min=0).double()).mul_(mantissas).round_().to(torch.int64)

    @torch.no_grad()
    def num_roots(self, tokens: Any) -> torch.Tensor:
        """How many symbols of the root can derive each sentence: int64 `(n,)`."""
        tokens, lengths = checked_rows(self.source, tokens)
        counts = torch.zeros(len(tokens), dtype=torch.int64, device=tokens.device)

        def compute(part, frame, tables):
            top = chart(frame, tables, token_rows(frame, tables, tokens[part], lengths[part]))[-1].symbols
            whole = whole_sentences(frame, top, lengths[part])
            counts[part.start + top.sentence[whole]] = (top.vectors[whole] * tables.root_probs > 0).sum(1)

        self._in_chunks(compute, tokens, lengths, torch.float64, counting=True)
        return counts

    def _counted(self, tokens: Any) -> tuple[torch.Tensor, torch.Tensor]:
        tokens, lengths = checked_rows(self.source, tokens)
        mantissas = torch.zeros(len(tokens), dtype=torch.float64, device=tokens.device)
        exponents = torch.zeros(len(tokens), dtype=torch.int64, device=tokens.device)

        def compute(part, frame, tables):
            top = chart(frame, tables, token_rows(frame, tables, tokens[part], lengths[part]))[-1].symbols
            whole = whole_sentences(frame, top, lengths[part])
            at = part.start + top.sentence[whole]
            mantissas[at] = (top.vectors[whole] * tables.root_probs).sum(1)
            exponents[at] = top.exponents[whole]

        self._in_chunks(compute, tokens, lengths, torch.float64, counting=True)
        return mantissas, exponents

    def _evidence(self, tokens, mask, evidence, lengths, dtype) -> tuple[torch.Tensor, torch.Tensor]:
        """Likelihoods `(n, T, v)` and lengths."""
        if (tokens is None) == (evidence is None):
            raise ValueError("give either tokens (with or without a mask) or evidence, of shape (sentences, T, vocab_size)")
        v = self.source.vocab_size
        if evidence is None:
            if lengths is not None:
                raise ValueError("lengths goes with evidence; the length of a row of tokens is where PAD begins")
            tokens, lengths, mask = masked_rows(self.source, tokens, mask)
            given = torch.zeros(*tokens.shape, v, dtype=dtype, device=tokens.device)
            given.scatter_(2, tokens[..., None], 1.0)
            if mask is not None:
                given[mask] = 1.0
            return given, lengths
        if mask is not None:
            raise ValueError("mask goes with tokens; in evidence a hidden token is a row of ones")
        given = checked_evidence(self.source, evidence).to(dtype)
        if lengths is None:
            lengths = torch.full((len(given),), given.shape[1], device=given.device)
        lengths = torch.as_tensor(lengths, device=given.device).to(torch.int64)
        if lengths.shape != given.shape[:1] or (len(lengths) and not 0 <= int(lengths.min()) <= int(lengths.max()) <= given.shape[1]):
            raise ValueError(f"lengths must be {len(given)} integers of 0..{given.shape[1]}, one a row of evidence")
        return given, lengths

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


def masked_rows(source, tokens: Any, mask: Any):
    """Checked tokens, lengths and mask; hidden tokens may hold anything but PAD and become 0."""
    if mask is None:
        return *checked_rows(source, tokens), None
    tokens = tokens if isinstance(tokens, torch.Tensor) else torch.as_tensor(np.asarray(tokens).astype(np.int64))
    mask = checked_mask(mask, tokens)
    hidden = mask & (tokens != source.vocab_size + 1)
    tokens, lengths = checked_rows(source, torch.where(hidden, 0, tokens))
    inside = torch.arange(tokens.shape[1], device=tokens.device) < lengths[:, None]
    return tokens, lengths, mask & inside


def checked_evidence(source, evidence: Any) -> torch.Tensor:
    """Soft evidence `(sentences, T, v)`: floating point, finite and nowhere negative."""
    evidence = torch.as_tensor(np.asarray(evidence)) if not isinstance(evidence, torch.Tensor) else evidence
    if evidence.ndim != 3 or evidence.shape[2] != source.vocab_size:
        raise ValueError(
            f"evidence has shape {tuple(evidence.shape)}: it must be (sentences, T, {source.vocab_size})"
        )
    evidence = evidence.to(torch.float64)
    if evidence.numel() and not bool(((evidence >= 0) & (evidence < torch.inf)).all()):
        bad = evidence[~((evidence >= 0) & (evidence < torch.inf))][0].item()
        raise ValueError(f"evidence holds {bad}: likelihoods must be finite and >= 0")
    return evidence


def refuse_impossible(logs: torch.Tensor) -> None:
    """Raises the `ValueError` that names the first row without any tree."""
    impossible = logs.isneginf()
    if bool(impossible.any()):
        row = int(impossible.nonzero()[0])
        raise ValueError(
            f"row {row} has no derivation: its evidence is impossible under this grammar; leave such rows out "
            "(log_prob is -inf there)"
        )
