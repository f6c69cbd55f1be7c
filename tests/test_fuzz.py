"""Every parameter of every public function refuses what cannot be meant, in an error that names it.

`python -m benchmarks.fuzz` tries all values; here one known bad value for every parameter, and some hundred others.
"""

import inspect

import pytest


pytest.importorskip("hypothesis")
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from benchmarks import fuzz
from rhm_hf.checks import check


CASES = fuzz.cases()
NO_NUMBERS = st.text() | st.booleans() | st.lists(st.integers(), max_size=2)
WRONG = {  # of any value drawn here none is right
    bool: st.text() | st.integers() | st.floats() | st.lists(st.booleans(), max_size=2),
    int: NO_NUMBERS | st.floats() | st.integers(min_value=2**63) | st.integers(max_value=-(2**63) - 1),
    float: NO_NUMBERS | st.sampled_from([float("nan"), float("inf"), -float("inf"), 1j]),
}
# Values of files may be numbers in quotes, and some numbers are limits.
PLAIN = [
    case
    for case in CASES
    if case.kind in WRONG and not case.name.startswith("training.") and case.name not in fuzz.values.MEANT
]


@pytest.mark.parametrize("room", sorted({case.name.split(".")[0] for case in CASES}))
def test_a_bad_value_is_refused(room):
    """The cases of one room in one test, which names every one that fails."""
    found = {
        case.name: fuzz.failure(case, value, must_refuse=True)
        for case in CASES
        if case.name.split(".")[0] == room
        for value in case.bad[:1]
    }
    assert not {name: verdict for name, verdict in found.items() if verdict is not None}


@settings(max_examples=300, derandomize=True, deadline=None, database=None, suppress_health_check=list(HealthCheck))
@given(st.sampled_from(PLAIN).flatmap(lambda case: st.tuples(st.just(case), WRONG[case.kind])))
def test_any_value_of_another_type_is_refused(drawn):
    case, value = drawn
    assert fuzz.failure(case, value, must_refuse=True) is None


def test_the_fuzz_sees_what_is_wrong():
    def lax(level: int, flag: bool) -> float:
        return level + 1

    def vague(level: int) -> float:
        if not isinstance(level, int) or isinstance(level, bool):
            raise ValueError("that is wrong")
        return level

    for function, good, verdict in (
        (lax, {"level": int, "flag": bool}, "accepted"),
        (vague, {"level": int}, "unclear"),
    ):
        case = next(fuzz.cases_of("here.function", function, good))
        assert verdict in fuzz.failure(case, True, must_refuse=True)
        assert fuzz.failure(case, 1, must_refuse=False) is None
    assert len(CASES) > 500


def test_public_functions_are_checked():
    """A new function is checked by its type hints, or the fuzz has to find its own checks enough."""
    unchecked = [
        name
        for name, function in fuzz.public_functions()
        if not getattr(getattr(function, "__init__" if inspect.isclass(function) else "__call__"), "is_checked", False)
        and not getattr(function, "is_checked", False)
        and inspect.signature(function).parameters
    ]
    # Parameters, configurations and blocks check themselves when they are made, and say more; models look at tensors,
    # and the words of the command line have been read by typer.
    own = ("Parameters", "Config", "Arguments", ".forward")
    assert not [name for name in unchecked if not (name.endswith(own) or name.startswith("cli."))]


def test_hints_are_read_as_they_are_written():
    assert check("n", 3, int | None) == 3
    assert check("n", None, int | None) is None
    with pytest.raises(ValueError, match=r"n=2.5 is not an integer"):
        check("n", 2.5, bool | int)
    with pytest.raises(ValueError, match=r"n\[1\]=2.5 is not an integer"):
        check("n", [1, 2.5], list[int])
