"""Closed forms of the theory of learning the Random Hierarchy Model, and thresholds by population dynamics.

They are averages over the ensemble of grammars and leading orders in large v: where a formula and the exact law of one
grammar disagree, the exact law is right (`rhm_hf.inference`). Notation: v symbols, m synonyms, s children, depth L,
n_c classes, and f = m / v^(s-1), the fraction of the v^s tuples that are grammatical (n_c m / v^s at the root). They
are of the plain ensemble; where a formula takes in more, its docstring says so, and all others refuse.

Sources: Cagnetta et al. 2307.02129 (classification, correlations); Cagnetta and Wyart 2406.00048 (last token,
correlations, plateaus); Sclocchi et al. 2402.16991 (denoising transition); Favero et al. 2502.12089 (masked
diffusion); Tomasini and Wyart 2404.10727 (sparse); 2505.07067 (Zipf rules); 2602.06065 (trees of
varying shape); 2602.07488 (exponent of any language).
"""

from .denoising import denoising_map, denoising_transition, has_denoising_transition
from .ensemble_correlations import (
    correlation_exponent,
    correlation_noise,
    correlation_of_rule_laws,
    dynamic_exponent,
    effective_context,
    token_correlation,
    tuple_correlation,
)
from .learning import (
    clustering_complexity,
    grammatical_fraction,
    language_exponent,
    learning_exponent,
    sample_complexity,
    sparse_sample_complexity,
    zipf_classification_exponent,
)
from .plateaus import limiting_loss, plateau
from .population import RecoveryThreshold, recovery_flow, recovery_threshold
from .tree_roots import root_threshold, tree_sample_complexity


__all__ = [
    "RecoveryThreshold",
    "clustering_complexity",
    "correlation_exponent",
    "correlation_noise",
    "correlation_of_rule_laws",
    "denoising_map",
    "denoising_transition",
    "dynamic_exponent",
    "effective_context",
    "grammatical_fraction",
    "has_denoising_transition",
    "language_exponent",
    "learning_exponent",
    "limiting_loss",
    "plateau",
    "recovery_flow",
    "recovery_threshold",
    "root_threshold",
    "sample_complexity",
    "sparse_sample_complexity",
    "token_correlation",
    "tree_sample_complexity",
    "tuple_correlation",
    "zipf_classification_exponent",
]
