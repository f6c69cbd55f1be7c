"""Posteriors of the symbol over every span given evidence on the tokens, by automatic differentiation of the chart.

The probability of the evidence, Z, is linear in every row of a chart, so the posterior of a symbol over a span is the
symbol's inside weight times the derivative of log Z with respect to it.
"""

from dataclasses import dataclass

import torch

from .span_rows import Frame, Rows
from .tree_charts import chart
from .tree_prefixes import LN2
from .tree_tables import TreeTables


@dataclass(frozen=True)
class SpanLaws:
    """The nodes of one level that a sentence may have, as a list over spans.

    Args:
        sentence, start, end (`torch.Tensor`): int64 `(spans,)`: the tokens `[start, end)` of a sentence.
        probs (`torch.Tensor`): `(spans, symbols)`: the probability that a node of the level has exactly these tokens
            and this symbol. Over all spans of a sentence that hold a given token they sum to one.
    """

    sentence: torch.Tensor
    start: torch.Tensor
    end: torch.Tensor
    probs: torch.Tensor

    def in_dtype(self, dtype: torch.dtype) -> "SpanLaws":
        """The same in another floating-point type."""
        return SpanLaws(self.sentence, self.start, self.end, self.probs.to(dtype))

    @classmethod
    def joined(cls, parts: list["SpanLaws"], like: torch.Tensor) -> "SpanLaws":
        """Several lists in one; an empty one on the device of `like` for none."""
        names = ("sentence", "start", "end", "probs")
        if not parts:
            empty = torch.zeros(0, dtype=torch.int64, device=like.device)
            return cls(empty, empty, empty, like.new_zeros(0, 0))
        return cls(*(torch.cat([getattr(part, name) for part in parts]) for name in names))


def evidence_rows(evidence: torch.Tensor, lengths: torch.Tensor) -> Rows:
    """Likelihoods `(n, T, v)` of the tokens as rows; those of impossible tokens are left out."""
    inside = torch.arange(evidence.shape[1], device=evidence.device) < lengths[:, None]
    inside &= (evidence > 0).any(2)
    sentence, start = inside.nonzero(as_tuple=True)
    vectors = evidence[sentence, start]
    shift = torch.frexp(vectors.amax(1))[1].to(torch.int64)
    return Rows(sentence, start, start + 1, vectors * torch.exp2(-shift.to(vectors.dtype))[:, None], shift)


def whole_sentences(top: Rows, lengths: torch.Tensor) -> torch.Tensor:
    """The rows of level L that end with their sentences."""
    return (top.end == lengths[top.sentence]).nonzero().squeeze(1)


def span_posteriors(
    frame: Frame, tables: TreeTables, evidence: torch.Tensor, lengths: torch.Tensor
) -> tuple[torch.Tensor, list[SpanLaws], torch.Tensor, torch.Tensor]:
    """The tokens' laws `(n, T, v)`, [`SpanLaws`] of the levels 1 .. L - 1, the root's `(n, V)`, and log Z in nats."""
    tokens = evidence_rows(evidence, lengths)
    with torch.enable_grad():
        tokens.vectors.requires_grad_()
        levels = chart(frame, tables, tokens)
        top = levels[-1].symbols
        whole = whole_sentences(top, lengths)
        joint = top.vectors[whole] * tables.root_probs
        total = joint.sum(1)
        rows = [tokens, *(level.symbols for level in levels[:-1])]
        possible = bool((total > 0).any())
        grads = (
            torch.autograd.grad(total[total > 0].log().sum(), [row.vectors for row in rows], allow_unused=True)
            if possible
            else [None] * len(rows)
        )
    laws = []
    for row, grad in zip(rows, grads, strict=True):
        vectors = row.vectors.detach()
        probs = vectors * (torch.zeros_like(vectors) if grad is None else grad)
        kept = (probs > 0).any(1).nonzero().squeeze(1)
        laws.append(SpanLaws(row.sentence[kept], row.start[kept], row.end[kept], probs[kept]))
    n = frame.num_sentences
    by_token = evidence.new_zeros(n, evidence.shape[1], evidence.shape[2])
    by_token[laws[0].sentence, laws[0].start] = laws[0].probs
    root = evidence.new_zeros(n, len(tables.root_probs))
    total = total.detach()
    root[top.sentence[whole]] = joint.detach() / (total + (total == 0))[:, None]
    logs = torch.full((n,), -torch.inf, dtype=torch.float64, device=evidence.device)
    logs[top.sentence[whole]] = total.double().log() + LN2 * top.exponents[whole].double()
    return by_token, laws[1:], root, logs
