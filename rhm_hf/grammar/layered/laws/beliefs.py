"""Posteriors of every node given any evidence on the leaves, and derivations drawn from them; exact.

The messages of `messages` have gone up to the root. Given a node's symbol, its rule has the posterior w_r / up(a), so
that posteriors follow from posteriors, from the root down:

    post_i(x) = sum over rules r with r_i = x of post(parent(r)) w_r / up(parent(r)).
"""

from typing import Any

import torch

from ...fixed_tree import FixedTree
from ...laws.posteriors import draw, given_evidence, posteriors_by_chunks, refuse_impossible, slices
from .messages import Level, guarded, leaves_of, parts, rule_weights, upward, with_identity
from .rule_tables import Tables, tables_for


# Sentences are handled in chunks of about this many tokens: what caches hold, or what a GPU likes.
CHUNK_TOKENS = {"cpu": 2**16, "cuda": 2**20}


@torch.no_grad()
def posteriors(
    grammar: FixedTree,
    tokens: torch.Tensor = None,
    mask: Any = None,
    evidence: Any = None,
    dtype: torch.dtype | None = None,
    return_log_evidence: bool = False,
) -> list[torch.Tensor] | tuple[list[torch.Tensor], torch.Tensor]:
    """See [`~rhm_hf.inference.posteriors`].

    On CUDA the number of nodes that are not fully observed is read back once a level.

    Memory: a chunk of n tokens, 2^16 of them (2^20 on CUDA), has messages of v (v + n) numbers on a level, v the most
    symbols of any, and weights of all rules of as many nodes as make 1 MiB (128 MiB there). Besides, the results.
    """

    def compute(dtype: torch.dtype, part: list[torch.Tensor], out: list[torch.Tensor]) -> torch.Tensor:
        return _posteriors(tables_for(grammar, part[0].device, dtype), part, out)

    def sentences(n: int) -> list[slice]:
        return chunks(tables_for(grammar, torch.device("cpu")), n, grammar.sentence_length)

    given = (tokens, mask, evidence)
    return posteriors_by_chunks(grammar, given, dtype, sentences, compute, return_log_evidence)


@torch.no_grad()
def sample_posterior(
    grammar: FixedTree,
    tokens: torch.Tensor = None,
    mask: Any = None,
    evidence: Any = None,
    generator: torch.Generator | None = None,
) -> list[torch.Tensor]:
    """See [`~rhm_hf.inference.sample_posterior`]."""
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


def chunks(tables: Tables, n: int, sentence_length: int) -> list[slice]:
    """The sentences that are handled together."""
    return slices(n, tables.limit(CHUNK_TOKENS) // sentence_length)


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


def downward(
    tables: Tables, up: list[Level], posterior: Any, impossible: torch.Tensor, out: list[torch.Tensor]
) -> None:
    """Writes the laws of every level, from the posterior of the roots; uniform ones where a row is impossible."""
    any_impossible = bool(impossible.any())
    for level in range(tables.depth, -1, -1):
        rows = posterior.t().to(out[level].dtype).contiguous()
        torch.index_select(rows, 0, up[level].column.view(-1), out=out[level].view(-1, len(posterior)))
        if any_impossible:
            out[level][impossible] = 1 / len(posterior)
        if level:
            posterior = children_posterior(tables, level, up[level], up[level - 1], posterior)


def children_posterior(tables: Tables, level: int, at: Level, below: Level, posterior: torch.Tensor) -> torch.Tensor:
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


def sampled(
    tables: Tables, up: list[Level], root: torch.Tensor, generator: torch.Generator | None
) -> list[torch.Tensor]:
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
