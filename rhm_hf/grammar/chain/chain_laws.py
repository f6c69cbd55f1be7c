"""Exact laws of chains of blocks: filtered hierarchies and hidden Markov sources ([`ChainGrammar`]).

Inside the blocks everything is as in a grammar: tokens are parsed, messages go up to a block's root and posteriors
come down from it. Between the roots a_1 .. a_J run the messages of a hidden Markov model with states z_j,

    forward   f_(j+1)(z') = sum over z of f_j(z) e_j(z) T(z, z'),      e_j(z) = sum over a of E_j(z, a) up_j(a),

e_j the evidence of block j; a causal law takes f alone, a posterior also the same sums from the right. All messages
of the chain are logarithms: where states stay (T = 1), nothing is divided and nothing vanishes in a long sentence.

Memory, besides results and tables: as in a grammar, V (V + n) numbers for a chunk of n = 2^16 tokens (2^20 on CUDA), V
the most symbols or states of any level. In causal laws too.
"""

import math
from typing import Any

import numpy as np
import torch

from ..laws.base import Laws
from ..laws.inputs import checked_context
from ..laws.posteriors import draw, given_evidence, posteriors_by_chunks, refuse_impossible
from ..laws.window_laws import fill_windows
from ..layered.laws.beliefs import chunks, downward, sampled
from ..layered.laws.log_probs import parse, rule_states
from ..layered.laws.messages import Level, leaves_of, upward, with_identity
from ..layered.laws.rule_tables import look_up
from ..layered.laws.token_laws import descend, read_prefix
from . import chain_counts, chain_statistics
from .chain_beliefs import chain_causal_posteriors
from .chain_blocks import chain_block_posteriors
from .chain_grammar import ChainGrammar
from .chain_tables import ChainTables, chain_tables_for, log_emitted, normalised_logs


# Causal laws.


@torch.no_grad()
def _token_laws(grammar: ChainGrammar, tokens, positions: int, context_level, context_length, dtype):
    """See [`~rhm_hf.inference.next_token.token_laws`]."""
    top, window = checked_context(grammar, context_level, context_length)
    tables = chain_tables_for(grammar, tokens.device, dtype)
    probs = torch.empty(len(tokens), positions, grammar.vocab_size, dtype=dtype, device=tokens.device)
    valid = torch.empty(len(tokens), positions, dtype=torch.bool, device=tokens.device)
    full = positions if window is None else min(positions, window + 1)  # beyond, the window leaves tokens out
    for part in chunks(tables.blocks, len(tokens) if full else 0, grammar.sentence_length):
        if len(tokens[part]):
            probs[part, :full], valid[part, :full] = _causal(tables, tokens[part], full, top)
    if full < positions:
        fill_windows(grammar, tokens, window, probs, valid)
    return probs, valid


def _causal(tables: ChainTables, tokens: torch.Tensor, positions: int, top: int):
    read = read_prefix(tables.blocks, tokens, positions)
    size = tables.blocks.sentence_length
    if top == tables.depth:
        top = tables.cut
        symbols = look_up(tables.blocks[top].parents, read[-1][1][-1]) if top else tokens
        laws, valid = _root_laws(tables, symbols, math.ceil(positions / size))
    else:
        top = min(top, tables.cut)  # a node of a token's state knows no more than the token
        nodes = math.ceil(positions / tables.blocks.blocks[top])
        laws = tables.marginals[top][:nodes].expand(len(tokens), -1, -1)
        valid = torch.ones(laws.shape[:2], dtype=torch.bool, device=tokens.device)
    laws = laws.to(tables.blocks.dtype)
    if top == 0:
        return torch.where(valid[..., None], laws, 1 / laws.shape[2]), valid
    return descend(tables.blocks, read, positions, top, laws, valid)


def _root_laws(tables: ChainTables, symbols: torch.Tensor, nodes: int) -> tuple[torch.Tensor, torch.Tensor]:
    """The laws of the blocks' symbols given the blocks before, `(n, nodes, symbols)`, and where those are possible."""
    logs = tables.initial.log().expand(len(symbols), -1)
    laws, valid = [], []
    for block in range(nodes):
        laws.append(normalised_logs(logs) @ tables.emission(block))
        valid.append(logs.amax(1) > -math.inf)
        if block + 1 < nodes:
            logs = tables.forward(logs + log_emitted(tables, block, symbols[:, block]))
    return torch.stack(laws, 1), torch.stack(valid, 1)


# Whole sentences.


def _blocks_of(grammar: ChainGrammar, array: torch.Tensor) -> torch.Tensor:
    """Sentences `(n, d, ..)` as blocks `(n J, tokens of a block, ..)`."""
    return array.unflatten(1, (grammar.num_blocks, -1)).flatten(0, 1)


def _parse(grammar: ChainGrammar, tokens: torch.Tensor) -> list[torch.Tensor]:
    """The levels 0 .. k, which tokens determine; -1 where no rule derives a node's children."""
    blocks = parse(grammar.blocks, _blocks_of(grammar, tokens))
    return [level.reshape(len(tokens), -1) for level in blocks]


def _log_prob(grammar: ChainGrammar, tokens: torch.Tensor, dtype: torch.dtype) -> torch.Tensor:
    """Log probability of whole sentences in nats, the states summed out; -inf where a sentence is impossible."""
    tables = chain_tables_for(grammar, tokens.device)
    symbols, total = _blocks_of(grammar, tokens), tokens.new_zeros(len(tokens), dtype=torch.float64)
    for level, rules in enumerate(rule_states(tables.blocks, symbols), start=1):
        total += look_up(tables.blocks[level].log_probs, rules).view(len(tokens), -1).sum(1)
    if grammar.cut:
        symbols = look_up(tables.blocks[grammar.cut].parents, rules)
    symbols = symbols.view(len(tokens), grammar.num_blocks)
    logs = tables.initial.log().expand(len(tokens), -1)
    for block in range(grammar.num_blocks):
        logs = logs + log_emitted(tables, block, symbols[:, block])
        if block + 1 < grammar.num_blocks:
            logs = tables.forward(logs)
    return (total + logs.logsumexp(1)).to(dtype)


@torch.no_grad()
def _posteriors(grammar: ChainGrammar, tokens, mask, evidence, dtype, return_log_evidence):
    """See [`~rhm_hf.inference.posteriors`]; the last entries are the laws of the states."""

    def compute(dtype: torch.dtype, part: list[torch.Tensor], out: list[torch.Tensor]) -> torch.Tensor:
        return _chain_posteriors(grammar, chain_tables_for(grammar, part[0].device, dtype), part, out)

    def sentences(n: int) -> list[slice]:
        return chunks(chain_tables_for(grammar, torch.device("cpu")).blocks, n, grammar.sentence_length)

    given = (tokens, mask, evidence)
    return posteriors_by_chunks(grammar, given, dtype, sentences, compute, return_log_evidence)


def _chain_posteriors(grammar: ChainGrammar, tables: ChainTables, evidence, out) -> torch.Tensor:
    """Writes the laws of every level into `out` and returns the log probability of the evidence."""
    up = upward(tables.blocks, leaves_of(tables.blocks, [_blocks_of(grammar, array) for array in evidence]))
    roots, logs = _root_messages(tables, up[-1])
    before, written, after = _chain_messages(tables, roots)
    log_evidence = logs + (before[-1] + written[-1]).logsumexp(1)
    impossible = log_evidence.isneginf()
    states = [normalised_logs(f + e + b) for f, e, b in zip(before, written, after, strict=True)]
    priors = [normalised_logs(f + b) @ tables.emission(j) for j, (f, b) in enumerate(zip(before, after, strict=True))]
    posterior = torch.stack(priors, 1) * roots
    posterior /= posterior.sum(2, keepdim=True).clamp(min=torch.finfo(torch.float64).tiny)
    for level in range(grammar.cut + 1, grammar.depth + 1):
        out[level].copy_(torch.stack(states[:1] if level == grammar.depth else states, 1))
        out[level][impossible] = 1 / grammar.num_states
    down = [law.view(-1, law.shape[1] // grammar.num_blocks, law.shape[2]) for law in out[: grammar.cut + 1]]
    columns = _root_columns(up[-1], posterior)
    downward(tables.blocks, up, columns, impossible.repeat_interleave(grammar.num_blocks), down)
    return log_evidence


def _root_messages(tables: ChainTables, top: Level) -> tuple[torch.Tensor, torch.Tensor]:
    """P(evidence of a block | its symbol) `(n, J, symbols)`, up to constants whose logarithms are summed: `(n,)`."""
    roots = top.messages.double().t()[top.column.view(-1)].view(-1, tables.num_blocks, len(top.messages))
    return roots, top.log_evidence.view(-1, tables.num_blocks).sum(1)


def _root_columns(top: Level, laws: torch.Tensor) -> torch.Tensor:
    """The form in which laws `(n, J, symbols)` of the blocks' roots go down: the identity, then the open ones."""
    v = len(top.messages)
    columns = torch.empty_like(top.messages)
    columns[:, v:] = laws.flatten(0, 1)[top.open].t()
    return with_identity(columns)


def _chain_messages(tables: ChainTables, roots: torch.Tensor):
    """For every block, logarithms `(n, states)` of what is left of it, of its own evidence and of what is right."""
    written = [(roots[:, block] @ tables.emission(block).t()).log() for block in range(tables.num_blocks)]
    before, after = [tables.initial.log().expand(len(roots), -1)], [torch.zeros_like(written[0])]
    for evidence in written[:-1]:
        before.append(tables.forward(before[-1] + evidence))
    for evidence in written[:0:-1]:
        after.append(tables.backward(after[-1] + evidence))
    return before, written, after[::-1]


def _sample_posterior(grammar: ChainGrammar, tokens=None, mask=None, evidence=None, generator=None):
    """See [`~rhm_hf.inference.sample_posterior`]; states first, then the blocks' symbols and the trees below them."""
    evidence = given_evidence(grammar, tokens, mask, evidence)
    tables = chain_tables_for(grammar, evidence[0].device)
    samples, log_evidence = [], []
    for chunk in chunks(tables.blocks, len(evidence[0]), grammar.sentence_length):
        parts = [_blocks_of(grammar, array[chunk]) for array in evidence]
        up = upward(tables.blocks, leaves_of(tables.blocks, parts))
        roots, logs = _root_messages(tables, up[-1])
        before, written, _ = _chain_messages(tables, roots)
        log_evidence.append(logs + (before[-1] + written[-1]).logsumexp(1))
        if not log_evidence[-1].isneginf().any():
            states = _drawn_states(tables, before, written, generator)
            laws = torch.stack([tables.emission(j)[states[:, j]] for j in range(grammar.num_blocks)], 1) * roots
            laws /= laws.sum(2, keepdim=True).clamp(min=torch.finfo(torch.float64).tiny)
            levels = sampled(tables.blocks, up, _root_columns(up[-1], laws), generator)
            levels = [level.reshape(len(states), -1) for level in levels]
            above = [states[:, :1]] if tables.transitions is None else [states, states[:, :1]]
            samples.append([*levels, *above])
    refuse_impossible(torch.cat(log_evidence))
    return [torch.cat(level) for level in zip(*samples, strict=True)]


def _drawn_states(tables: ChainTables, before, written, generator) -> torch.Tensor:
    """The states of every block, `(n, J)`, from the last one back."""
    states = [draw(normalised_logs(before[-1] + written[-1]), generator)]
    for f, e in zip(before[-2::-1], written[-2::-1], strict=True):
        if tables.transitions is None:
            states.append(states[-1])
        else:
            states.append(draw(normalised_logs(f + e) * tables.transitions[:, states[-1]].t(), generator))
    return torch.stack(states[::-1], 1)


class ChainLaws(Laws):
    """The exact laws of a chain of blocks."""

    source: ChainGrammar

    def token_laws(
        self,
        tokens: torch.Tensor,
        positions: int,
        context_level: int | None,
        context_length: int | None,
        dtype: torch.dtype | None,
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """Forward messages between blocks, a pass down the tree within; windows cost a posterior a position."""
        return _token_laws(self.source, tokens, positions, context_level, context_length, dtype)

    def log_prob(self, tokens: torch.Tensor, dtype: torch.dtype) -> torch.Tensor:
        """The rules' of every block, and of the symbols with the states summed out."""
        return _log_prob(self.source, tokens, dtype)

    def parse(self, tokens: torch.Tensor) -> list[torch.Tensor]:
        """The levels 0 .. k."""
        return _parse(self.source, tokens)

    def most_probable_parse(self, tokens: torch.Tensor) -> list[torch.Tensor]:
        """The levels 0 .. k, and the likeliest states given them; -1 where a block has no rule."""
        levels = _parse(self.source, tokens)
        tables = chain_tables_for(self.source, tokens.device)
        failed = (levels[-1] < 0).any(1, keepdim=True)
        states = chain_statistics.likeliest_states(tables, levels[-1].clamp(min=0)).masked_fill(failed, -1)
        above = [] if self.source.transitions is None else [states]
        return [*levels, *above, states[:, :1].clone()]

    def posteriors(
        self,
        tokens: torch.Tensor = None,
        mask: Any = None,
        evidence: Any = None,
        dtype: torch.dtype | None = None,
        return_log_evidence: bool = False,
    ) -> Any:
        """Messages up the blocks, along the chain, and down again."""
        return _posteriors(self.source, tokens, mask, evidence, dtype, return_log_evidence)

    def block_posteriors(self, tokens: torch.Tensor, mask: Any, levels: list[int], dtype: torch.dtype) -> torch.Tensor:
        """One pass up for all levels: see `chain_blocks`."""
        return chain_block_posteriors(self, tokens, mask, levels, dtype)

    def sample_posterior(
        self,
        tokens: torch.Tensor = None,
        mask: Any = None,
        evidence: Any = None,
        generator: torch.Generator | None = None,
    ) -> list[torch.Tensor]:
        """States first, then the blocks."""
        return _sample_posterior(self.source, tokens, mask, evidence, generator)

    def num_derivations(self, tokens: torch.Tensor) -> list[int]:
        """Paths of states that emit the blocks' symbols; these have one derivation each, or none."""
        levels = _parse(self.source, tokens)
        return chain_counts.derivations_of(self.source, levels[-1].cpu().numpy())

    def causal_posteriors(self, tokens: torch.Tensor, dtype: torch.dtype) -> list[torch.Tensor]:
        """Forward messages between blocks, up from every token within: see `chain_beliefs`."""
        return chain_causal_posteriors(self.source, tokens, dtype)

    def node_marginals(self, level: int) -> torch.Tensor:
        """The law of every node of a level given nothing."""
        return chain_statistics.node_marginals(self.source, level)

    def plateau(self, level: int) -> float:
        """Exact below the root; at the root `source.entropy` over d, which may be an estimate."""
        return chain_statistics.plateau(self.source, level)

    def position_entropies(self, level: int) -> torch.Tensor:
        """Exact below the root; there a mean over prefixes of sampled sentences where `source.entropy` is one."""
        return chain_statistics.position_entropies(self.source, level)

    def pair_law(self, first: int, second: int) -> np.ndarray:
        """By way of the block's root, or of the states."""
        return chain_statistics.pair_law(self.source, first, second)

    def tuple_law(self, node: int, position: int, level: int) -> np.ndarray:
        """Of the levels 1..k, which have rules."""
        source = self.source
        symbols = chain_statistics.pair_law(source, node * source.block_length(level), position, level)
        return (source.rule_probs_at(level)[..., None] * symbols[:, None]).reshape(-1, source.vocab_size)
