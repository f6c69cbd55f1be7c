"""Configuration of the n-gram model."""

from typing import Any

from ...checks import PositiveInt, checked
from ..configuration_law import LawConfig
from ..sizes import NumParts, NumSymbols
from .smoothing import Counts, check_counts, check_smoothing


class NGramConfig(LawConfig):
    """Configuration of [`NGramForCausalLM`]; [`NGramForCausalLM.fit`] makes it.

    Args:
        num_symbols (`int`, *optional*, defaults to 2): v; symbol k has token id k, special ids follow.
        order (`int`, *optional*, defaults to 2): n; a token is predicted from the n - 1 tokens before it.
        tied (`bool`, *optional*, defaults to `False`): whether all positions share one table. BOS is then a symbol of
            the contexts; with a table for every position it would say nothing.
        sentence_length (`int`, *optional*): d, for tables by position; None for sequences of any length.
        smoothing (`str`, *optional*, defaults to `"kneser_ney"`): `"kneser_ney"` or `"add_k"`, see
            [`~rhm_hf.models.ngram.counts.SmoothedLaws`].
        add_k (`float`, *optional*, defaults to 0.5): k of add-k smoothing.
        discount (`float`, *optional*): D of Kneser-Ney smoothing; by default estimated from the counts. A given one
            above 0 excludes no symbol, an estimate may.
        ends (`bool`, *optional*, defaults to `False`): whether END = EOS is an outcome of the laws, after the symbols.
        num_contexts (`list[int]`, *optional*): contexts of order 0, 1, ..: shapes of the model's buffers.
        num_pairs (`list[int]`, *optional*): pairs of context and symbol of every order.
    """

    model_type = "ngram"

    @checked
    def __init__(
        self,
        num_symbols: NumSymbols = 2,
        order: NumParts = 2,
        tied: bool = False,
        sentence_length: PositiveInt | None = None,
        smoothing: str = "kneser_ney",
        add_k: float = 0.5,
        discount: Any = None,
        num_contexts: Counts = (0,),
        num_pairs: Counts = (0,),
        ends: bool = False,
        **kwargs: Any,
    ):
        check_smoothing(smoothing, add_k, discount)
        check_counts(num_contexts, num_pairs)
        self.order = order
        self.tied = tied
        self.sentence_length = sentence_length
        self.smoothing = smoothing
        self.add_k = add_k
        self.discount = discount
        self.ends = ends
        self.num_contexts: list[Any] = list(num_contexts)
        self.num_pairs: list[Any] = list(num_pairs)
        super().__init__(num_symbols, **kwargs)

    @property
    def num_outcomes(self) -> int:
        """v, and one more for END."""
        return self.num_symbols + self.ends
