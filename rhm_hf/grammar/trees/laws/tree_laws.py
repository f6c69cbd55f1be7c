"""Exact laws of trees of every shape: next tokens with END, sentences, hidden symbols given prefixes and sentences."""

from collections.abc import Callable
from typing import Any

import torch

from ...laws.base import Laws
from ...laws.inputs import checked_dtype
from ...laws.posteriors import refuse_impossible
from ...refusal import NotSupported
from ..tree_sampling import Tree
from .open_beliefs import beliefs
from .span_posteriors import SpanLaws, evidence_rows, span_posteriors, whole_sentences
from .span_rows import Frame, Rows, TooLarge
from .tree_charts import Level, chart, token_rows
from .tree_draws import trees
from .tree_inputs import given_evidence, lengths_of
from .tree_prefixes import LN2, ends, next_laws
from .tree_tables import TreeTables


CHUNK_TOKENS = {"cpu": 2**14, "cuda": 2**18}
BUDGET_BYTES = {"cpu": 2**28, "cuda": 2**31}


class TreeLaws(Laws):
    """The exact laws of a [`TreeGrammar`] (algorithm: a chart with a grammar of its own for every level).

    Rows of tokens are lists of lists, arrays or tensors `(n, T)`; a row's length is the number of ids before its first
    PAD = v + 1. Results are on the tokens' device, float64 by default, float32 on request; neither underflows at any
    length. `END` is the outcome v, the last column of next-token laws.

    Memory: a sentence of n tokens has at most n (a^l - b^l + 1) spans on level l, a and b the largest and the smallest
    arity, and random grammars make few of them possible. A possible one takes V numbers for the symbols of its level
    and, for each j < a, up to v^j for beginnings of j children. Sentences are handled in chunks of 2^14 tokens (2^18
    on CUDA); a chunk with more than 256 MiB (2 GiB) of one kind is cut in two, down to one sentence. Products of pairs
    take 4 MiB (256 MiB) at a time. `posteriors` keeps all products for automatic differentiation and takes fewer
    tokens at once, about 2^28 / (96 v^2) (2^31 on CUDA). Tables take up to v^(a+1) numbers a level; more than 2^27 are
    refused. Symbols whose weight over a span is below 1e-307 (1e-37 in float32) of the likeliest one's count as
    impossible.
    """

    def __init__(self, source: Any):
        super().__init__(source)
        self._tables: dict[tuple, TreeTables] = {}

    def tables(self, device: torch.device, dtype: torch.dtype, counting: bool = False) -> TreeTables:
        """The rules as tensors, made once."""
        key = (str(device), dtype, counting)
        if key not in self._tables:
            self._tables[key] = TreeTables(self.source, device, dtype, counting)
        return self._tables[key]

    @torch.no_grad()
    def token_laws(
        self,
        tokens: torch.Tensor,
        positions: int | None = None,
        context_level: int | None = None,
        context_length: int | None = None,
        dtype: torch.dtype = torch.float64,
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """The laws of the next token, or END, given the tokens before, from one sweep over the sentences.

        Args:
            tokens (`torch.Tensor`): sentences or prefixes `(n, T)`.
            positions (`int`, *optional*, defaults to T + 1): how many laws of each row.
            context_level, context_length: truncated contexts; refused, see below.
            dtype (`torch.dtype`, *optional*, defaults to `torch.float64`): of the computation.

        Returns:
            Laws `(n, positions, v + 1)`: entry `[b, i]` is P(x_i = . or END | x_<i), and bool `(n, positions)`:
            whether i is within the row and x_<i has positive probability. Elsewhere no law exists: rows are uniform.

        Raises:
            [`NotSupported`]: for truncated contexts: lengths vary, so that blocks and positions are hidden.
        """
        if context_level is not None or context_length is not None:
            asked = f"context_level={context_level!r}" if context_level is not None else f"{context_length=}"
            raise NotSupported(asked, self.source, "its blocks and positions are hidden", "use the full context")
        lengths = lengths_of(self.source, tokens)
        positions = tokens.shape[1] + 1 if positions is None else positions
        laws, valid = self._next_tokens(tokens, lengths, positions, dtype)
        beyond = torch.arange(positions, device=tokens.device) > lengths[:, None]
        doubtful = (~valid & ~beyond).any(1).nonzero().squeeze(1)
        if dtype == torch.float32 and len(doubtful):  # impossible, or too small for float32: float64 tells
            again = self._next_tokens(tokens[doubtful], lengths[doubtful], positions, torch.float64)
            laws[doubtful], valid[doubtful] = again[0].to(dtype), again[1]
        return laws, valid

    def _next_tokens(self, tokens, lengths, positions: int, dtype) -> tuple[torch.Tensor, torch.Tensor]:
        outcomes = self.source.num_outcomes
        laws = torch.full((len(tokens), positions, outcomes), 1 / outcomes, dtype=dtype, device=tokens.device)
        valid = torch.zeros(len(tokens), positions, dtype=torch.bool, device=tokens.device)

        def compute(part, frame, tables, rows, levels):
            probs, exists, _ = next_laws(frame, tables, levels)
            size = min(positions, frame.longest + 1)
            inside = torch.arange(size, device=tokens.device) <= lengths[part, None]
            valid[part, :size] = exists[:, :size] & inside
            laws[part, :size] = torch.where(valid[part, :size, None], probs[:, :size], 1 / outcomes)

        self._over_charts(compute, tokens, lengths, dtype)
        return laws, valid

    @torch.no_grad()
    def log_prob(self, tokens: torch.Tensor, dtype: torch.dtype = torch.float64) -> torch.Tensor:
        """log P(x) in nats, END included: `(n,)`, -inf where no tree derives the sentence; computed in float64."""
        lengths = lengths_of(self.source, tokens)
        logs = torch.empty(len(tokens), dtype=torch.float64, device=tokens.device)

        def compute(part, frame, tables, rows, levels):
            end, exponents = ends(frame, tables, levels[-1].symbols)
            place = frame.places(torch.arange(frame.num_sentences, device=end.device), lengths[part])
            logs[part] = end[place].double().log() + LN2 * exponents[place].double()

        self._over_charts(compute, tokens, lengths, torch.float64)
        return logs.to(dtype)

    @torch.no_grad()
    def prefix_log_prob(self, tokens: Any) -> torch.Tensor:
        """log P(a sentence begins with x_<i) in nats: float64 `(n, T + 1)`; -inf where impossible and past the row."""
        tokens = self.checked(tokens)
        lengths = lengths_of(self.source, tokens)
        shape = len(tokens), tokens.shape[1] + 1
        logs = torch.full(shape, -torch.inf, dtype=torch.float64, device=tokens.device)

        def compute(part, frame, tables, rows, levels):
            inside = torch.arange(frame.longest + 1, device=tokens.device) <= lengths[part, None]
            found = next_laws(frame, tables, levels)[2]
            logs[part, : frame.longest + 1] = torch.where(inside, found, -torch.inf)

        self._over_charts(compute, tokens, lengths, torch.float64)
        return logs

    @torch.no_grad()
    def causal_posteriors(self, tokens: torch.Tensor, dtype: torch.dtype = torch.float64) -> list[torch.Tensor]:
        """The law of every token's ancestors given the tokens up to it: what a reader of the prefix can believe.

        Returns:
            Entry ℓ - 1, ℓ = 1..L, `(n, T, symbols of level ℓ)`: row i is the law of the level-ℓ node above token i
            given x_0 .. x_i, whatever its span; zero beyond a row's length and where the prefix is impossible.
        """
        lengths = lengths_of(self.source, tokens)
        laws = self._beliefs(tokens, lengths, dtype)
        inside = torch.arange(tokens.shape[1], device=tokens.device) < lengths[:, None]
        doubtful = ((laws[0] == 0).all(2) & inside).any(1).nonzero().squeeze(1)
        if dtype == torch.float32 and len(doubtful):
            again = self._beliefs(tokens[doubtful], lengths[doubtful], torch.float64)
            for law, found in zip(laws, again, strict=True):
                law[doubtful] = found.to(dtype)
        return laws

    def _beliefs(self, tokens, lengths, dtype) -> list[torch.Tensor]:
        sizes = [self.source.num_symbols_at(level) for level in range(1, self.source.depth + 1)]
        laws = [torch.zeros(*tokens.shape, size, dtype=dtype, device=tokens.device) for size in sizes]

        def compute(part, frame, tables, rows, levels):
            for law, found in zip(laws, beliefs(frame, tables, rows, levels)[1:], strict=True):
                law[part, : frame.longest] = found

        self._over_charts(compute, tokens, lengths, dtype)
        return laws

    @torch.no_grad()
    def posteriors(
        self,
        tokens: Any = None,
        mask: Any = None,
        evidence: Any = None,
        dtype: torch.dtype | None = None,
        return_log_evidence: bool = False,
        lengths: Any = None,
    ) -> list[torch.Tensor | SpanLaws] | tuple[list[torch.Tensor | SpanLaws], torch.Tensor]:
        """The law of every node that a sentence of known length may have, given evidence on its tokens.

        Args:
            tokens (tensor, array or list, *optional*): `(n, T)`, padded; hidden entries may hold anything but PAD.
            mask (tensor, array or list, *optional*): bool `(n, T)`, True where a token is hidden.
            evidence (tensor, array or list, *optional*): instead of tokens, likelihoods >= 0 `(n, T, v)`.
            dtype (`torch.dtype`, *optional*, defaults to `torch.float64`): of the computation.
            return_log_evidence (`bool`, *optional*, defaults to `False`): also return log P(evidence, length) in nats.
            lengths (*optional*): integers `(n,)`, the lengths of the rows of evidence; T by default.

        Returns:
            Entry 0: the tokens' laws `(n, T, v)`; entries 1 .. L - 1: [`SpanLaws`]; entry L: the root's law
            `(n, 1, symbols)`. Where there is no token, and where the evidence is impossible, laws are zero.

        Raises:
            `ValueError`: for bad input, and for impossible evidence unless `return_log_evidence` is set.
        """
        dtype = checked_dtype(dtype)
        given, lengths = given_evidence(self.source, tokens, mask, evidence, lengths, torch.float64)
        laws, logs = self._posteriors(given.to(dtype), lengths)
        if dtype == torch.float32 and bool(logs.isneginf().any()):  # impossible, or too small for float32
            laws, logs = self._posteriors(given, lengths)
            laws = [law.to(dtype) if isinstance(law, torch.Tensor) else law.in_dtype(dtype) for law in laws]
        if return_log_evidence:
            return laws, logs
        refuse_impossible(logs)
        return laws

    def _posteriors(self, given, lengths) -> tuple[list[torch.Tensor | SpanLaws], torch.Tensor]:
        token_laws, root = torch.zeros_like(given), given.new_zeros(len(given), 1, self.source.num_classes)
        logs = torch.empty(len(given), dtype=torch.float64, device=given.device)
        spans: list[list[SpanLaws]] = [[] for _ in range(self.source.depth - 1)]

        def compute(part, frame, tables):
            found = span_posteriors(frame, tables, given[part, : frame.longest], lengths[part])
            token_laws[part, : frame.longest], inner, root[part, 0], logs[part] = found
            for collected, laws in zip(spans, inner, strict=True):
                collected.append(SpanLaws(laws.sentence + part.start, laws.start, laws.end, laws.probs))

        # What automatic differentiation keeps: about a dozen tables of two symbols for every token.
        tables = self.tables(given.device, given.dtype)
        widest = max(t.num_symbols * t.num_child_symbols for t in tables.levels)
        kind = "cpu" if given.device.type == "cpu" else "cuda"
        limit = max(1, BUDGET_BYTES[kind] // (12 * widest * given.element_size()))
        self._in_chunks(compute, lengths, given.shape[1], given.dtype, max_tokens=limit)
        return [token_laws, *(SpanLaws.joined(parts, given) for parts in spans), root], logs

    @torch.no_grad()
    def sample_posterior(
        self,
        tokens: Any = None,
        mask: Any = None,
        evidence: Any = None,
        generator: torch.Generator | None = None,
        lengths: Any = None,
    ) -> list[Tree]:
        """One tree for every row of evidence, drawn from its exact posterior; arguments as in [`posteriors`]."""
        given, lengths = given_evidence(self.source, tokens, mask, evidence, lengths, torch.float64)
        return self._trees(given, lengths, generator, best=False)

    @torch.no_grad()
    def most_probable_parse(self, tokens: Any) -> list[Tree]:
        """The most probable tree of every sentence `(n, T)`; of equally probable ones the same one every time."""
        given, lengths = given_evidence(self.source, tokens, None, None, None, torch.float64)
        return self._trees(given, lengths, None, best=True)

    @torch.no_grad()
    def log_num_derivations(self, tokens: Any) -> torch.Tensor:
        """The logarithm of the number of trees that derive each sentence: float64 `(n,)`, -inf for none."""
        mantissas, exponents, _ = self._counted(tokens)
        return mantissas.log() + LN2 * exponents.double()

    @torch.no_grad()
    def num_derivations(self, tokens: Any) -> torch.Tensor:
        """The number of trees (root and rules) that derive each sentence, exact: int64 `(n,)`; refused beyond 2^53."""
        mantissas, exponents, _ = self._counted(tokens)
        if bool((exponents > 53).any()):
            raise ValueError("a sentence has more than 2^53 derivations: use log_num_derivations, which is rounded")
        return torch.exp2(exponents.double()).mul_(mantissas).round_().to(torch.int64)

    @torch.no_grad()
    def num_roots(self, tokens: Any) -> torch.Tensor:
        """How many symbols of the root can derive each sentence: int64 `(n,)`."""
        return self._counted(tokens)[2]

    def _counted(self, tokens: Any) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
        """Numbers of derivations, as mantissas and exponents, and of roots."""
        tokens = self.checked(tokens)
        lengths = lengths_of(self.source, tokens)
        mantissas = torch.zeros(len(tokens), dtype=torch.float64, device=tokens.device)
        exponents, roots = torch.zeros(2, len(tokens), dtype=torch.int64, device=tokens.device)

        def compute(part, frame, tables, rows, levels):
            top = levels[-1].symbols
            whole = whole_sentences(top, lengths[part])
            at, weights = part.start + top.sentence[whole], top.vectors[whole] * tables.root_probs
            mantissas[at], exponents[at], roots[at] = weights.sum(1), top.exponents[whole], (weights > 0).sum(1)

        self._over_charts(compute, tokens, lengths, torch.float64, counting=True)
        return mantissas, exponents, roots

    def _trees(self, given, lengths, generator: torch.Generator | None, best: bool) -> list[Tree]:
        found: list[Tree | None] = [None] * len(given)

        def compute(part, frame, tables):
            rows = evidence_rows(given[part, : frame.longest], lengths[part])
            found[part] = trees(frame, tables, rows, chart(frame, tables, rows), lengths[part], generator, best)

        self._in_chunks(compute, lengths, given.shape[1], torch.float64, maximise=best)
        refuse_impossible(torch.tensor([-torch.inf if tree is None else 0.0 for tree in found]))
        return found

    def _over_charts(self, compute: Callable, tokens, lengths, dtype, counting: bool = False) -> None:
        """Calls `compute(part, frame, tables, rows, levels)` with the charts of observed tokens."""

        def with_chart(part: slice, frame: Frame, tables: TreeTables) -> None:
            rows: Rows = token_rows(tokens[part], lengths[part], tables.dtype)
            levels: list[Level] = chart(frame, tables, rows)
            compute(part, frame, tables, rows, levels)

        self._in_chunks(with_chart, lengths, tokens.shape[1], dtype, counting)

    def _in_chunks(
        self, compute: Callable, lengths, longest: int, dtype, counting=False, maximise=False, max_tokens=2**62
    ) -> None:
        """Calls `compute(part, frame, tables)` for slices of the sentences that fit the memory."""
        tables = self.tables(lengths.device, dtype, counting)
        kind = "cpu" if lengths.device.type == "cpu" else "cuda"
        size = max(1, min(CHUNK_TOKENS[kind], max_tokens) // (longest + 1))
        parts = [slice(first, min(first + size, len(lengths))) for first in range(0, len(lengths), size)][::-1]
        while parts:
            part = parts.pop()
            frame = Frame(part.stop - part.start, int(lengths[part].max()), BUDGET_BYTES[kind], maximise)
            try:
                compute(part, frame, tables)
            except TooLarge:
                middle = (part.start + part.stop) // 2
                parts += [slice(middle, part.stop), slice(part.start, middle)]
