"""N-gram models of sentences of one length (a table for every position) and of any text (one table)."""

from collections.abc import Iterator
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F

from ...checks import check_integer, check_memory, checked
from ..modeling_law import LawForCausalLM
from .buffers import CountedLaw
from .configuration_ngram import NGramConfig
from .counts import count_contexts
from .documents import Documents, checked_weights


class NGramForCausalLM(CountedLaw, LawForCausalLM):
    """A token's law given the n - 1 tokens before it, from smoothed counts; [`NGramForCausalLM.fit`] makes one.

    A context that did not occur has the law of the longest shorter one that did. A special id in the context hides
    what lies before it. With tables by position all mass is on EOS after a complete sentence. With `ends` the end of a
    sentence, EOS, is an outcome like the symbols, and after it all mass is on it.
    """

    config_class: type[NGramConfig] = NGramConfig

    @classmethod
    @checked
    def fit(
        cls,
        input_ids: Any,
        order: int = 3,
        *,
        num_symbols: int | None = None,
        tied: bool = False,
        smoothing: str = "kneser_ney",
        add_k: float = 0.5,
        discount: float | None = None,
        weights: Any = None,
        ends: bool = False,
    ) -> "NGramForCausalLM":
        """Counts a corpus.

        Args:
            input_ids: sentences `(N, d)` as array, tensor or lists; a `Dataset` with a column `input_ids`; with
                `tied`, also one text `(T,)` or documents of different lengths. Symbols only, without special ids.
            order (`int`, *optional*, defaults to 3): n, 1 for the law of a token by itself. Any number: no table grows
                like v^n.
            num_symbols (`int`, *optional*, defaults to the largest id + 1): v.
            tied (`bool`, *optional*, defaults to `False`): one table for all positions.
            smoothing (`str`), add_k (`float`), discount (`float`, *optional*): see [`NGramConfig`].
            weights (array, *optional*): weight of every sentence or document, such as its probability; with
                `smoothing="add_k"` only, since Kneser-Ney counts.
            ends (`bool`, *optional*, defaults to `False`): count where sentences end: laws have one more outcome, END
                = EOS, as those of a source whose lengths vary. Rows may then be padded with PAD = v + 1, where
                `num_symbols` is given; tables by position take sentences of different lengths.

        Raises:
            `ValueError`: for anything out of range, empty data, or sentences of different lengths where neither `tied`
                nor `ends`.
        """
        order = check_integer("order", order, 1)
        documents = Documents.of(input_ids, num_symbols, padded=ends)
        if not tied and not ends and documents.common_length is None:
            raise ValueError(
                "input_ids holds sentences of different lengths: tables by position need one; pass tied=True, or "
                "ends=True, which counts where they end"
            )
        if not tied and len(documents.lengths) == 1:
            raise ValueError(
                "input_ids holds one row: tables by position (tied=False) would see one token each; pass tied=True"
            )
        num_bytes = 16 * min(order, int(documents.lengths.max(initial=0))) * len(documents.tokens)
        check_memory(f"order={order}: contexts of {len(documents.tokens)} tokens", num_bytes, "take a smaller order")
        weights = checked_weights(weights, len(documents.lengths), smoothing)
        config = NGramConfig(
            documents.num_symbols,
            order,
            tied,
            None if tied or ends else documents.common_length,
            smoothing,
            add_k,
            discount,
            ends=ends,
        )
        documents = documents.with_ends() if ends else documents
        positions = documents.positions
        counts = count_contexts(
            np.zeros_like(positions) if tied else positions,
            documents.tokens,
            _lagged(documents.tokens, positions, order - 1, config.num_symbols if tied else -1),
            config.num_outcomes,
            config.num_symbols + 1,
            None if weights is None else np.repeat(weights, documents.lengths),
        )
        model = cls.from_counts(config, counts)
        if ends:
            model.generation_config.max_new_tokens = int(documents.lengths.max())
        elif tied and documents.common_length is not None:
            model.generation_config.max_new_tokens = documents.common_length
        return model

    @property
    def num_outcomes(self) -> int:
        return self.config.num_outcomes

    @property
    def context_base(self) -> int:
        return self.config.num_symbols + 1

    def next_probs(self, symbols: torch.Tensor, is_symbol: torch.Tensor, is_end: torch.Tensor) -> torch.Tensor:
        config = self.config
        batch, read = symbols.shape
        rows = read + 1 if config.sentence_length is None else min(read + 1, config.sentence_length)
        position = torch.arange(rows, device=symbols.device)
        known = torch.where(is_symbol, symbols, -1)
        groups = torch.zeros_like(position) if config.tied else position
        laws = self.laws(groups.repeat(batch), self._contexts(known, position))
        laws = laws.view(batch, rows, config.num_outcomes)
        if not config.ends:
            return laws
        ended = F.pad(is_end.long().cumsum(1).bool(), (1, 0))
        return torch.where(
            ended[..., None], F.one_hot(torch.tensor(config.num_symbols), config.num_outcomes).to(laws), laws
        )

    def _contexts(self, known: torch.Tensor, position: torch.Tensor) -> Iterator[torch.Tensor]:
        """The symbols at lag 1, 2, .. before every position, row after row."""
        beginning = torch.full_like(known[:, :1], self.config.num_symbols if self.config.tied else -1)
        known = torch.cat([beginning, known], 1)  # column j + 1 is token j
        for lag in range(1, self.config.order):
            before = (position - lag + 1).clamp(min=0)
            yield torch.where(position + 1 >= lag, known[:, before], -1).flatten()


def _lagged(tokens: np.ndarray, positions: np.ndarray, longest: int, beginning: int) -> Iterator[np.ndarray]:
    """The symbol at lag 1 .. `longest` before every token: `beginning` just before a document's first, -1 beyond."""
    for lag in range(1, longest + 1):
        symbols = np.where(positions == lag - 1, beginning, -1)
        inside = np.flatnonzero(positions >= lag)
        symbols[inside] = tokens[inside - lag]
        yield symbols
