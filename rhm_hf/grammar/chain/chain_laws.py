"""Exact laws of chains of blocks: filtered hierarchies and hidden Markov sources ([`ChainGrammar`]).

Inside the blocks everything is as in a grammar: tokens are parsed, messages go up to a block's root and posteriors
come down from it. Between the roots a_1 .. a_J run the messages of a hidden Markov model with states z_j,

    forward   f_(j+1)(z') = sum over z of f_j(z) e_j(z) T(z, z'),      e_j(z) = sum over a of E_j(z, a) up_j(a),

e_j the evidence of block j; a causal law takes f alone, a posterior also the same sums from the right. All messages
of the chain are logarithms: where states stay (T = 1), nothing is divided and nothing vanishes in a long sentence.
"""

import math
from typing import Any

import torch

from ...checks import check_integer
from ..laws.inputs import checked_dtype, checked_tokens
from ..layered.grammar import subtree_entropies
from ..layered.laws.beliefs import (
    chunks,
    downward,
    draw,
    given_evidence,
    posteriors,
    refuse_impossible,
    sample_posterior,
    sampled,
)
from ..layered.laws.entropies import block_entropies, node_marginals, plateau, position_entropies
from ..layered.laws.log_probs import log_prob, parse, rule_states
from ..layered.laws.messages import Level, leaves_of, upward, with_identity
from ..layered.laws.next_token import checked_context, descend, read_prefix, token_laws
from ..layered.laws.rule_tables import look_up, tables_for
from .chain_counts import laws_after_prefixes, laws_after_sampled_prefixes
from .chain_grammar import ChainGrammar
from .chain_tables import ChainTables, chain_tables_for, normalised_logs


# Causal laws.


@torch.no_grad()
def _token_laws(grammar: ChainGrammar, tokens, positions: int, context_level, context_length, dtype):
    """See [`~rhm_hf.inference.next_token.token_laws`]."""
    top, window = checked_context(grammar, context_level, context_length)
    if window is not None:
        return _windowed(grammar, tokens, positions, window, dtype)
    tables = chain_tables_for(grammar, tokens.device, dtype)
    probs = torch.empty(len(tokens), positions, grammar.vocab_size, dtype=dtype, device=tokens.device)
    valid = torch.empty(len(tokens), positions, dtype=torch.bool, device=tokens.device)
    for part in chunks(tables.blocks, len(tokens) if positions else 0, grammar.sentence_length):
        if len(tokens[part]):
            probs[part], valid[part] = _causal(tables, tokens[part], positions, top)
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
            logs = tables.forward(logs + _log_emitted(tables, block, symbols[:, block]))
    return torch.stack(laws, 1), torch.stack(valid, 1)


def _log_emitted(tables: ChainTables, block: int, symbols: torch.Tensor) -> torch.Tensor:
    """log P(symbol | state), `(n, states)`; -inf for the dead symbol, which no rule derives."""
    padded = torch.nn.functional.pad(tables.emission(block), (0, 1))
    return padded.t().log()[symbols]


def _windowed(grammar: ChainGrammar, tokens: torch.Tensor, positions: int, window: int, dtype):
    """Laws given the `window` tokens before: posteriors with all others hidden, one pass for each position."""
    n, d = len(tokens), grammar.sentence_length
    padded = torch.nn.functional.pad(tokens, (0, d - tokens.shape[1]))
    place = torch.arange(d, device=tokens.device)
    probs = torch.empty(n, positions, grammar.vocab_size, dtype=dtype, device=tokens.device)
    valid = torch.empty(n, positions, dtype=torch.bool, device=tokens.device)
    for i in range(positions):
        hidden = ((place < i - window) | (place >= i)).expand(n, -1)
        laws, logs = posteriors(grammar, padded, hidden, dtype=dtype, return_log_evidence=True)
        probs[:, i], valid[:, i] = laws[0][:, i], ~logs.isneginf()
    return probs, valid


# Whole sentences.


def _blocks_of(grammar: ChainGrammar, array: torch.Tensor) -> torch.Tensor:
    """Sentences `(n, d, ..)` as blocks `(n J, tokens of a block, ..)`."""
    return array.unflatten(1, (grammar.num_blocks, -1)).flatten(0, 1)


def _parse(grammar: ChainGrammar, tokens: Any) -> list[torch.Tensor]:
    """The levels 0 .. k, which tokens determine; -1 where no rule derives a node's children."""
    tokens = checked_tokens(grammar, tokens)
    blocks = parse(grammar.blocks, _blocks_of(grammar, tokens))
    return [level.reshape(len(tokens), -1) for level in blocks]


def _log_prob(grammar: ChainGrammar, tokens: Any, dtype: torch.dtype | None = None) -> torch.Tensor:
    """Log probability of whole sentences in nats, the states summed out; -inf where a sentence is impossible."""
    dtype = checked_dtype(dtype)
    tokens = checked_tokens(grammar, tokens)
    tables = chain_tables_for(grammar, tokens.device)
    symbols, total = _blocks_of(grammar, tokens), tokens.new_zeros(len(tokens), dtype=torch.float64)
    for level, rules in enumerate(rule_states(tables.blocks, symbols), start=1):
        total += look_up(tables.blocks[level].log_probs, rules).view(len(tokens), -1).sum(1)
    if grammar.cut:
        symbols = look_up(tables.blocks[grammar.cut].parents, rules)
    symbols = symbols.view(len(tokens), grammar.num_blocks)
    logs = tables.initial.log().expand(len(tokens), -1)
    for block in range(grammar.num_blocks):
        logs = logs + _log_emitted(tables, block, symbols[:, block])
        if block + 1 < grammar.num_blocks:
            logs = tables.forward(logs)
    return (total + logs.logsumexp(1)).to(dtype)


@torch.no_grad()
def _posteriors(
    grammar: ChainGrammar, tokens=None, mask=None, evidence=None, dtype=None, return_log_evidence: bool = False
):
    """See [`~rhm_hf.inference.posteriors`]; the last entries are the laws of the states."""
    dtype, evidence = checked_dtype(dtype), given_evidence(grammar, tokens, mask, evidence)
    n, device = len(evidence[0]), evidence[0].device
    laws = [
        torch.empty(n, grammar.num_nodes_at(level), grammar.num_symbols_at(level), dtype=dtype, device=device)
        for level in range(grammar.depth + 1)
    ]
    log_evidence = torch.empty(n, dtype=torch.float64, device=device)
    tables = chain_tables_for(grammar, device, dtype)
    for chunk in chunks(tables.blocks, n, grammar.sentence_length):
        part, out = [array[chunk] for array in evidence], [law[chunk] for law in laws]
        log_evidence[chunk] = _chain_posteriors(grammar, tables, part, out)
        if dtype == torch.float32 and log_evidence[chunk].isneginf().any():
            # Impossible, or products of likelihoods that float32 cannot hold: float64 tells.
            log_evidence[chunk] = _chain_posteriors(grammar, chain_tables_for(grammar, device), part, out)
    if return_log_evidence:
        return laws, log_evidence
    refuse_impossible(log_evidence)
    return laws


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


# Entropies.


def _node_marginals(grammar: ChainGrammar, level: int) -> torch.Tensor:
    level = check_integer("level", level, 0, grammar.depth + 1)
    return chain_tables_for(grammar, torch.device("cpu")).marginals[level].clone()


def _plateau(grammar: ChainGrammar, level: int) -> float:
    """Exact below the root; at the root `grammar.entropy` over d, which may be an estimate."""
    level = check_integer("level", level, 0, grammar.depth + 1)
    if level == grammar.depth:
        return grammar.entropy / grammar.sentence_length
    level = min(level, grammar.cut)
    marginals = node_marginals(grammar, level)
    below = torch.from_numpy(subtree_entropies(grammar.blocks, level))
    total = torch.special.entr(marginals).sum() + (marginals @ below).sum()
    return float(total) / grammar.sentence_length


def _position_entropies(grammar: ChainGrammar, level: int) -> torch.Tensor:
    """Exact below the root; there a mean over the prefixes of sampled sentences where `grammar.entropy` is one."""
    level = check_integer("level", level, 0, grammar.depth + 1)
    tables = tables_for(grammar.blocks, torch.device("cpu"))
    if level < grammar.depth:
        level = min(level, grammar.cut)
        return torch.cat([block_entropies(tables, law[None], level) for law in node_marginals(grammar, level)])
    if grammar.entropy_stderr:
        # the prefixes of blocks are sampled, the tokens within a block are not
        joints = [law / len(law) for law in laws_after_sampled_prefixes(grammar)]
    else:
        joints = laws_after_prefixes(grammar)
    return torch.cat([block_entropies(tables, torch.from_numpy(joint), grammar.cut) for joint in joints])


for _function, _implementation in (
    (token_laws, _token_laws),
    (parse, _parse),
    (log_prob, _log_prob),
    (posteriors, _posteriors),
    (sample_posterior, _sample_posterior),
    (node_marginals, _node_marginals),
    (plateau, _plateau),
    (position_entropies, _position_entropies),
):
    _function.register(ChainGrammar, _implementation)
