"""Statistics of any token stream: correlations, effective context, and their exact values for a grammar."""

from typing import TYPE_CHECKING

from .._lazy import lazy_attributes


if TYPE_CHECKING:
    from .accumulator import Accumulator
    from .curves.collapse import Collapse, collapse_quality
    from .curves.collapse_fit import CollapseFit, CollapseScan, fit_collapse
    from .curves.endings import LearningCurves
    from .curves.exponents import (
        LocalExponents,
        ScalingFit,
        envelope_exponent,
        local_exponents,
        synonym_exponent,
    )
    from .curves.learning_curves import HalfWayPoints, half_way_points, last_crossing, mean_half_way_points, num_steps
    from .curves.polygon import PlateauPolygon, plateau_polygon
    from .exact import conditional_entropies, exact_correlation, joint_law, tuple_joint_law
    from .learner.latents import LearnedLatents, learn_latents, synonym_agreement
    from .pairs.agreement import Agreement, compare_correlations
    from .pairs.correlations import TokenCorrelations, token_correlations
    from .pairs.decay import context_curve
    from .pairs.pair_counts import PairCounts
    from .pairs.prefixes import prefix_contexts
    from .pairs.tuples import ngram_ids, tuple_ids

_EXPORTS = {  # most submodules import torch or numba
    "Accumulator": "accumulator",
    "Agreement": "pairs.agreement",
    "Collapse": "curves.collapse",
    "CollapseFit": "curves.collapse_fit",
    "CollapseScan": "curves.collapse_fit",
    "HalfWayPoints": "curves.learning_curves",
    "LearnedLatents": "learner.latents",
    "LearningCurves": "curves.endings",
    "LocalExponents": "curves.exponents",
    "PairCounts": "pairs.pair_counts",
    "PlateauPolygon": "curves.polygon",
    "ScalingFit": "curves.exponents",
    "TokenCorrelations": "pairs.correlations",
    "collapse_quality": "curves.collapse",
    "compare_correlations": "pairs.agreement",
    "conditional_entropies": "exact",
    "context_curve": "pairs.decay",
    "envelope_exponent": "curves.exponents",
    "exact_correlation": "exact",
    "fit_collapse": "curves.collapse_fit",
    "half_way_points": "curves.learning_curves",
    "joint_law": "exact",
    "last_crossing": "curves.learning_curves",
    "learn_latents": "learner.latents",
    "local_exponents": "curves.exponents",
    "mean_half_way_points": "curves.learning_curves",
    "ngram_ids": "pairs.tuples",
    "num_steps": "curves.learning_curves",
    "plateau_polygon": "curves.polygon",
    "prefix_contexts": "pairs.prefixes",
    "synonym_agreement": "learner.latents",
    "synonym_exponent": "curves.exponents",
    "token_correlations": "pairs.correlations",
    "tuple_ids": "pairs.tuples",
    "tuple_joint_law": "exact",
}

__all__ = [
    "Accumulator",
    "Agreement",
    "Collapse",
    "CollapseFit",
    "CollapseScan",
    "HalfWayPoints",
    "LearnedLatents",
    "LearningCurves",
    "LocalExponents",
    "PairCounts",
    "PlateauPolygon",
    "ScalingFit",
    "TokenCorrelations",
    "collapse_quality",
    "compare_correlations",
    "conditional_entropies",
    "context_curve",
    "envelope_exponent",
    "exact_correlation",
    "fit_collapse",
    "half_way_points",
    "joint_law",
    "last_crossing",
    "learn_latents",
    "local_exponents",
    "mean_half_way_points",
    "ngram_ids",
    "num_steps",
    "plateau_polygon",
    "prefix_contexts",
    "synonym_agreement",
    "synonym_exponent",
    "token_correlations",
    "tuple_ids",
    "tuple_joint_law",
]
if not TYPE_CHECKING:  # to type checkers an unknown name is an error
    __getattr__, __dir__ = lazy_attributes(__name__, _EXPORTS)
