"""What the posteriors of all fixed trees share: space for the laws, chunks of sentences, precision, refusals."""

from collections.abc import Callable, Iterable
from typing import Any

import torch

from .inputs import check_given, checked_dtype, checked_evidence, checked_mask, checked_tokens


def posteriors_by_chunks(
    grammar: Any,
    given: tuple[Any, Any, Any],
    dtype: torch.dtype | None,
    chunks: Callable[[int], Iterable[slice]],
    compute: Callable[[torch.dtype, list[torch.Tensor], list[torch.Tensor]], torch.Tensor],
    return_log_evidence: bool,
) -> list[torch.Tensor] | tuple[list[torch.Tensor], torch.Tensor]:
    """The laws of every node given evidence on the tokens.

    Args:
        grammar ([`~rhm_hf.grammar.FixedTree`]): the source.
        given (`tuple`): tokens, mask and evidence, as people pass them.
        dtype (`torch.dtype`, *optional*, defaults to `torch.float64`): of the computation.
        chunks (`Callable`): the number of sentences to slices of those that are handled together.
        compute (`Callable`): `compute(dtype, evidence, out)` writes the laws of a chunk into `out` and returns the log
            probability of its evidence. In float32, a chunk with impossible rows is computed once more in float64:
            they may be products of likelihoods that float32 cannot hold.
        return_log_evidence (`bool`): also return float64 `(n,)`; otherwise impossible evidence is a `ValueError`.
    """
    dtype, evidence = checked_dtype(dtype), given_evidence(grammar, *given)
    n, device = len(evidence[0]), evidence[0].device
    laws = [
        torch.empty(n, grammar.num_nodes_at(level), grammar.num_symbols_at(level), dtype=dtype, device=device)
        for level in range(grammar.depth + 1)
    ]
    log_evidence = torch.empty(n, dtype=torch.float64, device=device)
    for chunk in chunks(n):
        part, out = [array[chunk] for array in evidence], [law[chunk] for law in laws]
        logs = compute(dtype, part, out)
        if dtype == torch.float32 and logs.isneginf().any():
            logs = compute(torch.float64, part, out)
        log_evidence[chunk] = logs
    if return_log_evidence:
        return laws, log_evidence
    refuse_impossible(log_evidence)
    return laws


def slices(n: int, size: int) -> list[slice]:
    """`n` sentences, `size` at a time; one empty slice where there are none."""
    size = max(1, size)
    return [slice(start, min(start + size, n)) for start in range(0, max(n, 1), size)]


def given_evidence(grammar: Any, tokens: Any, mask: Any, evidence: Any) -> list[torch.Tensor]:
    """`[evidence]`, or `[tokens, hidden]` with symbol 0 where a token is hidden."""
    check_given(tokens, mask, evidence)
    if evidence is not None:
        return [checked_evidence(grammar, evidence)]
    hidden = None if mask is None else checked_mask(mask, tokens)
    tokens = checked_tokens(grammar, tokens, hidden=hidden).contiguous()  # rows may be one row, expanded
    return [tokens, torch.zeros_like(tokens, dtype=torch.bool) if hidden is None else hidden.contiguous()]


def refuse_impossible(log_evidence: torch.Tensor) -> None:
    """Raises the `ValueError` that names the first row without any law."""
    impossible = log_evidence.isneginf()
    if impossible.any():
        row = int(impossible.nonzero()[0])
        raise ValueError(
            f"the evidence of row {row} is impossible ({int(impossible.sum())} of {len(impossible)} rows are): no "
            "sentence of the grammar agrees with it; posteriors(..., return_log_evidence=True) marks such rows instead"
        )


def draw(weights: torch.Tensor, generator: torch.Generator | None) -> torch.Tensor:
    """One index for every row `(choices,)`, with probability proportional to its weights; never one of weight 0."""
    summed = weights.cumsum(1)
    uniform = torch.rand(len(weights), 1, dtype=weights.dtype, device=weights.device, generator=generator)
    return (summed <= uniform * summed[:, -1:]).sum(1)
