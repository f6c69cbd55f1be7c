"""`PCFGLaws`: the exact laws of a general grammar.

Sentences of different lengths come as lists of lists, or as rows padded with PAD = v + 1. All computation is in numpy
and numba on the CPU, in float64, sentence by sentence on sparse charts (see `sparse_chart`); results go to the device
of the tokens. Memory, besides the results: one chart, 16 bytes for each item, 36 for each edge, 4 n^2 for the cells of
n tokens and 36 n for each symbol, with room for 2^14 items and edges, or up to twice as many as there are. Grammars of
few derivations per prefix have a few items a token, others up to (symbols) n / 2.
"""

from typing import TYPE_CHECKING, Any

import numpy as np
import torch

from ...laws.base import Laws
from ...laws.inputs import checked_dtype
from ...laws.posteriors import refuse_impossible
from ...refusal import NotSupported
from ...source import Source
from ..chart_tables import BEST, PROBS
from ..derivation_tree import Tree
from ..unbinarised import Derivations, count_derivations
from .constituents import Posteriors, Spans
from .pcfg_inputs import checked_rows, given_evidence


if TYPE_CHECKING:
    from ..binary_rules import BinaryGrammar
    from ..sweeps import Sweeps


class PCFGLaws(Laws):
    """The laws of a [`~rhm_hf.grammar.pcfg.PCFG`].

    Args:
        source ([`~rhm_hf.grammar.pcfg.PCFG`]): the grammar.
    """

    def __init__(self, source: Source):
        super().__init__(source)
        self.binary: BinaryGrammar = source.binary
        self.sweeps: Sweeps = source.sweeps
        self._made_chains = {}

    # Next tokens.

    def token_laws(
        self,
        tokens: Any,
        positions: int | None = None,
        context_level: int | None = None,
        context_length: int | None = None,
        dtype: torch.dtype | None = None,
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """P(x_i = . | x_<i) for the positions 0 .. positions - 1 of every row, END the last outcome.

        Args:
            tokens: rows of tokens.
            positions (`int`, *optional*): by default one more than the longest row has tokens.
            context_level, context_length: not supported: sentences have no blocks and no known positions.
            dtype (`torch.dtype`, *optional*, defaults to `torch.float64`): of the result.

        Returns:
            `(n, positions, v + 1)` and bool `(n, positions)`: whether there is such a law, that is the position is at
            most the row's length and the prefix is possible; elsewhere the row is uniform.
        """
        if context_level is not None or context_length is not None:
            raise NotSupported(
                "a shorter context", self.source, "its trees have no fixed blocks and positions", "leave it out"
            )
        rows, dtype = checked_rows(self.source, tokens), checked_dtype(dtype)
        positions = rows.tokens.shape[1] + 1 if positions is None else positions
        read = np.minimum(rows.lengths, max(positions - 1, 0))
        laws, valid, _ = self.sweeps.rows(rows.tokens, read, positions)
        return torch.from_numpy(laws).to(rows.device, dtype), torch.from_numpy(valid).to(rows.device)

    def log_prob(self, tokens: Any, dtype: torch.dtype | None = None) -> torch.Tensor:
        """`(n,)`: log P of whole sentences, END included, in nats; -inf where a row is no sentence."""
        rows, dtype = checked_rows(self.source, tokens), checked_dtype(dtype)
        logs = self.sweeps.rows(rows.tokens, rows.lengths, 0)[2].sum(1)
        return torch.from_numpy(logs).to(rows.device, dtype)

    def prefix_log_prob(self, tokens: Any, dtype: torch.dtype | None = None) -> torch.Tensor:
        """`(n,)`: the log probability that a sentence begins with these tokens, in nats."""
        rows, dtype = checked_rows(self.source, tokens), checked_dtype(dtype)
        return torch.from_numpy(self.sweeps.rows(rows.tokens, rows.lengths, 0)[2][:, 0]).to(rows.device, dtype)

    # Hidden symbols.

    def posteriors(
        self,
        tokens: Any = None,
        mask: Any = None,
        evidence: Any = None,
        dtype: torch.dtype | None = None,
        return_log_evidence: bool = False,
        lengths: Any = None,
    ) -> Posteriors | tuple[Posteriors, torch.Tensor]:
        """The laws of hidden tokens and of the symbols over every span, given evidence of known length.

        Args:
            tokens: rows of tokens.
            mask (*optional*): bool of the shape of `tokens`, True where one is hidden.
            evidence (*optional*): instead of tokens, likelihoods `(n, t, v)`.
            dtype (`torch.dtype`, *optional*, defaults to `torch.float64`): of the result.
            return_log_evidence (`bool`, *optional*, defaults to `False`): also return float64 `(n,)`, the log
                probability of the evidence; -inf where it is impossible.
            lengths (*optional*): `(n,)`, with `evidence`: the rows' lengths; by default t.

        Returns:
            [`Posteriors`].

        Raises:
            `ValueError`: for bad input, and for impossible evidence unless `return_log_evidence` is set.
        """
        rows, likelihoods = given_evidence(self.source, tokens, mask, evidence, lengths)
        dtype, found = checked_dtype(dtype), []
        laws = np.full((*rows.tokens.shape, self.source.vocab_size), 1 / self.source.vocab_size)
        logs = np.zeros(len(rows.tokens))
        for n, length in enumerate(rows.lengths.tolist()):
            part = None if likelihoods is None else likelihoods[n, :length]
            spans, of_tokens, logs[n] = self._outside(rows.tokens[n, :length], part)
            if logs[n] > -np.inf:
                laws[n, :length] = of_tokens
                found.append((np.full(len(spans[0]), n), *spans))
        columns = [np.concatenate(column) for column in zip(*found, strict=True)] or [np.zeros(0, np.int64)] * 5
        tensors = [torch.from_numpy(column).to(rows.device) for column in columns]
        result = Posteriors(torch.from_numpy(laws).to(rows.device, dtype), Spans(*tensors[:4], tensors[4].to(dtype)))
        if return_log_evidence:
            return result, torch.from_numpy(logs).to(rows.device)
        refuse_impossible(torch.from_numpy(logs))
        return result

    def _chains(self, kind: int):
        """Of symbol a, the symbols b that it becomes, and the weights: three arrays, made once for a kind."""
        if kind not in self._made_chains:
            if kind == BEST:
                matrix = self.binary.best_steps[0]
                above, below = np.nonzero(matrix > -np.inf)
            else:
                matrix = self.binary.closure
                above, below = np.nonzero(matrix)
                with np.errstate(divide="ignore"):
                    matrix = matrix if kind == PROBS else np.log(matrix)
            starts = np.searchsorted(above, np.arange(self.binary.num_symbols + 1)).astype(np.int64)
            self._made_chains[kind] = (starts, below.astype(np.int64), np.ascontiguousarray(matrix[above, below]))
        return self._made_chains[kind]

    def _outside(self, tokens: np.ndarray, likelihoods: np.ndarray | None):
        """Spans (symbols, starts, ends, probs), laws of the tokens, and log evidence of one row."""
        from ..chart_beliefs import outside

        kind, chart, (log_prefix, log_end) = self.sweeps.chart(tokens, likelihoods)
        length, size = len(tokens if likelihoods is None else likelihoods), self.binary.num_symbols
        nothing = (np.zeros(0, np.int64),) * 3 + (np.zeros(0),)
        if log_end == -np.inf or length == 0:
            return nothing, np.zeros((0, self.source.vocab_size)), log_prefix + log_end
        weights = self.binary.binary_probs if kind == PROBS else np.log(self.binary.binary_probs)
        counts, token_outs = np.zeros(chart.sizes[0]), np.zeros((length, size))
        end = np.exp(log_end) if kind == PROBS else log_end
        outside(
            self.sweeps.tables(kind), kind, length, chart, self._chains(kind), weights, end, counts,
            np.zeros((length + 1, size)), token_outs,
        )  # fmt: skip
        items = np.arange(chart.sizes[0])
        bounds = chart.cells[np.arange(1, length + 1) * np.arange(2, length + 2) // 2]  # where each end's items begin
        ends = np.searchsorted(bounds, items, side="right")
        symbols = chart.item_symbols[: len(items)].astype(np.int64)
        probs = np.minimum(counts / np.diag(self.binary.closure)[symbols], 1.0)
        kept = (symbols < len(self.source.symbols)) & (probs > 0)
        spans = (symbols[kept], chart.item_starts[items][kept].astype(np.int64), ends[kept], probs[kept])
        if likelihoods is None:
            laws = np.eye(self.source.vocab_size)[tokens]
        else:
            if kind != PROBS:
                token_outs = np.exp(token_outs - token_outs.max(1, keepdims=True))
            laws = np.zeros((length, self.source.vocab_size))
            a, x = self.binary.lexical.T
            np.add.at(laws.T, x, (token_outs[:, a] * self.binary.lexical_probs).T)
            laws *= likelihoods
            laws /= laws.sum(1, keepdims=True)
        return spans, laws, log_prefix + log_end

    def causal_posteriors(
        self, tokens: Any, dtype: torch.dtype | None = None, by_start: bool = False
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """The constituents that contain each token, given the tokens up to it and nothing else.

        Args:
            tokens: rows of tokens.
            dtype (`torch.dtype`, *optional*, defaults to `torch.float64`): of the result.
            by_start (`bool`, *optional*, defaults to `False`): tell them apart by where they begin.

        Returns:
            `(n, t, symbols)`, or `(n, t, t, symbols)` with `by_start`: entry `[n, i, k, a]` is the expected number of
            constituents a that begin at k and contain token i, given x_0 .. x_i. It is a probability where no symbol
            is on its own left edge. And bool `(n, t)`: whether x_0 .. x_i is possible; elsewhere entries are 0.
        """
        from ..chart_beliefs import opened

        rows, dtype = checked_rows(self.source, tokens), checked_dtype(dtype)
        n, t = rows.tokens.shape
        written = np.zeros((self.binary.num_symbols, self.source.vocab_size))
        np.add.at(written, tuple(self.binary.lexical.T), self.binary.lexical_probs)
        begins = self.binary.corners @ written
        result, valid = np.zeros((n, t, t if by_start else 1, len(self.source.symbols))), np.zeros((n, t), dtype=bool)
        for row, length in enumerate(rows.lengths.tolist()):
            kind, chart, _ = self.sweeps.chart(rows.tokens[row, :length])
            possible = int(chart.sizes[2])
            found = np.zeros((possible, possible if by_start else 1, self.binary.num_symbols))
            opened(self.sweeps.tables(kind), kind, rows.tokens[row], possible, chart, begins, found)
            result[row, :possible, : found.shape[1]] = found[:, :, : len(self.source.symbols)]
            valid[row, :possible] = True
        result = result if by_start else result[:, :, 0]
        return torch.from_numpy(result).to(rows.device, dtype), torch.from_numpy(valid).to(rows.device)

    def opened_symbols(self, tokens: Any, dtype: torch.dtype | None = None) -> tuple[torch.Tensor, torch.Tensor]:
        """What the next token opens, given the tokens before it: the highest constituent that begins with it.

        By the chain rule the KL of a model is the sum of those of its tokens, and what begins with a token is decided
        there: put down to these symbols it is a mean over derivations, exact, and sums to the whole. Where levels are
        those of a fixed tree, this is the level of the block that a position opens.

        Args:
            tokens: rows of tokens.
            dtype (`torch.dtype`, *optional*, defaults to `torch.float64`): of the result.

        Returns:
            `(n, t + 1, symbols + 2)`: entry `[n, i, a]` is the probability, given x_<i, that symbol a is the highest
            that begins with token i; then that none does, as the token stands inside of a rule begun before; and that
            of END. They sum to one. And bool `(n, t + 1)`: whether x_<i is possible and no longer than the row;
            elsewhere entries are 0.
        """
        rows, dtype = checked_rows(self.source, tokens), checked_dtype(dtype)
        n, t = rows.tokens.shape
        size = len(self.source.symbols)
        laws, valid, _ = self.sweeps.rows(rows.tokens, rows.lengths, t + 1)
        result = np.zeros((n, t + 1, size + 2))
        for row, length in enumerate(rows.lengths.tolist()):
            kind, chart, _ = self.sweeps.chart(rows.tokens[row, :length])
            read = int(chart.sizes[2]) + 1
            direct = chart.begun_direct[:read] if kind == PROBS else np.exp(chart.begun_direct[:read])
            direct = direct * (1 - self.binary.empty)  # what is empty does not begin with the token
            result[row, :read, :size] = direct[:, :size]
            result[row, :read, size] = direct[:, size:].sum(1)  # auxiliary right sisters are tokens
            result[row, :read, size + 1] = laws[row, :read, -1]
        result[~valid] = 0
        result /= np.where(valid, result.sum(-1), 1)[..., None]  # one but for rounding
        return torch.from_numpy(result).to(rows.device, dtype), torch.from_numpy(valid).to(rows.device)

    # Derivations.

    def most_probable_parse(self, tokens: Any) -> list[Tree | None]:
        """The most probable derivation of every row; None where it is no sentence."""

        rows = checked_rows(self.source, tokens)
        return [
            self._chosen(*self.sweeps.chart(rows.tokens[n, :length], kind=BEST), rows.tokens[n, :length], None, None)
            for n, length in enumerate(rows.lengths.tolist())
        ]

    def sample_posterior(
        self,
        tokens: Any = None,
        mask: Any = None,
        evidence: Any = None,
        generator: torch.Generator | None = None,
        lengths: Any = None,
    ) -> list[Tree]:
        """One derivation for every row of evidence, drawn from its exact posterior.

        Args: as [`PCFGLaws.posteriors`]; `generator` (`torch.Generator`, *optional*) is one of the CPU.

        Raises:
            `ValueError`: for bad input, and for impossible evidence.
        """
        rows, likelihoods = given_evidence(self.source, tokens, mask, evidence, lengths)
        seeds = torch.randint(2**62, (len(rows.tokens),), generator=generator).tolist()
        trees, logs = [], np.zeros(len(rows.tokens))
        for n, (length, seed) in enumerate(zip(rows.lengths.tolist(), seeds, strict=True)):
            part = None if likelihoods is None else likelihoods[n, :length]
            kind, chart, ends = self.sweeps.chart(rows.tokens[n, :length], part)
            logs[n] = ends.sum()
            rng = np.random.Generator(np.random.Philox(seed))
            trees.append(self._chosen(kind, chart, ends, rows.tokens[n, :length], part, rng))
        refuse_impossible(torch.from_numpy(logs))
        return trees

    def _chosen(self, kind, chart, ends, tokens, likelihoods, rng) -> Tree | None:
        from ..chart_beliefs import choose

        if ends[1] == -np.inf:
            return None
        length, undone = len(tokens), Derivations(self.binary, rng)
        if length == 0:
            return Tree(self.source.rules, undone.empty(0))
        given = np.zeros((0, 0))
        if likelihoods is not None:
            with np.errstate(divide="ignore"):
                given = likelihoods.copy() if kind == PROBS else np.log(likelihoods)
        uniform = np.zeros(4 * length) if rng is None else rng.random(4 * length)
        lexical_rows = np.argsort(self.binary.lexical[:, 1], kind="stable")
        nodes = np.zeros((2 * length, 4), np.int64)
        count = choose(
            self.sweeps.tables(kind), kind, chart, self._chains(kind), length, np.ascontiguousarray(tokens), given,
            lexical_rows, uniform, nodes,
        )  # fmt: skip
        return Tree(self.source.rules, undone.rules_of(nodes[:count]))

    def num_derivations(self, tokens: Any) -> list[int | float]:
        """The number of derivations of every row, exact: 0 where it is no sentence, infinity with loops of units."""
        rows, numbers = checked_rows(self.source, tokens), []
        for n, length in enumerate(rows.lengths.tolist()):
            _, chart, ends = self.sweeps.chart(rows.tokens[n, :length])
            possible = ends[1] > -np.inf
            numbers.append(count_derivations(self.binary, rows.tokens[n, :length], chart) if possible else 0)
        return numbers
