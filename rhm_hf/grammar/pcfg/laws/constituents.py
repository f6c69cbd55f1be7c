"""What posteriors of general grammars are: the laws of the tokens, and the symbols over spans."""

from typing import NamedTuple

import torch


class Spans(NamedTuple):
    """Posterior probabilities of constituents, those of positive probability only, row by row.

    Args:
        rows, symbols, starts, ends (`torch.Tensor`): int64 `(constituents,)`: the sentence, the symbol (numbered as
            `grammar.symbols`), its first token and the one after its last. Empty constituents are not listed.
        probs (`torch.Tensor`): `(constituents,)`: the probability that the derivation has such a constituent.
    """

    rows: torch.Tensor
    symbols: torch.Tensor
    starts: torch.Tensor
    ends: torch.Tensor
    probs: torch.Tensor

    def dense(self, num_rows: int, num_symbols: int, longest: int) -> torch.Tensor:
        """`(rows, symbols, longest + 1, longest + 1)`: entry [n, a, i, j] for symbol a over the tokens i .. j - 1."""
        table = self.probs.new_zeros(num_rows, num_symbols, longest + 1, longest + 1)
        table[self.rows, self.symbols, self.starts, self.ends] = self.probs
        return table


class Posteriors(NamedTuple):
    """Posterior laws given evidence; entry 0 those of the tokens, as in other families.

    Args:
        tokens (`torch.Tensor`): `(n, t, v)`; uniform beyond a row's length, and where the evidence is impossible.
        spans ([`Spans`]): the symbols over every span.
    """

    tokens: torch.Tensor
    spans: Spans
