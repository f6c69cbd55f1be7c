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
from .tables import LevelTables, Tables, look_up, tables_for


# Sentences are handled in chunks of about this many tokens, and the weights of all rules for as many nodes at a time as
# make a tensor of so many bytes: what the caches hold, or what a GPU likes.
CHUNK_TOKENS = {"cpu": 2**16, "cuda": 2**20}
CHUNK_BYTES = {"cpu": 2**20, "cuda": 2**27}


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
    dtype, evidence = checked_dtype(dtype), _checked(grammar, tokens, mask, evidence)
    n, device = len(evidence[0]), evidence[0].device
    laws = [
        torch.empty(n, grammar.num_nodes_at(level), grammar.num_symbols_at(level), dtype=dtype, device=device)
        for level in range(grammar.depth + 1)
    ]
    log_evidence = torch.empty(n, dtype=torch.float64, device=device)
    tables = tables_for(grammar, device, dtype)
    for chunk in _chunks(tables, n):
        part, out = [array[chunk] for array in evidence], [law[chunk] for law in laws]
        log_evidence[chunk] = _posteriors(tables, part, out)
        if dtype == torch.float32 and log_evidence[chunk].isneginf().any():
            # Impossible, or products of likelihoods that float32 cannot hold: float64 tells.
            log_evidence[chunk] = _posteriors(tables_for(grammar, device), part, out)
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
    evidence = _checked(grammar, tokens, mask, evidence)
    tables = tables_for(grammar, evidence[0].device)
    samples, log_evidence = [], []
    for chunk in _chunks(tables, len(evidence[0])):
        up = _upward(tables, _leaves(tables, [array[chunk] for array in evidence]))
        root, logs = _root_posterior(tables, up[-1])
        log_evidence.append(logs)
        if not logs.isneginf().any():
            samples.append(_sampled(tables, up, root, generator))
    _refuse_impossible(torch.cat(log_evidence))
    return [torch.cat(level) for level in zip(*samples, strict=True)]


def _checked(grammar, tokens, mask, evidence) -> list[torch.Tensor]:
    """`[evidence]`, or `[tokens, hidden]` with symbol 0 where a token is hidden."""
    if (tokens is None) == (evidence is None):
        raise ValueError(
            "give either tokens (with or without a mask) or evidence, of shape (sentences, d, vocab_size)"
        )
    if evidence is not None:
        if mask is not None:
            raise ValueError("mask goes with tokens; in evidence a hidden token is a row of ones")
        return [checked_evidence(grammar, evidence)]
    hidden = None if mask is None else checked_mask(mask, tokens)
    tokens = checked_tokens(grammar, tokens, hidden=hidden)
    return [tokens, torch.zeros_like(tokens, dtype=torch.bool) if hidden is None else hidden]


def _chunks(tables: Tables, n: int) -> list[slice]:
    size = max(1, tables.limit(CHUNK_TOKENS) // tables.sentence_length)
    return [slice(start, min(start + size, n)) for start in range(0, max(n, 1), size)]


def _refuse_impossible(log_evidence: torch.Tensor) -> None:
    impossible = log_evidence.isneginf()
    if impossible.any():
        row = int(impossible.nonzero()[0])
        raise ValueError(
            f"the evidence of row {row} is impossible ({int(impossible.sum())} of {len(impossible)} rows are): no "
            "sentence of the grammar agrees with it; posteriors(..., return_log_evidence=True) marks such rows instead"
        )


@dataclass
class Level:
    """What goes up from one level.

    Attributes:
        symbols (`torch.Tensor`): int64 `(n, nodes)`: the symbols of known nodes, v for open ones.
        open (`torch.Tensor`): int64 `(N,)`, the open nodes' flat indices, in order.
        messages (`torch.Tensor`): `(v, v + N)`, the identity and the open nodes' messages, whose maxima are 1.
        log_evidence (`torch.Tensor`): float64 `(n,)`, the logarithm of all constants taken out so far.
        children (`torch.Tensor`): int64 `(s, N)`, the columns of the open nodes' children one level below.
        scale (`torch.Tensor`): `(N,)`, the maximum of each message before it was divided by it.
    """

    symbols: torch.Tensor
    open: torch.Tensor
    messages: torch.Tensor
    log_evidence: torch.Tensor
    children: torch.Tensor | None = None
    scale: torch.Tensor | None = None

    def __post_init__(self):
        v = self.messages.shape[0]
        self.own = self.messages[:, v:]
        # Each node's column. Symbol 0 stands in for nodes that no rule derives: their log evidence is -inf already.
        ranks = torch.arange(v, self.messages.shape[1], device=self.symbols.device)
        self.column = torch.where(self.symbols == v, 0, self.symbols)
        self.column.view(-1).index_copy_(0, self.open, ranks)


def _leaves(tables: Tables, evidence: list[torch.Tensor]) -> Level:
    v = tables.vocab_size
    if len(evidence) == 2:
        tokens, hidden = evidence
        log_evidence = torch.zeros(len(tokens), dtype=torch.float64, device=tokens.device)
        opened = hidden.reshape(-1).nonzero().squeeze(1)
        messages = torch.ones(v, v + len(opened), dtype=tables.dtype, device=tokens.device)
        return Level(torch.where(hidden, v, tokens), opened, _with_identity(messages), log_evidence)
    (evidence,) = evidence
    peak, symbol = evidence.max(-1)
    is_open = (evidence > 0).sum(-1) != 1
    opened = is_open.view(-1).nonzero().squeeze(1)
    messages = torch.empty(v, v + len(opened), dtype=tables.dtype, device=evidence.device)
    messages[:, v:] = (evidence[is_open] / _guarded(peak[is_open]).unsqueeze(1)).t()
    return Level(torch.where(is_open, v, symbol), opened, _with_identity(messages), peak.log().sum(1))


def _with_identity(messages: torch.Tensor) -> torch.Tensor:
    messages[:, : len(messages)].zero_().fill_diagonal_(1.0)
    return messages


def _guarded(divisor: torch.Tensor) -> torch.Tensor:
    """Zeros replaced by the smallest number: 0 / 0 is 0 here, the message of a node that cannot be."""
    return divisor.clamp(min=torch.finfo(divisor.dtype).tiny)


def _upward(tables: Tables, leaves: Level) -> list[Level]:
    """Entry ℓ = 0..L: the messages of every level."""
    up = [leaves]
    # Ratios of likelihoods beyond this are not held: nothing overflows when posteriors are divided by messages.
    smallest = torch.finfo(tables.dtype).tiny ** 0.75
    for level in range(1, tables.depth + 1):
        t, below = tables[level], up[-1]
        rules = t.read(below.symbols.unflatten(1, (-1, t.tuple_size)))[-1]  # open children lead to the dead state
        opened = torch.unique_consecutive(below.open // t.tuple_size)
        log_probs = look_up(t.log_probs, rules)
        log_probs.view(-1).index_fill_(0, opened, 0.0)
        log_evidence = below.log_evidence + log_probs.sum(1)
        children = below.column.view(-1, t.tuple_size).index_select(0, opened).t().contiguous()
        v = t.num_symbols
        messages = below.messages.new_empty(v, v + len(opened))
        own = messages[:, v:]
        for part in _parts(t, len(opened), tables):
            weights = _rule_weights(t, below.messages, children[:, part])
            torch.sum(weights.view(v, t.rules_per_symbol, -1), 1, out=own[:, part])
        scale = own.amax(0) if len(opened) else own.sum(0)
        own /= _guarded(scale)
        torch.nn.functional.threshold_(own, smallest, 0.0)
        log_evidence.index_add_(0, opened // rules.shape[1], scale.double().log() + t.common_log_prob)
        up.append(Level(look_up(t.parents, rules), opened, _with_identity(messages), log_evidence, children, scale))
    return up


def _parts(t: LevelTables, nodes: int, tables: Tables):
    """Slices of the open nodes for which the weights of all rules fit the caches."""
    rule_bytes = t.rules.shape[1] * tables.root_probs.element_size()
    size = max(1, tables.limit(CHUNK_BYTES) // rule_bytes)
    return [slice(start, min(start + size, nodes)) for start in range(0, nodes, size)]


def _rule_weights(t: LevelTables, below: torch.Tensor, children: torch.Tensor) -> torch.Tensor:
    """w_r without a probability common to all rules, `(rules, nodes)`; children by their columns `(s, nodes)` of `below`."""
    weights = None
    for rule_child, column in zip(t.rules, children, strict=True):
        # gather takes columns several times faster than index_select does, in float64
        message = below.gather(1, column.expand(t.num_child_symbols, -1))
        factor = message.index_select(0, rule_child)
        weights = factor if weights is None else weights.mul_(factor)
    return weights if t.is_equiprobable else weights.mul_(t.rule_probs)


def _root_posterior(tables: Tables, root: Level) -> tuple[torch.Tensor, torch.Tensor]:
    """The posterior of the roots, `(classes, classes + open roots)`, and the log probability of all evidence, `(n,)`."""
    classes = tables.root_probs.shape[0]
    joint = root.messages * tables.root_probs[:, None]
    total = joint.sum(0)
    log_evidence = root.log_evidence + total.double().log()[root.column[:, 0]]
    return _with_identity(joint / _guarded(total)), log_evidence


def _posteriors(tables: Tables, evidence: list[torch.Tensor], out: list[torch.Tensor]) -> torch.Tensor:
    """Writes the laws of every level into `out` and returns the log probability of the evidence."""
    up = _upward(tables, _leaves(tables, evidence))
    posterior, log_evidence = _root_posterior(tables, up[-1])
    impossible = log_evidence.isneginf()
    any_impossible = bool(impossible.any())
    for level in range(tables.depth, -1, -1):
        rows = posterior.t().to(out[level].dtype).contiguous()
        torch.index_select(rows, 0, up[level].column.view(-1), out=out[level].view(-1, len(posterior)))
        if any_impossible:
            out[level][impossible] = 1 / len(posterior)
        if level:
            posterior = _children_posterior(tables, level, up[level], up[level - 1], posterior)
    return log_evidence


def _children_posterior(tables: Tables, level: int, at: Level, below: Level, posterior: torch.Tensor) -> torch.Tensor:
    """The posteriors one level below, in the columns `(v, v + open nodes)`."""
    t = tables[level]
    result = torch.empty_like(below.messages)
    for part in _parts(t, len(at.open), tables):
        weights = _rule_weights(t, below.messages, at.children[:, part]).view(t.num_symbols, t.rules_per_symbol, -1)
        ratio = posterior[:, t.num_symbols :][:, part] / _guarded(at.own[:, part]) / _guarded(at.scale[part])
        weights = weights.mul_(ratio.unsqueeze(1)).flatten(0, 1)
        for rule_child, column in zip(t.rules, at.children[:, part], strict=True):
            law = posterior.new_zeros(t.num_child_symbols, len(column)).index_add_(0, rule_child, weights)
            # Known children write to the first columns, which are the identity again in the end.
            result.scatter_(1, column.expand(t.num_child_symbols, -1), law)
    return _with_identity(result)


def _sampled(tables: Tables, up: list[Level], root: torch.Tensor, generator) -> list[torch.Tensor]:
    symbols = up[-1].symbols.clone()
    symbols[up[-1].open, 0] = _draw(root[:, len(root) :].t(), generator)
    levels = [symbols]
    for level in range(tables.depth, 0, -1):
        t, at, below = tables[level], up[level], up[level - 1]
        parents = levels[-1].view(-1)[at.open]
        children = t.rules.view(t.tuple_size, t.num_symbols, -1)[:, parents]  # (s, open nodes, rules per symbol)
        weights = t.rule_probs.view(t.num_symbols, -1)[parents]
        for child, column in zip(children, at.children, strict=True):
            weights = weights * below.messages[child, column[:, None]]
        choice = _draw(weights, generator)
        drawn = children.gather(2, choice.expand(t.tuple_size, -1).unsqueeze(2)).squeeze(2)
        symbols = below.symbols.clone()
        symbols.view(-1, t.tuple_size)[at.open] = drawn.t()
        levels.append(symbols)
    return levels[::-1]


def _draw(weights: torch.Tensor, generator: torch.Generator | None) -> torch.Tensor:
    """One index for every row, with probability proportional to its weights; never one of weight 0."""
    summed = weights.cumsum(1)
    uniform = torch.rand(len(weights), 1, dtype=weights.dtype, device=weights.device, generator=generator)
    return (summed <= uniform * summed[:, -1:]).sum(1)
