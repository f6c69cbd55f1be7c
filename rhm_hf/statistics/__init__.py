"""Statistics of any token stream: correlations, effective context, and their exact values for a grammar."""

from typing import TYPE_CHECKING

from .._lazy import lazy_attributes


if TYPE_CHECKING:
    from .accumulator import Accumulator
    from .agreement import Agreement, compare_correlations
    from .correlations import TokenCorrelations, prefix_contexts, token_correlations
    from .counts import PairCounts
    from .exact import conditional_entropies, exact_correlation, joint_law, tuple_joint_law
    from .learner import LearnedLatents, learn_latents, synonym_agreement
    from .tuples import ngram_ids, tuple_ids

_EXPORTS = {  # most submodules import torch or numba
    "Accumulator": "accumulator",
    "Agreement": "agreement",
    "LearnedLatents": "learner",
    "PairCounts": "counts",
    "TokenCorrelations": "correlations",
    "compare_correlations": "agreement",
    "conditional_entropies": "exact",
    "exact_correlation": "exact",
    "joint_law": "exact",
    "learn_latents": "learner",
    "ngram_ids": "tuples",
    "prefix_contexts": "correlations",
    "synonym_agreement": "learner",
    "token_correlations": "correlations",
    "tuple_ids": "tuples",
    "tuple_joint_law": "exact",
}

__all__ = [
    "Accumulator",
    "Agreement",
    "LearnedLatents",
    "PairCounts",
    "TokenCorrelations",
    "compare_correlations",
    "conditional_entropies",
    "exact_correlation",
    "joint_law",
    "learn_latents",
    "ngram_ids",
    "prefix_contexts",
    "synonym_agreement",
    "token_correlations",
    "tuple_ids",
    "tuple_joint_law",
]
__getattr__, __dir__ = lazy_attributes(__name__, _EXPORTS)
