"""Belief propagation on the tree, exact for any evidence on the leaves; and sampling from the posterior.

Up: the message of a node is P(evidence below | its symbol), up to a constant whose logarithm is kept,

    up(a) = sum over rules r of a of w_r,      w_r = p(r) prod over children i of up_i(r_i).

Down: given a node's symbol, its rule has the posterior w_r / up(a), so posteriors follow from posteriors,

    post_i(x) = sum over rules r with r_i = x of post(parent(r)) w_r / up(parent(r)).

A node whose tokens are all observed has one possible symbol, as rules are unambiguous: it is parsed, and only *open*
nodes, with something hidden below, have messages. Messages are matrices `(symbols, v + open nodes)`, open nodes of all
sentences side by side: the batch runs along the contiguous axis, and rules select whole rows. Their first v columns are
the identity, the messages of known symbols, so that a node is told by the number of its column.
"""

from dataclasses import dataclass
from typing import Any

import torch

from .inputs import checked_dtype, checked_evidence, checked_mask, checked_tokens
from .tables import LevelTables, Tables, tables_for


# The rules' weights are handled for as many nodes at a time as make a tensor of this many bytes: what caches hold.
CHUNK_BYTES = {"cpu": 2**19, "cuda": 2**27}


@torch.no_grad()
def posteriors(
    grammar,
    tokens: Any = None,
    mask: Any = None,
    evidence: Any = None,
    dtype: torch.dtype | None = None,
    return_log_evidence: bool = False,
) -> list[torch.Tensor] | tuple[list[torch.Tensor], torch.Tensor]:
    """The law of every node of the derivation given evidence on the tokens (Cagnetta et al., arXiv 2307.02129).

    Args:
        grammar (`Grammar`): the grammar.
        tokens (tensor, array or list, *optional*): integers of shape `(n, d)`; hidden entries may hold anything.
        mask (tensor, array or list, *optional*, defaults to nothing hidden): bool `(n, d)`, True where a token is hidden.
        evidence (tensor, array or list, *optional*): instead of tokens, `(n, d, v)`, likelihoods >= 0 of every symbol at
            every leaf: a one-hot row is an observed token, a constant row a hidden one. Masking, uniform and Gaussian
            diffusion noise all take this form.
        dtype (`torch.dtype`, *optional*, defaults to `torch.float64`): of the computation, or `torch.float32`.
        return_log_evidence (`bool`, *optional*, defaults to `False`): also return the log probability of the evidence.

    Returns:
        `list[torch.Tensor]`: entry ℓ = 0 (leaves) .. L (root), of shape `(n, nodes at level ℓ, symbols of level ℓ)`. With
        `return_log_evidence`, also float64 `(n,)`, nats: log of the sum over sentences of P(sentence) times the product of
        their likelihoods; -inf where the evidence is impossible, and there all laws are uniform. On CUDA the number of
        open nodes is read back once a level.

    Raises:
        `ValueError`: for bad input, and for impossible evidence unless `return_log_evidence` is set.
    """
    dtype, leaves = checked_dtype(dtype), _leaves(grammar, tokens, mask, evidence)
    laws, log_evidence = _posteriors(grammar, leaves, dtype)
    if dtype == torch.float32 and log_evidence.isneginf().any():
        # Impossible, or products of likelihoods that float32 cannot hold: float64 tells.
        laws, log_evidence = _posteriors(grammar, leaves, torch.float64)
        laws = [law.to(dtype) for law in laws]
    if return_log_evidence:
        return laws, log_evidence
    _refuse_impossible(log_evidence)
    return laws


@torch.no_grad()
def sample_posterior(
    grammar,
    tokens: Any = None,
    mask: Any = None,
    evidence: Any = None,
    generator: torch.Generator | None = None,
) -> list[torch.Tensor]:
    """One derivation for every row of evidence, drawn from its exact posterior from the root down.

    Args: as [`posteriors`]; `generator` (`torch.Generator`, *optional*) belongs to the evidence's device.

    Returns:
        `list[torch.Tensor]`: entry ℓ = 0 (tokens) .. L (root), int64 of shape `(n, nodes at level ℓ)`.
    """
    leaves = _leaves(grammar, tokens, mask, evidence)
    tables = tables_for(grammar, leaves.column.device)
    up = _upward(tables, leaves)
    root, log_evidence = _root_posterior(tables, up[-1])
    _refuse_impossible(log_evidence)
    return _sampled(tables, up, root, generator)


@dataclass
class Level:
    """What goes up from one level.

    Attributes:
        column (`torch.Tensor`): int64 `(n, nodes)`: the symbol of a known node, v + rank of an open one.
        messages (`torch.Tensor`): `(v, v + open nodes)`, the identity and the open nodes' messages, which sum to 1.
        log_evidence (`torch.Tensor`): float64 `(n,)`, the logarithm of all constants taken out so far.
        children (`torch.Tensor`): int64 `(s, open nodes)`, the columns of the open nodes' children one level below.
        scale (`torch.Tensor`): `(open nodes,)`, the sum of each message before it was normalised.
    """

    column: torch.Tensor
    messages: torch.Tensor
    log_evidence: torch.Tensor
    children: torch.Tensor | None = None
    scale: torch.Tensor | None = None

    @property
    def num_symbols(self) -> int:
        return self.messages.shape[0]

    def is_open(self) -> torch.Tensor:
        return self.column >= self.num_symbols


def _columns(is_open: torch.Tensor, symbols: torch.Tensor, num_symbols: int) -> torch.Tensor:
    """Symbols where nodes are known; v, v+1, .. for the open ones in order."""
    rank = is_open.flatten().cumsum(0).view(is_open.shape) + (num_symbols - 1)
    return torch.where(is_open, rank, symbols)


def _leaves(grammar, tokens, mask, evidence) -> Level:
    v = grammar.vocab_size
    if (tokens is None) == (evidence is None):
        raise ValueError(
            "give either tokens (with or without a mask) or evidence, of shape (sentences, d, vocab_size)"
        )
    if evidence is not None:
        if mask is not None:
            raise ValueError("mask goes with tokens; in evidence a hidden token is a row of ones")
        return _soft_leaves(checked_evidence(grammar, evidence))
    hidden = None if mask is None else checked_mask(mask, tokens)
    tokens = checked_tokens(grammar, tokens, hidden=hidden)
    eye = torch.eye(v, dtype=torch.float64, device=tokens.device)
    log_evidence = torch.zeros(len(tokens), dtype=torch.float64, device=tokens.device)
    if hidden is None:
        return Level(tokens, eye, log_evidence)
    column = _columns(hidden, tokens, v)
    open_nodes = int(hidden.sum())
    # Hidden tokens have likelihood 1, and messages sum to 1.
    log_evidence += hidden.sum(1) * torch.tensor(v, dtype=torch.float64).log()
    return Level(column, torch.cat([eye, eye.new_full((v, open_nodes), 1 / v)], 1), log_evidence)


def _soft_leaves(evidence: torch.Tensor) -> Level:
    v = evidence.shape[-1]
    peak, symbol = evidence.max(-1)  # taken out first: sums of huge likelihoods would overflow
    is_open = (evidence > 0).sum(-1) != 1
    column = _columns(is_open, symbol, v)
    soft = evidence[is_open] / _guarded(peak[is_open]).unsqueeze(-1)
    total = soft.sum(-1, keepdim=True)
    log_evidence = peak.log()
    log_evidence[is_open] += total.squeeze(-1).log()
    eye = torch.eye(v, dtype=torch.float64, device=evidence.device)
    return Level(column, torch.cat([eye, (soft / _guarded(total)).t()], 1), log_evidence.sum(1))


def _guarded(divisor: torch.Tensor) -> torch.Tensor:
    """Zeros replaced by ones: 0 / 0 is 0 here, the message of a node that cannot be."""
    return divisor + (divisor == 0)


def _refuse_impossible(log_evidence: torch.Tensor) -> None:
    impossible = log_evidence.isneginf()
    if impossible.any():
        row = int(impossible.nonzero()[0])
        raise ValueError(
            f"the evidence of row {row} is impossible ({int(impossible.sum())} of {len(impossible)} rows are): no "
            "sentence of the grammar agrees with it; posteriors(..., return_log_evidence=True) marks such rows instead"
        )


def _upward(tables: Tables, leaves: Level) -> list[Level]:
    """Entry ℓ = 0..L: the messages of every level."""
    messages = leaves.messages.to(tables.dtype)
    up = [Level(leaves.column, messages, leaves.log_evidence)]
    for level in range(1, tables.depth + 1):
        t = tables[level]
        n = len(leaves.column)
        children = up[-1].column.view(n, -1, t.tuple_size)
        is_open = up[-1].is_open().view(children.shape).any(-1)
        rules = t.read(children.clamp(max=t.num_child_symbols))[-1]  # an open child leads to the dead state
        log_evidence = t.log_probs[rules].masked_fill_(is_open, 0.0).sum(1) + up[-1].log_evidence
        # A known node that fails is -inf now; symbol 0 stands in for it.
        symbols = t.parents[rules]
        column = _columns(is_open, symbols.masked_fill(symbols == t.num_symbols, 0), t.num_symbols)
        sentence = is_open.nonzero()[:, 0]
        opened = children[is_open].t().contiguous()
        messages = torch.empty(t.num_symbols, t.num_symbols + len(sentence), dtype=tables.dtype, device=tables.device)
        messages[:, : t.num_symbols] = torch.eye(t.num_symbols, dtype=tables.dtype, device=tables.device)
        own = messages[:, t.num_symbols :]
        for part in _parts(t, len(sentence), tables):
            weights = _rule_weights(t, up[-1].messages, opened[:, part])
            own[:, part] = weights.view(t.num_symbols, t.rules_per_symbol, -1).sum(1)
        scale = own.sum(0)
        own /= _guarded(scale)
        log_evidence.index_add_(0, sentence, scale.double().log())
        up.append(Level(column, messages, log_evidence, opened, scale))
    return up


def _parts(t: LevelTables, nodes: int, tables: Tables):
    """Slices of the open nodes for which the weights of all rules fit the caches."""
    rule_bytes = t.rules.shape[1] * tables.root_probs.element_size()
    size = max(1, CHUNK_BYTES.get(tables.device.type, CHUNK_BYTES["cuda"]) // rule_bytes)
    return [slice(start, min(start + size, nodes)) for start in range(0, nodes, size)]


def _rule_weights(t: LevelTables, below: torch.Tensor, children: torch.Tensor) -> torch.Tensor:
    """p(r) prod up_i(r_i): `(rules, nodes)` for nodes whose children have the columns `(s, nodes)` of `below`."""
    weights = t.rule_probs
    for rule_child, column in zip(t.rules, children, strict=True):
        # gather takes columns several times faster than index_select does, in float64
        message = below.gather(1, column.expand(t.num_child_symbols, -1))
        factor = message.index_select(0, rule_child)
        weights = factor.mul_(weights)
    return weights


def _root_posterior(tables: Tables, root: Level) -> tuple[torch.Tensor, torch.Tensor]:
    """The posterior of the open roots, `(classes, open roots)`, and the log probability of all evidence, `(n,)`."""
    v, column = root.num_symbols, root.column[:, 0]
    joint = root.messages[:, v:] * tables.root_probs[:, None]
    total = joint.sum(0)
    log_evidence = root.log_evidence.clone()
    is_open = column >= v
    log_evidence[is_open] += total.double().log()
    log_evidence[~is_open] += tables.root_probs.double().log()[column[~is_open]]
    return joint / _guarded(total), log_evidence


def _posteriors(grammar, leaves: Level, dtype: torch.dtype) -> tuple[list[torch.Tensor], torch.Tensor]:
    tables = tables_for(grammar, leaves.column.device, dtype)
    up = _upward(tables, leaves)
    posterior, log_evidence = _root_posterior(tables, up[-1])
    impossible = log_evidence.isneginf()
    laws = []
    for level in range(tables.depth, -1, -1):
        law = _laws(up[level], posterior)
        laws.append(torch.where(impossible[:, None, None], 1 / law.shape[-1], law))
        if level:
            posterior = _children_posterior(tables, level, up[level], up[level - 1], posterior)
        up[level] = None  # free its messages
    return laws[::-1], log_evidence


def _laws(at: Level, posterior: torch.Tensor) -> torch.Tensor:
    """`(n, nodes, v)` from the columns of open nodes `(v, open nodes)`; known nodes are one-hot."""
    v = at.num_symbols
    rows = torch.cat([torch.eye(v, dtype=posterior.dtype, device=posterior.device), posterior.t()])
    return rows.index_select(0, at.column.flatten()).view(*at.column.shape, v)


def _children_posterior(tables: Tables, level: int, at: Level, below: Level, posterior: torch.Tensor) -> torch.Tensor:
    """The posterior of the open nodes one level below, `(v, open nodes)`."""
    t = tables[level]
    v = t.num_child_symbols
    result = posterior.new_empty(v, below.messages.shape[1] - v)
    done = 0  # an open node's open children come in order, and the parent of an open node is open
    for part in _parts(t, posterior.shape[1], tables):
        weights = _rule_weights(t, below.messages, at.children[:, part])
        message = at.messages[:, t.num_symbols :][:, part] * at.scale[part]
        weights = weights.view(t.num_symbols, t.rules_per_symbol, -1)
        weights = weights.mul_((posterior[:, part] / _guarded(message)).unsqueeze(1)).flatten(0, 1)
        laws = posterior.new_zeros(v, t.tuple_size, weights.shape[1])
        for child in range(t.tuple_size):
            laws[:, child].index_add_(0, t.rules[child], weights)
        is_open = (at.children[:, part] >= v).t().flatten()
        opened = laws.transpose(1, 2).flatten(1)[:, is_open]
        result[:, done : done + opened.shape[1]] = opened
        done += opened.shape[1]
    return result


def _sampled(tables: Tables, up: list[Level], root: torch.Tensor, generator) -> list[torch.Tensor]:
    symbols = up[-1].column.clone()
    is_open = up[-1].is_open()
    symbols[is_open] = _draw(root.t(), generator)
    levels = [symbols]
    for level in range(tables.depth, 0, -1):
        t, below = tables[level], up[level - 1]
        parents = levels[-1][up[level].is_open()]
        children = t.rules.view(t.tuple_size, t.num_symbols, -1)[:, parents]  # (s, open nodes, rules per symbol)
        weights = t.rule_probs.view(t.num_symbols, -1)[parents]
        for child, column in zip(children, up[level].children, strict=True):
            weights = weights * below.messages[child, column[:, None]]
        choice = _draw(weights, generator)
        symbols = below.column.clone()
        drawn = children.gather(2, choice.expand(t.tuple_size, -1).unsqueeze(2)).squeeze(2)
        symbols.view(len(symbols), -1, t.tuple_size)[up[level].is_open()] = drawn.t()
        levels.append(symbols)
    return levels[::-1]


def _draw(weights: torch.Tensor, generator: torch.Generator | None) -> torch.Tensor:
    """One index for every row, with probability proportional to its weights; never one of weight 0."""
    summed = weights.cumsum(1)
    uniform = torch.rand(len(weights), 1, dtype=weights.dtype, device=weights.device, generator=generator)
    return (summed <= uniform * summed[:, -1:]).sum(1)
