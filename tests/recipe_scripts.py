"""Recipes are scripts in folders that are no packages: tests import them from their files."""

import importlib.util
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest
import yaml
from matplotlib.image import imread

from rhm_hf.training.arguments import field_names
from rhm_hf.training.recipe import read_tables
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


def dry_run(module: ModuleType, folder: Path, *argv: str, config: Path | None = None, rendered: bool = True) -> dict:
    """The tables of a dry run (`--tiny`), of a YAML where it trains; its picture and tables are in `figures`.

    To render a picture takes a second: where another run of the same script is looked at, it is composed only.
    """
    figures, name = folder / "figures", Path(module.__file__).stem
    if config is not None:
        argv += ("--config", str(config), "--output_dir", str(folder / "runs"))
    if name in ("learning_curve", "scaling_exponent"):
        argv += ("--num_train", "32", "16")  # a single run has no curve
    with pytest.MonkeyPatch.context() as patch:
        if not rendered:
            patch.setattr("matplotlib.figure.Figure.savefig", lambda figure, path: Path(path).touch())
        tables = module.main(["--tiny", *argv, "--figures", str(figures)])
    assert [path.stem for path in figures.glob("*.png")] == [name]
    assert not rendered or drawn(imread(figures / f"{name}.png"))
    assert set(read_tables(figures, name)) == set(tables)
    if config is not None and "--model_type" not in argv:  # everything that was trained is there
        values = yaml.safe_load(config.read_text())
        trained = {row["model"] for rows in tables.values() for row in rows if row.get("model")}
        wanted = {own.get("model_type", values.get("model_type")) for own in values.get("variants", {"": {}}).values()}
        assert not trained or wanted <= trained
    for table in figures.glob("*.csv"):
        assert str(folder) not in table.read_text()  # committed: no path of this machine
    return tables


def runs_of(folder: str, name: str) -> dict[str, dict]:
    """The runs of `recipes/<folder>/<name>.yaml`: what each one is, by its folder."""
    values = yaml.safe_load((RECIPES / folder / f"{name}.yaml").read_text())
    runs = expand({key: value for key, value in values.items() if key in (*field_names(), "variants")})
    return {run.training.output_dir: run.identity() for run in runs}
