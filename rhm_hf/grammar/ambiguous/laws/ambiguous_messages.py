"""Messages up and down a fixed tree whose rules may be ambiguous.

Where rules are unambiguous a complete left sister is one known symbol; here it is a vector, P(its tokens | its
symbol), and the passes keep their form: the law of child c of a node with the law pi, given all that is left of it, is

    D_c[x] = sum over rules r of pi[parent(r)] p(r) prod_(j<c) up_j[r_j] [r_c = x],   normalised.
"""

from dataclasses import dataclass
from typing import Any

import torch

from ...fixed_tree import FixedTree
from .level_messages import FactorisedLevel, ListedLevel, level_tables


class AmbiguousTables:
    """`tables[level]`, level = 1..L, the root's law and the marginal laws of all nodes, `(symbols, nodes)`."""

    def __init__(self, source: FixedTree, device: torch.device, dtype: torch.dtype):
        from ..ambiguous_counts import node_marginals

        self.depth: int = source.depth
        self.dtype: torch.dtype = dtype
        self.vocab_size: int = source.vocab_size
        sizes = [source.num_symbols_at(level) for level in range(source.depth + 1)]
        self.sizes: list[int] = sizes
        self.blocks: list[int] = [source.block_length(level) for level in range(source.depth + 1)]
        self.levels: list[FactorisedLevel | ListedLevel] = [
            level_tables(source.level(level), sizes[level - 1], device, dtype) for level in range(1, source.depth + 1)
        ]
        marginals = node_marginals(source.levels, source.root_probs, source.vocab_size)
        self.marginals: list[torch.Tensor] = [
            torch.tensor(laws.T.copy(), dtype=dtype, device=device) for laws in marginals
        ]
        self.root_probs: torch.Tensor = torch.tensor(source.root_probs, dtype=dtype, device=device)

    def __getitem__(self, level: int) -> FactorisedLevel | ListedLevel:
        return self.levels[level - 1]


@dataclass
class Upward:
    """Entry ℓ of `messages`: `(symbols, n, nodes)`, largest entry 1; `scales`: the logarithms taken out, `(n,)`."""

    messages: list[torch.Tensor]
    scale: torch.Tensor


def children_of(t: Any, below: torch.Tensor) -> list[torch.Tensor]:
    """Messages `(v, n, s * nodes)` child by child, each as `(v, n * nodes)`."""
    v = below.shape[0]
    return [below[:, :, child :: t.tuple_size].reshape(v, -1) for child in range(t.tuple_size)]


def token_messages(tables: AmbiguousTables, tokens: torch.Tensor, length: int) -> torch.Tensor:
    """`(v, n, length)`: a single 1 for each token, ones beyond them."""
    n, t = tokens.shape
    messages = torch.ones(tables.vocab_size, n, length, dtype=tables.dtype, device=tokens.device)
    messages[:, :, :t] = 0
    return messages.scatter_(0, tokens[None], 1.0) if t else messages


def upward(tables: AmbiguousTables, leaves: torch.Tensor, maximise: bool = False) -> Upward:
    """From the tokens' messages `(v, n, d)` to the root's; a node without any possible symbol has zeros."""
    n = leaves.shape[1]
    largest = leaves.amax(0)
    messages = [leaves / torch.where(largest > 0, largest, 1.0)]
    scale = largest.double().log().sum(1)
    for t in tables.levels:
        up = t.up(children_of(t, messages[-1]), maximise)
        largest = up.amax(0)
        up = up / torch.where(largest > 0, largest, 1.0)
        nodes = messages[-1].shape[2] // t.tuple_size
        scale = scale + largest.double().log().view(n, nodes).sum(1)
        messages.append(up.view(t.num_symbols, n, nodes))
    return Upward(messages, scale)


def causal(tables: AmbiguousTables, up: Upward, positions: int, top: int) -> list[tuple[torch.Tensor, torch.Tensor]]:
    """Laws of the nodes given everything left of them in their block of level `top`.

    Returns:
        Entry ℓ = 0..top: laws `(symbols, n, nodes that start before positions)`, zero where impossible, and whether
        they exist, bool `(n, nodes)`.
    """
    n = up.messages[0].shape[1]
    nodes = -(-positions // tables.blocks[top])
    law = tables.marginals[top][:, None, :nodes].expand(-1, n, -1)
    exists = torch.ones(n, nodes, dtype=torch.bool, device=law.device)
    found = [(law, exists)]
    for level in range(top, 0, -1):
        t, (law, exists) = tables[level], found[-1]
        nodes = law.shape[2]
        children = children_of(t, up.messages[level - 1][:, :, : nodes * t.tuple_size])
        flat = law.reshape(law.shape[0], -1)
        laws = torch.stack([t.down(flat, children[:child]) for child in range(t.tuple_size)], -1)
        laws = laws.view(laws.shape[0], n, nodes * t.tuple_size)[:, :, : -(-positions // tables.blocks[level - 1])]
        total = laws.sum(0)
        laws = laws / torch.where(total > 0, total, 1.0)
        found.append((laws, total > 0))
    return found[::-1]


def open_beliefs(tables: AmbiguousTables, up: Upward, positions: int) -> list[torch.Tensor]:
    """Entry ℓ - 1, ℓ = 1..L, `(symbols, n, positions)`: the law of token i's ancestor given the tokens up to i.

    mu_l[a] is the probability that a node a derives its tokens up to i, the last of them in child c:
    mu_l[a] = sum over its rules of p_r prod_(j<c) up_j[r_j] mu_(l-1)[r_c]; with the node's law given what is left of
    it, pi, the belief is pi[a] mu[a], normalised.
    """
    laws = causal(tables, up, positions, tables.depth)
    inner = up.messages[0][:, :, :positions]
    place = torch.arange(positions, device=inner.device)
    beliefs = []
    for level in range(1, tables.depth + 1):
        t, below = tables[level], up.messages[level - 1]
        own = torch.div(place, tables.blocks[level - 1], rounding_mode="floor")  # token i's ancestor one level below
        opened = inner.new_zeros(t.num_symbols, inner.shape[1], positions)
        for child in range(t.tuple_size):
            here = (own % t.tuple_size == child).nonzero().squeeze(1)
            sisters = [below[:, :, own[here] - child + j].flatten(1) for j in range(child)]
            reached = t.opened(sisters, inner[:, :, here].flatten(1))
            opened[:, :, here] = reached.view(t.num_symbols, inner.shape[1], len(here))
        largest = opened.amax(0)
        inner = opened / torch.where(largest > 0, largest, 1.0)
        joint = inner * laws[level][0][:, :, torch.div(place, tables.blocks[level], rounding_mode="floor")]
        total = joint.sum(0)
        beliefs.append(joint / torch.where(total > 0, total, 1.0))
    return beliefs


def downward(tables: AmbiguousTables, up: Upward) -> tuple[list[torch.Tensor], torch.Tensor]:
    """Posteriors of all nodes given the evidence, `(symbols, n, nodes)` by level, and its log probability."""
    root = up.messages[-1] * tables.root_probs[:, None, None]
    total = root.sum(0)
    laws = [root / torch.where(total > 0, total, 1.0)]
    for level in range(tables.depth, 0, -1):
        t = tables[level]
        children = children_of(t, up.messages[level - 1])
        found = t.posterior(laws[-1].flatten(1), up.messages[level].flatten(1), children)
        stacked = torch.stack(found, -1).view(up.messages[level - 1].shape)
        total_below = stacked.sum(0)
        laws.append(stacked / torch.where(total_below > 0, total_below, 1.0))
    return laws[::-1], total[:, 0].double().log() + up.scale


def derivation(tables: AmbiguousTables, up: Upward, choose: Any) -> list[torch.Tensor]:
    """All levels, tokens first, int64 `(n, nodes)`, chosen from the root down."""
    root = choose((up.messages[-1][:, :, 0] * tables.root_probs[:, None]).t())
    levels = [root[:, None]]
    for level in range(tables.depth, 0, -1):
        t = tables[level]
        drawn = t.draw(levels[-1].flatten(), children_of(t, up.messages[level - 1]), choose)
        levels.append(drawn.view(up.messages[level - 1].shape[1:]))
    return levels[::-1]
