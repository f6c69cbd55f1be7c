"""What all formulas share: which ensemble they are of, and numbers that fit."""

import math
import sys
from typing import Annotated

from ..checks import OwnCheck
from ..grammar import GrammarParameters


Plain = Annotated[GrammarParameters, OwnCheck()]  # refused by `check_plain`, which says where else to go
AnyLevel = Annotated[int, OwnCheck()]  # of a limit that any depth comes nearer to
LARGEST = math.log(sys.float_info.max)
DEPARTURES = (  # of an ensemble from the plain one, and what they are called
    ("zipf_exponent", "rules of unequal probabilities"),
    ("uncorrelated", "uncorrelated rules"),
)


def check_plain(parameters: GrammarParameters, what: str, allowed: tuple[str, ...] = ()) -> GrammarParameters:
    """The parameters, where they are of the plain ensemble: one formula of another would be a wrong number.

    Args:
        parameters ([`GrammarParameters`]): of the ensemble.
        what (`str`): the name of the function that asks.
        allowed (`tuple[str, ...]`, *optional*, defaults to none): departures that its formula takes in.

    Raises:
        `ValueError`: for levels that differ, and for every departure that is not allowed.
    """
    needed = ("vocab_size", "num_synonyms", "tuple_size", "depth", "num_classes")
    name = getattr(parameters, "name", repr(parameters))
    if (base := getattr(parameters, "base", None)) is not None:  # cut, sparse: parameters that wrap others
        raise ValueError(
            f"theory.{what}: {name} has another law than its base, {base.name}, and the closed form is of the plain "
            "ensemble: give the base's parameters, or use the exact laws in rhm_hf.inference"
        )
    if not all(isinstance(getattr(parameters, attribute, None), int) for attribute in needed):
        raise ValueError(
            f"theory.{what}: parameters={name!r} has no single v, m and s: the closed forms are of the plain Random "
            "Hierarchy Model (names like v16-m4-s2-L3); use the exact laws in rhm_hf.inference"
        )
    for attribute, meaning in DEPARTURES:
        value = getattr(parameters, attribute, None)
        if attribute not in allowed and value is not None and value is not False:
            raise ValueError(
                f"theory.{what}: {name} has {meaning} ({attribute}={value!r}), and the closed form is of the plain "
                "ensemble: give its parameters, or use the exact laws in rhm_hf.inference"
            )
    return parameters


def symbols_at(parameters: GrammarParameters, level: int) -> int:
    """How many symbols a level has: v, but n_c at the root."""
    return parameters.num_classes if level == parameters.depth else parameters.vocab_size


def fraction_at(parameters: GrammarParameters, level: int) -> float:
    """The fraction of the v^s tuples that are right-hand sides at a level: f, but n_c m / v^s at the root."""
    return symbols_at(parameters, level) * parameters.num_synonyms / parameters.vocab_size**parameters.tuple_size


def power(what: str, factor: int, base: int, exponent: int) -> float:
    """factor * base^exponent as a float, estimated before it is computed.

    Raises:
        `ValueError`: where no float holds it, with its logarithm.
    """
    logarithm = math.log(factor) + exponent * math.log(base)
    if logarithm > LARGEST - 1e-6:
        raise ValueError(f"{what} = 10^{logarithm / math.log(10):.6g} exceeds the largest float; take a smaller level")
    return float(factor * base**exponent)


def ratio(numerator: float, denominator: float) -> float:
    """`inf` where the correlations vanish (f = 1: all tuples are grammatical)."""
    return numerator / denominator if denominator > 0 else math.inf
