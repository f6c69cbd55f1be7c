"""Names of a package that are imported when they are first used (PEP 562)."""

import sys
from collections.abc import Callable
from importlib import import_module
from typing import Any


def lazy_attributes(package: str, exports: dict[str, str]) -> tuple[Callable[[str], Any], Callable[[], list[str]]]:
    """Makes a package's `__getattr__` and `__dir__`.

    Args:
        package (`str`): the package's `__name__`.
        exports (`dict[str, str]`): public name -> the submodule that defines it; a submodule itself maps to `""`.
    """

    def get(name: str) -> Any:
        if name not in exports:
            raise AttributeError(f"module {package!r} has no attribute {name!r}")
        if (submodule := exports[name]) == "":
            return import_module(f"{package}.{name}")
        value = getattr(import_module(f"{package}.{submodule}"), name)
        setattr(sys.modules[package], name, value)  # the next access does not come here
        return value

    def list_names() -> list[str]:
        return sorted({*vars(sys.modules[package]), *exports})

    return get, list_names
