"""The families of sources: which class a name, parameters, or what a file says belong to."""

from dataclasses import replace
from typing import Any

import numpy as np

from .chain.filtered import FilteredGrammar
from .chain.hidden_markov import HiddenMarkovSource
from .chain.hidden_markov_parameters import HiddenMarkovParameters, random_emissions
from .layered.grammar import Grammar
from .layered.parameters import GrammarParameters
from .layered.random_rules import random_layers, random_rules
from .layered.uneven import LayeredParameters
from .source import Source
from .sparse.sparse_grammar import SparseGrammar


FAMILIES: dict[str, type[Source]] = {
    cls.family: cls for cls in (Grammar, FilteredGrammar, HiddenMarkovSource, SparseGrammar)
}

# The prefix of their names, and their "kind" in files; the Random Hierarchy Model's own names have none.
KINDS = {"hmm": HiddenMarkovParameters, "layered": LayeredParameters}
Parameters = GrammarParameters | LayeredParameters | HiddenMarkovParameters


def parameters_from_name(name: str, rules_seed: int = 0) -> Parameters:
    """Parses the short name of any family; `ValueError` says how names are written."""
    kind = KINDS.get(name.partition("-")[0], GrammarParameters) if isinstance(name, str) else GrammarParameters
    return kind.from_name(name, rules_seed)


def parameters_from_dict(values: dict[str, Any]) -> Parameters:
    """The parameters that `to_dict` wrote."""
    values = dict(values)
    kind = values.pop("kind", None)
    if kind is not None and kind not in KINDS:
        raise ValueError(f"parameters of kind {kind!r} are unknown to this version of rhm_hf: it knows {list(KINDS)}")
    return (GrammarParameters if kind is None else KINDS[kind])(**values)


def from_parameters(parameters: Parameters) -> Source:
    """Draws the source that `parameters.rules_seed` picks from its ensemble."""
    p = parameters
    if isinstance(p, HiddenMarkovParameters):
        stay = p.persistence * np.eye(p.num_states) + (1 - p.persistence) / p.num_states
        start = np.full(p.num_states, 1 / p.num_states)
        return HiddenMarkovSource(start, stay, random_emissions(p), p.sentence_length, p)
    if isinstance(p, LayeredParameters):
        return Grammar.uniform(random_layers(p), p.vocab_sizes[-1], p)
    if p.cut_level is not None:
        return FilteredGrammar(from_parameters(replace(p, cut_level=None)), p.cut_level)
    if p.sparsity is not None:
        return SparseGrammar(from_parameters(replace(p, sparsity=None, placement=None)), p.sparsity, p.placement)
    rules = random_rules(p)
    laws = [p.rule_law(level) for level in range(p.depth, 0, -1)]
    probs = [np.tile(law, (len(r), 1)) for r, law in zip(rules, laws, strict=True)]
    return Grammar(rules, probs, np.full(p.num_classes, 1 / p.num_classes), p.vocab_size, p)


def rebuilt(description: dict[str, Any], arrays: dict[str, np.ndarray]) -> Source:
    """The source that a record describes.

    Args:
        description (`dict`): `family` (left out for a [`Grammar`]), `settings` and `parameters`, as files hold them.
        arrays (`dict[str, np.ndarray]`): its numbers.

    Raises:
        `ValueError`: for a family that this version does not know, and numbers that are no such source.
    """
    family = description.get("family", Grammar.family)
    if family not in FAMILIES:
        raise ValueError(f"family={family!r} is unknown to this version of rhm_hf: it knows {', '.join(FAMILIES)}")
    parameters = description.get("parameters")
    settings = description.get("settings", {"vocab_size": description.get("vocab_size")})
    parameters = None if parameters is None else parameters_from_dict(parameters)
    try:
        return FAMILIES[family].from_arrays(arrays, settings, parameters)
    except KeyError as error:
        raise ValueError(f"{error} is missing: this does not describe a source of family={family!r}") from None
