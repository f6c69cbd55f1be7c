"""Beliefs of all open ancestors given every prefix of a chain of blocks, in one pass.

With f_j(z) the forward message of block j (everything left of it), E_j the emission of its symbol and mu_i(a) the
probability that a block of symbol a writes its own tokens up to token i,

    P(z_j = z | x_0 .. x_i)  ~  f_j(z) sum over a of E_j(z, a) mu_i(a);

inside the block all is as in a grammar whose root has the law sum over z of f_j(z) E_j(z, .). The first state, the
class, is carried along: G_j(z_1, z) = P(z_1, z_j = z, the blocks before j).
"""

import math

import torch
import torch.nn.functional as F

from ..layered.laws.beliefs import chunks
from ..layered.laws.beliefs_given_prefix import beliefs_below
from ..layered.laws.rule_tables import look_up
from ..layered.laws.token_laws import read_prefix
from .chain_grammar import ChainGrammar
from .chain_tables import ChainTables, chain_tables_for, log_emitted, normalised_logs


@torch.no_grad()
def chain_causal_posteriors(grammar: ChainGrammar, tokens: torch.Tensor, dtype: torch.dtype) -> list[torch.Tensor]:
    """The laws of all ancestors and states of every token given the tokens up to it.

    Args:
        grammar ([`ChainGrammar`]): the source.
        tokens (`torch.Tensor`): checked, int64 `(n, t)`, t <= d.
        dtype (`torch.dtype`): of the computation inside blocks; states are float64 within.

    Returns:
        Entry ℓ - 1, ℓ = 1..L, `(n, t, symbols of level ℓ)`; zero where the prefix is impossible. Memory as in
        `chain_laws`, and Z^2 numbers a sentence for a chain of Z states.
    """
    tables = chain_tables_for(grammar, tokens.device, dtype)
    sizes = [grammar.num_symbols_at(level) for level in range(1, grammar.depth + 1)]
    beliefs = [torch.zeros(*tokens.shape, size, dtype=dtype, device=tokens.device) for size in sizes]
    for part in chunks(tables.blocks, len(tokens) if tokens.shape[1] else 0, grammar.sentence_length):
        if len(tokens[part]):
            for law, found in zip(beliefs, _beliefs(tables, tokens[part]), strict=True):
                law[part] = found
    return beliefs


def _beliefs(tables: ChainTables, tokens: torch.Tensor) -> list[torch.Tensor]:
    t, block = tokens.shape[1], tables.blocks.sentence_length
    read = read_prefix(tables.blocks, tokens, t)
    symbols = look_up(tables.blocks[tables.cut].parents, read[-1][1][-1]) if tables.cut else tokens
    before, first = _forward(tables, symbols, math.ceil(t / block))
    priors = [normalised_logs(logs) @ tables.emission(j) for j, logs in enumerate(before)]
    if tables.cut:
        below, inner = beliefs_below(tables.blocks, tokens, torch.stack(priors, 1).to(tables.blocks.dtype), read)
    else:
        below, inner = [], F.one_hot(tokens, tables.blocks.vocab_size)
    states, classes = [], []
    for j, logs in enumerate(before):
        mine = inner[:, j * block : (j + 1) * block].double()
        written = (mine @ tables.emission(j).t()).log()
        states.append(_given(logs[:, None] + written))
        if first is not None:
            classes.append(_given((first[j][:, None] + written[:, :, None]).logsumexp(-1)))
    above = [states] if first is None else [states, classes]
    return [*below, *(torch.cat(laws, 1).to(tables.blocks.dtype) for laws in above)]


def _forward(tables: ChainTables, symbols: torch.Tensor, nodes: int):
    """Logarithms `(n, states)` of f for every block, and where states change of G, `(n, states, states)`."""
    n, num = len(symbols), len(tables.initial)
    logs, joint = tables.initial.log().expand(n, -1), None
    if tables.transitions is not None:
        joint = torch.diag(tables.initial).log().expand(n, -1, -1)
    before, first = [], []
    for j in range(nodes):
        before.append(logs)
        first.append(joint)
        if j + 1 < nodes:
            emitted = log_emitted(tables, j, symbols[:, j])
            logs = tables.forward(logs + emitted)
            if joint is not None:
                joint = tables.forward((joint + emitted[:, None]).flatten(0, 1)).view(n, num, num)
    return before, None if joint is None else first


def _given(logs: torch.Tensor) -> torch.Tensor:
    """Laws along the last axis from logarithms `(n, tokens, choices)`; zeros where all are -inf."""
    return normalised_logs(logs.flatten(0, 1)).view(logs.shape)
