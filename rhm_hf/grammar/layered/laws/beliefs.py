"""Posteriors of every node given any evidence on the leaves, and derivations drawn from them; exact.

The messages of `messages` have gone up to the root. Given a node's symbol, its rule has the posterior w_r / up(a), so
that posteriors follow from posteriors, from the root down:

    post_i(x) = sum over rules r with r_i = x of post(parent(r)) w_r / up(parent(r)).
"""

from typing import Any

import torch

from ...laws.dispatch import by_family
from ...laws.inputs import checked_dtype, checked_evidence, checked_mask, checked_tokens
from .messages import Level, guarded, leaves_of, parts, rule_weights, upward, with_identity
from .rule_tables import Tables, tables_for


# Sentences are handled in chunks of about this many tokens: what caches hold, or what a GPU likes.
CHUNK_TOKENS = {"cpu": 2**16, "cuda": 2**20}


@by_family
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
        mask (tensor, array or list, *optional*): bool `(n, d)`, True where a token is hidden; without it, none is.
        evidence (tensor, array or list, *optional*): instead of tokens, likelihoods >= 0 of all symbols at all leaves,
            `(n, d, v)`: a one-hot row is an observed token, a constant row a hidden one. Masking, uniform and Gaussian
            diffusion noise all take this form.
        dtype (`torch.dtype`, *optional*, defaults to `torch.float64`): of the computation, or `torch.float32`. Symbols
            whose likelihood is below 1e-230 of that of a node's likeliest (1e-28 in float32) count as impossible.
        return_log_evidence (`bool`, *optional*, defaults to `False`): also return the log probability of the evidence.

    Returns:
        `list[torch.Tensor]`: entry ℓ = 0 (leaves) .. L (root), of shape `(n, nodes at level ℓ, symbols of level ℓ)`.
        With `return_log_evidence`, also float64 `(n,)`, nats: the logarithm of the sum over sentences of P(sentence)
        times the product of its likelihoods; -inf where the evidence is impossible, and there all laws are uniform. On
        CUDA the number of nodes that are not fully observed is read back once a level.

    Raises:
        `ValueError`: for bad input, and for impossible evidence unless `return_log_evidence` is set.
    """
    dtype, evidence = checked_dtype(dtype), given_evidence(grammar, tokens, mask, evidence)
    n, device = len(evidence[0]), evidence[0].device
    laws = [
        torch.empty(n, grammar.num_nodes_at(level), grammar.num_symbols_at(level), dtype=dtype, device=device)
        for level in range(grammar.depth + 1)
    ]
    log_evidence = torch.empty(n, dtype=torch.float64, device=device)
    tables = tables_for(grammar, device, dtype)
    for chunk in chunks(tables, n, grammar.sentence_length):
        part, out = [array[chunk] for array in evidence], [law[chunk] for law in laws]
        log_evidence[chunk] = _posteriors(tables, part, out)
        if dtype == torch.float32 and log_evidence[chunk].isneginf().any():
            # Impossible, or products of likelihoods that float32 cannot hold: float64 tells.
            log_evidence[chunk] = _posteriors(tables_for(grammar, device), part, out)
    if return_log_evidence:
        return laws, log_evidence
    refuse_impossible(log_evidence)
    return laws


@by_family
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
    evidence = given_evidence(grammar, tokens, mask, evidence)
    tables = tables_for(grammar, evidence[0].device)
    samples, log_evidence = [], []
    for chunk in chunks(tables, len(evidence[0]), grammar.sentence_length):
        up = upward(tables, leaves_of(tables, [array[chunk] for array in evidence]))
        root, logs = _root_posterior(tables, up[-1])
        log_evidence.append(logs)
        if not logs.isneginf().any():
            samples.append(sampled(tables, up, root, generator))
    refuse_impossible(torch.cat(log_evidence))
    return [torch.cat(level) for level in zip(*samples, strict=True)]


def given_evidence(grammar, tokens, mask, evidence) -> list[torch.Tensor]:
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


def chunks(tables: Tables, n: int, sentence_length: int) -> list[slice]:
    """The sentences that are handled together."""
    size = max(1, tables.limit(CHUNK_TOKENS) // sentence_length)
    return [slice(start, min(start + size, n)) for start in range(0, max(n, 1), size)]


def refuse_impossible(log_evidence: torch.Tensor) -> None:
    """Raises the `ValueError` that names the first row without any law."""
    impossible = log_evidence.isneginf()
    if impossible.any():
        row = int(impossible.nonzero()[0])
        raise ValueError(
            f"the evidence of row {row} is impossible ({int(impossible.sum())} of {len(impossible)} rows are): no "
            "sentence of the grammar agrees with it; posteriors(..., return_log_evidence=True) marks such rows instead"
        )


def _root_posterior(tables: Tables, root: Level) -> tuple[torch.Tensor, torch.Tensor]:
    """The posterior of the roots, `(classes, classes + open roots)`, and the log probability of the evidence."""
    joint = root.messages * tables.root_probs[:, None]
    total = joint.sum(0)
    log_evidence = root.log_evidence + total.double().log()[root.column[:, 0]]
    return with_identity(joint / guarded(total)), log_evidence


def _posteriors(tables: Tables, evidence: list[torch.Tensor], out: list[torch.Tensor]) -> torch.Tensor:
    """Writes the laws of every level into `out` and returns the log probability of the evidence."""
    up = upward(tables, leaves_of(tables, evidence))
    posterior, log_evidence = _root_posterior(tables, up[-1])
    downward(tables, up, posterior, log_evidence.isneginf(), out)
    return log_evidence


def downward(tables: Tables, up: list[Level], posterior, impossible: torch.Tensor, out: list[torch.Tensor]) -> None:
    """Writes the laws of every level, from the posterior of the roots; uniform ones where a row is impossible."""
    any_impossible = bool(impossible.any())
    for level in range(tables.depth, -1, -1):
        rows = posterior.t().to(out[level].dtype).contiguous()
        torch.index_select(rows, 0, up[level].column.view(-1), out=out[level].view(-1, len(posterior)))
        if any_impossible:
            out[level][impossible] = 1 / len(posterior)
        if level:
            posterior = _children_posterior(tables, level, up[level], up[level - 1], posterior)


def _children_posterior(tables: Tables, level: int, at: Level, below: Level, posterior: torch.Tensor) -> torch.Tensor:
    """The posteriors one level below, in the columns `(v, v + open nodes)`."""
    t = tables[level]
    result = torch.empty_like(below.messages)
    for part in parts(t, len(at.open), tables):
        weights = rule_weights(t, below.messages, at.children[:, part]).view(t.num_symbols, t.rules_per_symbol, -1)
        ratio = posterior[:, t.num_symbols :][:, part] / guarded(at.own[:, part]) / guarded(at.scale[part])
        weights = weights.mul_(ratio.unsqueeze(1)).flatten(0, 1)
        for rule_child, column in zip(t.rules, at.children[:, part], strict=True):
            law = posterior.new_zeros(t.num_child_symbols, len(column)).index_add_(0, rule_child, weights)
            # Known children write to the first columns, which are the identity again in the end.
            result.scatter_(1, column.expand(t.num_child_symbols, -1), law)
    return with_identity(result)


def sampled(tables: Tables, up: list[Level], root: torch.Tensor, generator) -> list[torch.Tensor]:
    """Derivations drawn from the root down, tokens first; of the roots' law, the columns of open ones are read."""
    symbols = up[-1].symbols.clone()
    symbols[up[-1].open, 0] = draw(root[:, len(root) :].t(), generator)
    levels = [symbols]
    for level in range(tables.depth, 0, -1):
        t, at, below = tables[level], up[level], up[level - 1]
        parents = levels[-1].view(-1)[at.open]
        children = t.rules.view(t.tuple_size, t.num_symbols, -1)[:, parents]  # (s, open nodes, rules per symbol)
        weights = t.rule_probs.view(t.num_symbols, -1)[parents]
        for child, column in zip(children, at.children, strict=True):
            weights = weights * below.messages[child, column[:, None]]
        choice = draw(weights, generator)
        drawn = children.gather(2, choice.expand(t.tuple_size, -1).unsqueeze(2)).squeeze(2)
        symbols = below.symbols.clone()
        symbols.view(-1, t.tuple_size)[at.open] = drawn.t()
        levels.append(symbols)
    return levels[::-1]


def draw(weights: torch.Tensor, generator: torch.Generator | None) -> torch.Tensor:
    """One index for every row `(choices,)`, with probability proportional to its weights; never one of weight 0."""
    summed = weights.cumsum(1)
    uniform = torch.rand(len(weights), 1, dtype=weights.dtype, device=weights.device, generator=generator)
    return (summed <= uniform * summed[:, -1:]).sum(1)
