"""N-grams of latent symbols: counting where the theory says it is cheap (Cagnetta and Wyart, arXiv 2406.00048)."""

from typing import Any

import numpy as np
import torch
from torch.nn import functional as F

from ...checks import checked
from ...grammar import FixedTree, Grammar
from ...grammar.layered.laws.rule_tables import tables_for
from ...grammar.layered.laws.token_laws import read_prefix
from ..rhm.modeling_rhm import RHMPreTrainedModel
from .buffers import CountedLaw
from .configuration_hierarchical_ngram import HierarchicalNGramConfig
from .counts import count_contexts
from .documents import Documents, checked_weights


class HierarchicalNGramForCausalLM(RHMPreTrainedModel, CountedLaw):
    """A token's law given the latent symbols to its left, from smoothed counts, a table for every position.

    The hierarchical context of depth ℓ holds the left siblings of the token's level-j ancestors, j = 0..ℓ-1, nearest
    first, parsed with the grammar: at most (s - 1) ℓ symbols, which separate the token from the rest of its level-ℓ
    block. With enough data the law is the oracle's of `context_level` ℓ. There are of the order of v m^ℓ contexts with
    their targets, against v m^((s^ℓ - 1)/(s - 1)) for s^ℓ-grams of tokens. A context that did not occur, or that no
    rule derives, has the law of the longest shorter one that did. [`HierarchicalNGramForCausalLM.fit`] makes one.
    """

    config_class: type[HierarchicalNGramConfig] = HierarchicalNGramConfig

    @classmethod
    @checked
    def fit(
        cls,
        input_ids: Any,
        grammar: FixedTree,
        context_level: int | None = None,
        *,
        smoothing: str = "kneser_ney",
        add_k: float = 0.5,
        discount: float | None = None,
        weights: Any = None,
    ) -> "HierarchicalNGramForCausalLM":
        """Counts the sentences of a corpus.

        Args:
            input_ids: sentences of the grammar, `(N, d)`, as array, tensor or lists, or a `Dataset` with a column
                `input_ids`. Symbols only.
            grammar ([`~rhm_hf.grammar.FixedTree`]): parses them; given, or inferred from data.
            context_level (`int`, *optional*, defaults to L): ℓ, 0 for the law of a position by itself.
            smoothing (`str`), add_k (`float`), discount (`float`, *optional*): see [`NGramConfig`].
            weights (array, *optional*): weight of every sentence, with `smoothing="add_k"` only.

        Raises:
            `ValueError`: for anything out of range, no sentences at all, or one that the grammar does not derive.
        """
        if not isinstance(grammar, Grammar):
            raise ValueError(
                f"grammar={grammar.name} has no rules of its own at every level to parse with: pass a Grammar, "
                "such as to_grammar() of a sparse one"
            )
        documents = Documents.of(input_ids, grammar.vocab_size)
        if documents.common_length != grammar.sentence_length:
            raise ValueError(
                f"input_ids must hold sentences of {grammar.sentence_length} tokens, those of {grammar.name}"
            )
        tokens = documents.tokens.reshape(-1, grammar.sentence_length)
        config = HierarchicalNGramConfig.from_grammar(
            grammar, context_level=context_level, smoothing=smoothing, add_k=add_k, discount=discount
        )
        derivations = grammar.parse(tokens)
        weights = checked_weights(weights, len(tokens), smoothing)
        d = grammar.sentence_length
        symbols = np.concatenate([level.astype(np.int64) for level in derivations], 1)
        counts = count_contexts(
            np.tile(np.arange(d), len(tokens)),
            documents.tokens,
            (
                np.where(column < 0, -1, symbols[:, column]).ravel()
                for column in context_columns(grammar, context_level)
            ),
            grammar.vocab_size,
            _context_base(grammar),
            None if weights is None else weights.repeat(d),
        )
        return cls.from_counts(config, counts)._hold(grammar)

    @property
    def context_base(self) -> int:
        return _context_base(self.grammar)

    def next_probs(self, symbols: torch.Tensor, is_symbol: torch.Tensor, is_end: torch.Tensor) -> torch.Tensor:
        grammar, tables = self.grammar, tables_for(self.grammar, symbols.device)
        batch, d = len(symbols), grammar.sentence_length
        rows = min(symbols.shape[1] + 1, d)
        known = torch.where(is_symbol, symbols, grammar.vocab_size)  # the dead symbol, of which no rule is made
        levels = [children.flatten(1) for children, _ in read_prefix(tables, known, d)]
        levels = [
            torch.where(level < grammar.num_symbols_at(number), level, -1) for number, level in enumerate(levels)
        ]
        columns = torch.tensor(context_columns(grammar, self.config.context_level), device=symbols.device)[:, :rows]
        parsed = F.pad(torch.cat(levels, 1), (0, 1), value=-1)  # the last column stands for "no sibling"
        position = torch.arange(rows, device=symbols.device)
        laws = self.laws(position.repeat(batch), (parsed[:, column].flatten() for column in columns))
        return laws.view(batch, rows, grammar.vocab_size)


def _context_base(grammar: Grammar) -> int:
    return max(grammar.num_symbols_at(level) for level in range(grammar.depth))


def context_columns(grammar: Grammar, context_level: int | None = None) -> np.ndarray:
    """Which node of a derivation is the k-th symbol of a position's context.

    Returns:
        `np.ndarray`: int64 `(longest context, d)`, an index into all nodes of levels 0, 1, .. side by side; -1 where
        the context has ended.
    """
    chains: list[list[int]] = [[] for _ in range(grammar.sentence_length)]
    offset = 0
    for level in range(grammar.depth if context_level is None else context_level):
        for position, chain in enumerate(chains):
            node = position // grammar.block_length(level)
            chain.extend(offset + node - back for back in range(1, node % grammar.tuple_size_at(level + 1) + 1))
        offset += grammar.num_nodes_at(level)
    columns = np.full((max(map(len, chains)), len(chains)), -1)
    for position, chain in enumerate(chains):
        columns[: len(chain), position] = chain
    return columns
