"""Recipes are scripts in folders that are no packages: tests import them from their files."""

import importlib.util
from pathlib import Path
from types import ModuleType

import numpy as np
from matplotlib.image import imread

from rhm_hf.training.recipe import recipe_main


RECIPES = Path(__file__).resolve().parents[1] / "recipes"


def recipe(folder: str, name: str | None = None) -> ModuleType:
    """The module `recipes/<folder>/<name>.py`, by default of the folder's name."""
    spec = importlib.util.spec_from_file_location(name or folder, RECIPES / folder / f"{name or folder}.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def check_redraw(monkeypatch, folder: Path, parts: dict) -> None:
    """There is a picture, and drawing it again from the tables alone trains nothing and gives the same."""
    picture = folder / f"{parts['name']}.png"
    image = imread(picture)
    assert image.std() > 0.05
    monkeypatch.setattr("rhm_hf.training.recipe.sweep", None)
    picture.unlink()
    recipe_main(["--draw", str(folder)], **parts)
    assert np.array_equal(imread(picture), image)
