"""Beliefs of all open ancestors given every prefix, in one pass: what a Bayes-optimal reader of a sentence knows.

With pi the law of a node given everything left of its span (see `next_token`) and mu[a] the probability that a node a
derives its own tokens up to token i, P(node = a | x_0 .. x_i) is pi[a] mu[a], normalised. Going up from token i,

    mu_0 = delta(x_i);   mu_l[a] = sum over rules r of a whose children before c are observed of p_r mu_(l-1)[r_c],

c being the child that holds token i: its left sisters are parsed, and its right sisters sum to one. These are d L laws
a sentence, and only rules that share the observed prefix are touched.
"""

import math

import torch

from ...fixed_tree import FixedTree
from .rule_tables import LevelTables, Tables, tables_for
from .token_laws import _children, _sentences_per_chunk, read_prefix


@torch.no_grad()
def causal_posteriors(
    grammar: FixedTree, tokens: torch.Tensor, dtype: torch.dtype = torch.float64
) -> list[torch.Tensor]:
    """The laws of all ancestors of every token given the tokens up to it.

    Args:
        grammar ([`~rhm_hf.grammar.Grammar`]): the grammar.
        tokens (`torch.Tensor`): checked, int64 `(n, t)`, t <= d.
        dtype (`torch.dtype`, *optional*, defaults to `torch.float64`): of the computation.

    Returns:
        Entry ℓ - 1, ℓ = 1..L, `(n, t, symbols of level ℓ)`: P(level-ℓ ancestor of token i = . | x_0 .. x_i); zero
        where the prefix is impossible. Chunks of n sentences have tensors of about 4 MiB on a CPU, 128 MiB on a GPU.
    """
    tables = tables_for(grammar, tokens.device, dtype)
    n, positions = tokens.shape
    beliefs = [
        torch.zeros(n, positions, tables[level].num_symbols, dtype=dtype, device=tokens.device)
        for level in range(1, tables.depth + 1)
    ]
    size = _sentences_per_chunk(tables, positions, None)
    for start in range(0, n if positions else 0, size):
        part = tokens[start : start + size]
        roots = tables.root_probs.expand(len(part), 1, -1)
        found, _ = beliefs_below(tables, part, roots, read_prefix(tables, part, positions))
        for law, mine in zip(beliefs, found, strict=True):
            law[start : start + size] = mine
    return beliefs


def beliefs_below(
    tables: Tables, tokens: torch.Tensor, roots: torch.Tensor, read: list
) -> tuple[list[torch.Tensor], torch.Tensor]:
    """The same for sentences, or rows of blocks, whose roots have laws of their own.

    Args:
        tables ([`Tables`]): of the rules.
        tokens (`torch.Tensor`): int64 `(n, t)`.
        roots (`torch.Tensor`): `(n, blocks, symbols)`, the laws of the roots given everything left of them.
        read (`list`): of [`read_prefix`], for all t tokens.

    Returns:
        The beliefs of the levels 1..L, and mu of the roots, `(n, t, symbols)`, up to a factor for every token.
    """
    n, positions = tokens.shape
    place = torch.arange(positions, device=tokens.device)
    inner = torch.nn.functional.one_hot(tokens, tables.vocab_size).to(tables.dtype)
    beliefs = []
    for level, laws in enumerate(_laws_of_nodes(tables, read, roots, positions), start=1):
        t, states = tables[level], read[level - 1][1]
        own = torch.div(place, tables.blocks[level - 1], rounding_mode="floor")
        node, child_of = torch.div(own, t.tuple_size, rounding_mode="floor"), own % t.tuple_size
        opened = inner.new_zeros(n, positions, t.num_symbols)
        for child in range(t.tuple_size):
            here = (child_of == child).nonzero().squeeze(1)
            state = states[child - 1][:, node[here]].reshape(-1) if child else None
            reached = _opened(t, child, state, inner[:, here].flatten(0, 1))
            opened[:, here] = reached.view(n, len(here), t.num_symbols)
        inner = opened / _or_one(opened.amax(2, keepdim=True))
        joint = inner * laws[:, node]
        beliefs.append(joint / _or_one(joint.sum(2, keepdim=True)))
    return beliefs, inner


def _laws_of_nodes(tables: Tables, read, roots: torch.Tensor, positions: int) -> list[torch.Tensor]:
    """Entry ℓ - 1, ℓ = 1..L, `(n, nodes, symbols)`: the law of every node given all that is left of it."""
    laws = [roots]
    for level in range(tables.depth, 1, -1):
        states = [s[:, : laws[-1].shape[1]] for s in read[level - 1][1]]
        children, _ = _children(tables[level], laws[-1], states, is_last=False)
        laws.append(children[:, : math.ceil(positions / tables.blocks[level - 1])])
    return laws[::-1]


def _opened(t: LevelTables, child: int, states: torch.Tensor | None, inner: torch.Tensor) -> torch.Tensor:
    """mu of the parent, `(N, V)`, from that of its child `child`, `(N, v)`, and the states before it."""
    if child == 0 and t._first_child is not None:
        with torch.autocast(inner.device.type, enabled=False):
            return inner @ t._first_child.t()
    if states is None:
        states = torch.zeros(len(inner), dtype=torch.int64, device=inner.device)
    parents, probs, symbols = (table.index_select(0, states) for table in t.continuations[child])
    weights = inner.gather(1, symbols).mul_(probs)
    return inner.new_zeros(len(inner), t.num_symbols).scatter_add_(1, parents, weights)


def _or_one(divisor: torch.Tensor) -> torch.Tensor:
    return torch.where(divisor > 0, divisor, 1.0)
