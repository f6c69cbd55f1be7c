"""Rules of the house that a program can hold: clocks, class names, sizes of modules, types of public parameters."""

import ast
import re
from pathlib import Path


ROOT = Path(__file__).parent.parent
PACKAGE = sorted((ROOT / "rhm_hf").rglob("*.py"))
TESTS = sorted((ROOT / "tests").rglob("*.py"))
LONGEST_MODULE = 350
GUARD_AGAINST_HANGS = 3600  # seconds: nothing shorter ends a test


def name_of(path: Path) -> str:
    return path.relative_to(ROOT).as_posix()


# One test a rule, not one a file: it names every file that breaks it.


def test_no_test_measures_time_or_ends_others_by_the_clock():
    clocks = {}
    for path in TESTS:
        text = path.read_text(encoding="utf-8") if path.name != Path(__file__).name else ""
        found = re.findall(r"perf_counter|process_time|time\.time\(", text)
        limits = ["".join(pair) for pair in re.findall(r"timeout(?:_s)?=(\d+)|monotonic\(\) \+ (\d+)", text)]
        clocks[name_of(path)] = found + [limit for limit in limits if int(limit) < GUARD_AGAINST_HANGS]
    assert not {name: found for name, found in clocks.items() if found}


def test_nothing_is_decided_by_the_name_of_a_class():
    decides = r"__name__\.(?:endswith|startswith)|type\([^)]*\)\.__name__ *(?:==|in\b)"
    assert not [name_of(path) for path in PACKAGE if re.search(decides, path.read_text(encoding="utf-8"))]


def test_modules_fit_a_head():
    lengths = {name_of(path): len(path.read_text(encoding="utf-8").splitlines()) for path in PACKAGE}
    assert not {name: length for name, length in lengths.items() if length > LONGEST_MODULE}


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


def test_public_parameters_have_types():
    """numba's kernels aside, whose arguments are arrays of types that it finds out itself."""
    untyped = [
        f"{name_of(path)}: {name}({argument.arg})"
        for path in PACKAGE
        for name, function in public_functions(ast.parse(path.read_text(encoding="utf-8")))
        if not is_compiled(function)
        for argument in [*function.args.args, *function.args.kwonlyargs]
        if argument.annotation is None and argument.arg not in ("self", "cls")
    ]
    assert not untyped
