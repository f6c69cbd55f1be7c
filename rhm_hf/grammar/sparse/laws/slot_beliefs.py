"""Posteriors of every node of a sparse grammar given any evidence on the tokens; exact, placements summed over.

Messages go up as in `messages`: up(a) = P(evidence below | symbol a). A patch is read along the prefixes q of the
rules' tuples (the states of the base's prefix tree), e_t being the message of slot t if it is empty:

    placement A    F_c(x) = mean over slots j of sub-patch c of up_j(x) prod_(i != j) e_i,
                   alpha_(k+1)(q x) = alpha_k(q) F_(k+1)(x),
    placement B    alpha_k(q x) <- alpha_k(q x) e_t + alpha_(k-1)(q) up_t(x)  slot by slot,
                   in the end over the number of placements,

and up(a) is the sum of p(r) alpha_s(r) over the rules of a, up(empty) the product of all e_t. As Z, the probability of
the evidence, is linear in every message, the posterior of a node is up(x) dZ/dup(x) / Z: automatic differentiation of
log Z is the pass down.
"""

import math
from dataclasses import dataclass
from typing import Any

import torch

from ...fixed_tree import FixedTree
from ...laws.posteriors import posteriors_by_chunks, slices
from ...layered.laws.messages import guarded
from .slot_tables import SparseLevel, SparseTables, sparse_tables_for


# Chunks of sentences hold about this many bytes of messages until the derivatives are taken.
CHUNK_BYTES = {"cpu": 2**26, "cuda": 2**30}


def sparse_posteriors(
    grammar: FixedTree,
    tokens: torch.Tensor = None,
    mask: Any = None,
    evidence: Any = None,
    dtype: torch.dtype | None = None,
    return_log_evidence: bool = False,
) -> list[torch.Tensor] | tuple[list[torch.Tensor], torch.Tensor]:
    """See [`~rhm_hf.inference.posteriors`]; the empty symbol is the last of its level below the root."""

    def compute(dtype: torch.dtype, part: list[torch.Tensor], out: list[torch.Tensor]) -> torch.Tensor:
        return _posteriors(sparse_tables_for(grammar, part[0].device, dtype), part, out)

    def sentences(n: int) -> list[slice]:
        tables = sparse_tables_for(grammar, torch.device("cpu"))
        return slices(n, tables.base.limit(CHUNK_BYTES) // sentence_bytes(tables))

    given = (tokens, mask, evidence)
    return posteriors_by_chunks(grammar, given, dtype, sentences, compute, return_log_evidence)


def sentence_bytes(tables: SparseTables) -> int:
    """What is kept of one sentence until the derivatives are taken, about."""
    entries = 0
    for level, at in enumerate(tables.levels, start=1):
        kept = at.num_slots if at.kind == "B" else 1
        nodes = tables.sentence_length // tables.blocks[level]
        entries += 4 * nodes * (kept * at.t.rules.shape[1] + at.num_slots * (at.t.num_child_symbols + 1))
    return entries * tables.base.root_probs.element_size()


def _posteriors(tables: SparseTables, evidence: list[torch.Tensor], out: list[torch.Tensor]) -> torch.Tensor:
    """Writes the laws of every level into `out` and returns the log probability of the evidence."""
    with torch.inference_mode(False), torch.enable_grad():  # whatever the caller's mode
        levels, log_evidence = upward(tables, evidence)
        messages = [level.messages for level in levels]
        total = (messages[-1] * tables.base.root_probs.clone()[:, None]).sum(0)
        log_evidence = log_evidence + total.detach().double().log()
        impossible = log_evidence.isneginf()
        # Impossible sentences have no derivative: they are left out, and uniform in the end.
        log_total = torch.where(impossible, 1.0, total).log().sum()
        gradients = torch.autograd.grad(log_total, messages, allow_unused=True, materialize_grads=True)
    for law, level, gradient in zip(out, levels, gradients, strict=True):
        message = level.messages.detach()
        # No derivative reaches what is below a known node: it is known itself.
        posterior = torch.where(level.is_open.view(-1), message * gradient, message).t().reshape(law.shape)
        law.copy_(torch.where(impossible[:, None, None], 1 / law.shape[2], posterior))
    return log_evidence


@dataclass
class Level:
    """What goes up from one level.

    Attributes:
        symbols (`torch.Tensor`): int64 `(n, nodes)`, the symbols of known nodes, whose tokens are all observed.
        is_open (`torch.Tensor`): bool `(n, nodes)`, False where a node is known.
        messages (`torch.Tensor`): `(symbols, n nodes)`; those of known nodes are one-hot, of dead ones 0.
    """

    symbols: torch.Tensor
    is_open: torch.Tensor
    messages: torch.Tensor


def upward(tables: SparseTables, evidence: list[torch.Tensor]) -> tuple[list[Level], torch.Tensor]:
    """Entry ℓ = 0..L: what goes up, and the logarithm `(n,)` of all constants taken out of the messages."""
    leaves, log_evidence = _leaves(tables, evidence)
    levels = [leaves]
    for level in range(1, tables.depth + 1):
        at, below, is_root = tables[level], levels[-1], level == tables.depth
        read = at.read(below.symbols.unflatten(1, (-1, at.num_slots)))
        is_open = below.is_open.unflatten(1, (-1, at.num_slots)).any(-1)
        log_evidence = log_evidence + at.log_probs(read).masked_fill(is_open, 0.0).sum(1)
        opened = is_open.view(-1).nonzero().squeeze(1)
        own, scale = _scaled(_patch_messages(at, below.messages, opened, with_empty=not is_root))
        log_evidence = log_evidence.index_add(0, opened // is_open.shape[1], scale.double().log())
        messages = _one_hot(read.parents, len(own), tables.dtype).index_copy(1, opened, own)
        levels.append(Level(read.parents, is_open, messages))
    if not levels[-1].messages.requires_grad:  # nothing is hidden
        levels[-1].messages.requires_grad_()
    return levels, log_evidence


def _leaves(tables: SparseTables, evidence: list[torch.Tensor]) -> tuple[Level, torch.Tensor]:
    """The tokens' level, and the logarithms `(n,)` of what their messages were divided by."""
    if len(evidence) == 2:
        tokens, hidden = evidence
        messages = torch.where(hidden.view(-1), 1.0, _one_hot(tokens, tables.vocab_size, tables.dtype))
        log_evidence = torch.zeros(len(tokens), dtype=torch.float64, device=tokens.device)
        return Level(tokens, hidden, messages.requires_grad_()), log_evidence
    (evidence,) = evidence
    scaled, scale = _scaled(evidence.flatten(0, 1).t().contiguous())
    is_open = (evidence > 0).sum(-1) != 1
    messages = scaled.to(tables.dtype).requires_grad_()
    return Level(evidence.argmax(-1), is_open, messages), scale.log().view(len(evidence), -1).sum(1)


def _one_hot(symbols: torch.Tensor, size: int, dtype: torch.dtype) -> torch.Tensor:
    """`(size, n nodes)`; symbols of `size` or more have columns of zeros."""
    return (symbols.reshape(-1) == torch.arange(size, device=symbols.device)[:, None]).to(dtype)


def _scaled(messages: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """Messages over their maxima, which are constants to the derivative, and the maxima.

    Smaller messages count as 0, so that no derivative, which is at most their inverse, overflows.
    """
    smallest = torch.finfo(messages.dtype).tiny ** 0.75
    kept = messages.detach() >= smallest
    scale = torch.where(kept, messages.detach(), 0.0).amax(0)
    return torch.where(kept, messages / guarded(scale), 0.0), scale


def _patch_messages(at: SparseLevel, below: torch.Tensor, nodes: torch.Tensor, with_empty: bool) -> torch.Tensor:
    """From the messages of all slots to those of N `nodes` above them, `(V + 1, N)`, at the root `(V, N)`."""
    weights, slots = rule_weights(at, below, nodes)
    up = weights.view(at.t.num_symbols, at.t.rules_per_symbol, -1).sum(1)
    return torch.cat([up, slots[:, -1:].prod(0)]) if with_empty else up


def rule_weights(at: SparseLevel, below: torch.Tensor, nodes: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """p(r) alpha_s(r) of all rules for N nodes, `(rules, N)`, and the messages of their slots, `(slots, v + 1, N)`."""
    v = at.t.num_child_symbols
    slots = below.view(v + 1, -1, at.num_slots).index_select(1, nodes).permute(2, 0, 1).contiguous()
    alpha = (_separate if at.kind == "A" else _anywhere)(at, *slots.split([v, 1], 1))
    return alpha * at.rule_probs, slots


def _separate(at: SparseLevel, informative: torch.Tensor, empty: torch.Tensor) -> torch.Tensor:
    """alpha_s of placement A, `(rules, N)`."""
    shape = (at.t.tuple_size, -1)
    informative, empty = informative.unflatten(0, shape).unbind(1), empty.unflatten(0, shape).unbind(1)
    width = len(empty)
    child = 0.0
    for slot in range(width):
        others = [empty[other] for other in range(width) if other != slot]
        child = child + math.prod(others, start=informative[slot])
    alpha = None
    for (prefix, symbol), law in zip(at.prefixes, (child / width).unbind(0), strict=True):
        factor = law.index_select(0, symbol)
        alpha = factor if alpha is None else alpha.index_select(0, prefix) * factor
    return alpha


def _anywhere(at: SparseLevel, informative: torch.Tensor, empty: torch.Tensor) -> torch.Tensor:
    """alpha_s of placement B, `(rules, N)`."""
    size = at.t.tuple_size
    alpha: list = [torch.ones_like(empty[0])] + [None] * size
    for slot, (law, vacant) in enumerate(zip(informative.unbind(0), empty.unbind(0), strict=True)):
        left = at.num_slots - slot - 1  # with k children placed, s - k have to fit
        for k in range(min(size, slot + 1), max(0, size - left) - 1, -1):
            moved = None
            if k > 0:
                prefix, symbol = at.prefixes[k - 1]
                before = alpha[k - 1] if k == 1 else alpha[k - 1].index_select(0, prefix)
                moved = before * law.index_select(0, symbol)
            stayed = None if alpha[k] is None else alpha[k] * vacant
            alpha[k] = stayed if moved is None else moved if stayed is None else stayed + moved
    return alpha[size] / at.num_placements
