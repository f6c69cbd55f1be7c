"""Rules of the house that a program can hold: clocks, class names, sizes of modules, types of public parameters."""

import ast
import re
from pathlib import Path

import pytest


ROOT = Path(__file__).parent.parent
PACKAGE = sorted((ROOT / "rhm_hf").rglob("*.py"))
TESTS = sorted((ROOT / "tests").rglob("*.py"))
LONGEST_MODULE = 350
GUARD_AGAINST_HANGS = 3600  # seconds: nothing shorter ends a test


def name_of(path: Path) -> str:
    return path.relative_to(ROOT).as_posix()


@pytest.mark.parametrize("path", TESTS, ids=name_of)
def test_no_test_measures_time_or_ends_others_by_the_clock(path):
    text = path.read_text(encoding="utf-8") if path.name != Path(__file__).name else ""
    assert not re.findall(r"perf_counter|process_time|time\.time\(", text)
    for seconds in re.findall(r"timeout(?:_s)?=(\d+)|monotonic\(\) \+ (\d+)", text):
        assert int("".join(seconds)) >= GUARD_AGAINST_HANGS


@pytest.mark.parametrize("path", PACKAGE, ids=name_of)
def test_nothing_is_decided_by_the_name_of_a_class(path):
    text = path.read_text(encoding="utf-8")
    assert not re.findall(r"__name__\.(?:endswith|startswith)|type\([^)]*\)\.__name__ *(?:==|in\b)", text)


@pytest.mark.parametrize("path", PACKAGE, ids=name_of)
def test_modules_fit_a_head(path):
    assert len(path.read_text(encoding="utf-8").splitlines()) <= LONGEST_MODULE


def public_functions(tree: ast.Module):
    """Functions and methods that other modules may call, with their names."""
    for node in tree.body:
        if isinstance(node, ast.FunctionDef) and not node.name.startswith("_"):
            yield node.name, node
        if isinstance(node, ast.ClassDef) and not node.name.startswith("_"):
            for method in node.body:
                if isinstance(method, ast.FunctionDef) and (method.name == "__init__" or method.name[0] != "_"):
                    yield f"{node.name}.{method.name}", method


def is_compiled(function: ast.FunctionDef) -> bool:
    return any("compiled" in ast.unparse(decorator) for decorator in function.decorator_list)


@pytest.mark.parametrize("path", PACKAGE, ids=name_of)
def test_public_parameters_have_types(path):
    """numba's kernels aside, whose arguments are arrays of types that it finds out itself."""
    untyped = [
        f"{name}({argument.arg})"
        for name, function in public_functions(ast.parse(path.read_text(encoding="utf-8")))
        if not is_compiled(function)
        for argument in [*function.args.args, *function.args.kwonlyargs]
        if argument.annotation is None and argument.arg not in ("self", "cls")
    ]
    assert not untyped
