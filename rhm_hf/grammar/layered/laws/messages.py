"""Belief propagation up the tree, exact for any evidence on the leaves.

The message of a node is P(evidence below | its symbol), up to a constant whose logarithm is kept:

    up(a) = sum over rules r of a of w_r,      w_r = p(r) prod over children i of up_i(r_i).

A node whose tokens are all observed has one possible symbol, as rules are unambiguous: it is parsed, and only *open*
nodes, with something hidden below, have messages. Messages are matrices `(symbols, v + open nodes)`, open nodes of all
sentences side by side: the batch runs along the contiguous axis, and rules select whole rows. Their first v columns
are the identity, the messages of known symbols, so that a node is told by the number of its column.
"""

from dataclasses import dataclass

import torch

from .rule_tables import LevelTables, Tables, look_up


# The weights of all rules are computed for as many nodes at a time as make a tensor of so many bytes.
CHUNK_BYTES = {"cpu": 2**20, "cuda": 2**27}


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

    def __post_init__(self) -> None:
        v = self.messages.shape[0]
        self.own: torch.Tensor = self.messages[:, v:]
        # Each node's column. Symbol 0 stands in for nodes that no rule derives: their log evidence is -inf already.
        ranks = torch.arange(v, self.messages.shape[1], device=self.symbols.device)
        self.column: torch.Tensor = torch.where(self.symbols == v, 0, self.symbols)
        self.column.view(-1).index_copy_(0, self.open, ranks)


def leaves_of(tables: Tables, evidence: list[torch.Tensor]) -> Level:
    """The leaves' messages from `[tokens, hidden]` or from `[likelihoods]`."""
    v = tables.vocab_size
    if len(evidence) == 2:
        tokens, hidden = evidence
        log_evidence = torch.zeros(len(tokens), dtype=torch.float64, device=tokens.device)
        opened = hidden.reshape(-1).nonzero().squeeze(1)
        messages = torch.ones(v, v + len(opened), dtype=tables.dtype, device=tokens.device)
        return Level(torch.where(hidden, v, tokens), opened, with_identity(messages), log_evidence)
    (evidence,) = evidence
    peak, symbol = evidence.max(-1)
    is_open = (evidence > 0).sum(-1) != 1
    opened = is_open.view(-1).nonzero().squeeze(1)
    messages = torch.empty(v, v + len(opened), dtype=tables.dtype, device=evidence.device)
    messages[:, v:] = (evidence[is_open] / guarded(peak[is_open]).unsqueeze(1)).t()
    return Level(torch.where(is_open, v, symbol), opened, with_identity(messages), peak.log().sum(1))


def with_identity(messages: torch.Tensor) -> torch.Tensor:
    """Sets the first v columns to the messages (and the posteriors) of known symbols."""
    messages[:, : len(messages)].zero_().fill_diagonal_(1.0)
    return messages


def guarded(divisor: torch.Tensor) -> torch.Tensor:
    """Zeros replaced by the smallest number: 0 / 0 is 0 here, the message of a node that cannot be."""
    return divisor.clamp(min=torch.finfo(divisor.dtype).tiny)


def upward(tables: Tables, leaves: Level) -> list[Level]:
    """Entry ℓ = 0..L: the messages of every level."""
    up = [leaves]
    # Smaller weights count as 0, so that nothing overflows when posteriors are divided by them on the way down.
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
        for part in parts(t, len(opened), tables):
            weights = rule_weights(t, below.messages, children[:, part])
            torch.sum(weights.view(v, t.rules_per_symbol, -1), 1, out=own[:, part])
        torch.nn.functional.threshold_(own, smallest, 0.0)
        scale = own.amax(0)
        own /= guarded(scale)
        log_evidence.index_add_(0, opened // rules.shape[1], scale.double().log() + t.common_log_prob)
        up.append(Level(look_up(t.parents, rules), opened, with_identity(messages), log_evidence, children, scale))
    return up


def parts(t: LevelTables, nodes: int, tables: Tables) -> list[slice]:
    """Slices of the open nodes for which the weights of all rules fit the caches."""
    rule_bytes = t.rules.shape[1] * tables.root_probs.element_size()
    size = max(1, tables.limit(CHUNK_BYTES) // rule_bytes)
    return [slice(start, min(start + size, nodes)) for start in range(0, nodes, size)]


def rule_weights(t: LevelTables, below: torch.Tensor, children: torch.Tensor) -> torch.Tensor:
    """w_r up to a probability common to all rules, `(rules, nodes)`; children are columns `(s, nodes)` of `below`."""
    weights = None
    for rule_child, column in zip(t.rules, children, strict=True):
        # gather takes columns several times faster than index_select does, in float64
        message = below.gather(1, column.expand(t.num_child_symbols, -1))
        factor = message.index_select(0, rule_child)
        weights = factor if weights is None else weights.mul_(factor)
    return weights if t.is_equiprobable else weights.mul_(t.rule_probs)
