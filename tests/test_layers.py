"""docs/architecture.md's layers against the imports: they point down, and no files import each other in a circle."""

import ast
import functools
import re
from pathlib import Path


ROOT = Path(__file__).parent.parent
DOC = (ROOT / "docs" / "architecture.md").read_text(encoding="utf-8")
FILES = sorted((ROOT / "rhm_hf").rglob("*.py"))


def module_name(path: Path) -> str:
    parts = path.relative_to(ROOT).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


MODULES = {module_name(path): path for path in FILES}


@functools.cache
def floors() -> list[list[str]]:
    """The rooms of the first code block of the section on layers, from the top floor down, as module prefixes."""
    block = re.search(r"## Layers.*?```\n(.*?)```", DOC, re.DOTALL)[1]
    rooms = []
    for line in block.splitlines():
        names = re.split(r" {2,}", line.strip())[0].split()
        rooms.append([f"rhm_hf.{name.removesuffix('/').removesuffix('.py').replace('/', '.')}" for name in names])
    return [floor for floor in rooms if floor]


def room_of(module: str) -> tuple[int, str]:
    """Floor, counted from the top, and the room with the longest name that holds a module."""
    if module == "rhm_hf":
        return 0, module
    found = [
        (len(room), level, room)
        for level, floor in enumerate(floors())
        for room in floor
        if module == room or module.startswith(f"{room}.")
    ]
    assert found, f"{module} stands in no room of docs/architecture.md"
    _, level, room = max(found)
    return level, room


@functools.cache
def imported(path: Path) -> set[str]:
    """The modules of the package that a file imports, wherever in it."""
    name, found = module_name(path), set()
    package = name.split(".") if path.name == "__init__.py" else name.split(".")[:-1]
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names if alias.name.split(".")[0] == "rhm_hf"}
        if isinstance(node, ast.ImportFrom):
            base = package[: len(package) - node.level + 1] if node.level else []
            target = ".".join(base + ([node.module] if node.module else []))
            if target.split(".")[0] == "rhm_hf":
                found |= {f"{target}.{a.name}" if f"{target}.{a.name}" in MODULES else target for a in node.names}
    return found - {name}


def test_imports_point_down():
    upward = []
    for module in MODULES.keys() - {"rhm_hf"}:
        level, room = room_of(module)
        for target in imported(MODULES[module]):
            below, other = room_of(target)
            if other != room and below <= level:
                upward.append(f"{module} (floor {level}) imports {target} (floor {below})")
    assert not upward


def test_no_files_import_each_other_in_a_circle():
    graph = {module: imported(path) for module, path in MODULES.items()}
    done, stack = set(), []

    def visit(module):
        assert module not in stack, f"a circle of imports: {' -> '.join([*stack[stack.index(module) :], module])}"
        if module in done:
            return
        stack.append(module)
        for target in graph.get(module, ()):
            visit(target)
        stack.pop()
        done.add(module)

    for module in graph:
        visit(module)


def test_every_room_exists():
    for room in (room for floor in floors() for room in floor):
        assert room in MODULES, f"docs/architecture.md names {room}, which is not there"


def test_no_two_modules_have_one_name_in_different_senses():
    """Modules of one name are the same part of different families or models, or of a package."""
    allowed = {"__init__", "__main__", "parameters"}
    names: dict[str, list[str]] = {}
    for module, path in MODULES.items():
        names.setdefault(path.stem, []).append(module)
    twice = {name: modules for name, modules in names.items() if len(modules) > 1 and name not in allowed}
    assert not twice
