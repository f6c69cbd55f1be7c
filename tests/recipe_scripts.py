"""Recipes are scripts in folders that are no packages: tests import them from their files."""

import importlib.util
from pathlib import Path
from types import ModuleType

import numpy as np
import yaml
from matplotlib.image import imread

from rhm_hf.training.arguments import field_names
from rhm_hf.training.recipe import recipe_main
from rhm_hf.training.sweep import expand


RECIPES = Path(__file__).resolve().parents[1] / "recipes"


def recipe(folder: str, name: str | None = None) -> ModuleType:
    """The module `recipes/<folder>/<name>.py`, by default of the folder's name."""
    spec = importlib.util.spec_from_file_location(name or folder, RECIPES / folder / f"{name or folder}.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def drawn(image: np.ndarray) -> bool:
    """Whether there is more than a blank page: dark pixels at the left and at the right of the first row of panels."""
    height, width = image.shape[0] // 2, image.shape[1] // 2
    return all((image[:height, j : j + width, :3] < 0.5).any() for j in (0, width))


def check_redraw(monkeypatch, folder: Path, parts: dict) -> None:
    """There is a picture, and drawing it again from the tables alone trains nothing and gives the same."""
    picture = folder / f"{parts['name']}.png"
    image = imread(picture)
    assert drawn(image)
    monkeypatch.setattr("rhm_hf.training.recipe.sweep", None)
    picture.unlink()
    recipe_main(["--draw", str(folder)], **parts)
    assert np.array_equal(imread(picture), image)


def runs_of(folder: str, name: str) -> dict[str, dict]:
    """The runs of `recipes/<folder>/<name>.yaml`: what each one is, by its folder."""
    values = yaml.safe_load((RECIPES / folder / f"{name}.yaml").read_text())
    runs = expand({key: value for key, value in values.items() if key in (*field_names(), "variants")})
    return {run.training.output_dir: run.identity() for run in runs}
