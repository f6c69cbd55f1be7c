"""Statistics of any token stream: correlations, effective context, and their exact values for a grammar."""

from typing import TYPE_CHECKING

from .._lazy import lazy_attributes


if TYPE_CHECKING:
    from .accumulator import Accumulator
    from .agreement import Agreement, compare_correlations
    from .collapse import Collapse, CollapseFit, collapse_quality, fit_collapse
    from .correlations import TokenCorrelations, prefix_contexts, token_correlations
    from .counts import PairCounts
    from .exact import conditional_entropies, exact_correlation, joint_law, tuple_joint_law
    from .exponents import (
        LocalExponents,
        PlateauPolygon,
        ScalingFit,
        envelope_exponent,
        local_exponents,
        plateau_polygon,
        synonym_exponent,
    )
    from .learner import LearnedLatents, learn_latents, synonym_agreement
    from .learning_curves import HalfWayPoints, half_way_points, last_crossing, mean_half_way_points
    from .tuples import ngram_ids, tuple_ids

_EXPORTS = {  # most submodules import torch or numba
    "Accumulator": "accumulator",
    "Agreement": "agreement",
    "Collapse": "collapse",
    "CollapseFit": "collapse",
    "HalfWayPoints": "learning_curves",
    "LearnedLatents": "learner",
    "LocalExponents": "exponents",
    "PairCounts": "counts",
    "PlateauPolygon": "exponents",
    "ScalingFit": "exponents",
    "TokenCorrelations": "correlations",
    "collapse_quality": "collapse",
    "compare_correlations": "agreement",
    "conditional_entropies": "exact",
    "envelope_exponent": "exponents",
    "exact_correlation": "exact",
    "fit_collapse": "collapse",
    "half_way_points": "learning_curves",
    "joint_law": "exact",
    "last_crossing": "learning_curves",
    "learn_latents": "learner",
    "local_exponents": "exponents",
    "mean_half_way_points": "learning_curves",
    "ngram_ids": "tuples",
    "plateau_polygon": "exponents",
    "prefix_contexts": "correlations",
    "synonym_agreement": "learner",
    "synonym_exponent": "exponents",
    "token_correlations": "correlations",
    "tuple_ids": "tuples",
    "tuple_joint_law": "exact",
}

__all__ = [
    "Accumulator",
    "Agreement",
    "Collapse",
    "CollapseFit",
    "HalfWayPoints",
    "LearnedLatents",
    "LocalExponents",
    "PairCounts",
    "PlateauPolygon",
    "ScalingFit",
    "TokenCorrelations",
    "collapse_quality",
    "compare_correlations",
    "conditional_entropies",
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
    "plateau_polygon",
    "prefix_contexts",
    "synonym_agreement",
    "synonym_exponent",
    "token_correlations",
    "tuple_ids",
    "tuple_joint_law",
]
__getattr__, __dir__ = lazy_attributes(__name__, _EXPORTS)
