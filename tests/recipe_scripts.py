"""Recipes are scripts in folders that are no packages: tests import them from their files."""

import importlib.util
from pathlib import Path
from types import ModuleType


RECIPES = Path(__file__).resolve().parents[1] / "recipes"


def recipe(folder: str, name: str | None = None) -> ModuleType:
    """The module `recipes/<folder>/<name>.py`, by default of the folder's name."""
    spec = importlib.util.spec_from_file_location(name or folder, RECIPES / folder / f"{name or folder}.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module
