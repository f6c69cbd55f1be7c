"""Every recipe goes the whole way, from each of its YAML files to the picture, at toy size (`--tiny`)."""

from pathlib import Path

import pytest
import yaml
from matplotlib.image import imread
from recipe_scripts import RECIPES, drawn, recipe

from rhm_hf.training.recipe import read_tables


pytestmark = pytest.mark.usefixtures("dry_run")
SCRIPTS = sorted(
    path for path in RECIPES.rglob("*.py") if "recipe_main(" in path.read_text() and path.parent != RECIPES
)
# Of a folder with two scripts, the one that trains and reads its YAML files.
OF_FOLDER = {path.parent: path for path in SCRIPTS if "trains=False" not in path.read_text()}
CONFIGURATIONS = [
    (OF_FOLDER[path.parent], path) for path in sorted(RECIPES.rglob("*.yaml")) if path.parent in OF_FOLDER
]
LOOKED_AT = dict(CONFIGURATIONS)  # of a script the last of its YAML files
LOOKED_AT |= {script: config for script, config in CONFIGURATIONS if config.stem == "cpu"}


def smallest(values: dict) -> dict:
    """One grammar and one size in place of several: curves and their ensembles are those of the YAML looked at."""
    lists = {name: value for name, value in values.items() if isinstance(value, list)}
    few = {name: value[:1] for name, value in lists.items() if name in ("rules_seed", "num_train")}
    variants = {name: smallest(own) for name, own in values.get("variants", {}).items()}
    return values | few | ({"variants": variants} if variants else {})


def run(script: Path, argv: list[str], folder: Path, rendered: bool = True) -> dict:
    """The tables of a dry run, whose picture and tables are there and hold no path of this machine.

    To render a picture takes a second: where another run of the same script is looked at, it is composed only.
    """
    module = recipe(script.parent.name, script.stem)
    with pytest.MonkeyPatch.context() as patch:
        if not rendered:
            patch.setattr("matplotlib.figure.Figure.savefig", lambda figure, path: Path(path).touch())
        tables = module.main(["--tiny", *argv, "--figures", str(folder / "figures")])
    (picture,) = (folder / "figures").glob("*.png")
    assert not rendered or drawn(imread(picture))
    assert set(read_tables(folder / "figures", picture.stem)) == set(tables)
    for table in (folder / "figures").glob("*.csv"):
        assert str(folder) not in table.read_text()
    return tables


@pytest.mark.parametrize(
    ("script", "config"), CONFIGURATIONS, ids=[f"{path.parent.name}-{path.stem}" for _, path in CONFIGURATIONS]
)
def test_from_a_yaml_to_the_picture(script, config, tmp_path, capsys):
    values, looked_at = yaml.safe_load(config.read_text()), config == LOOKED_AT[script]
    if not looked_at:
        config = tmp_path / config.name
        config.write_text(yaml.safe_dump(smallest(values)))
    argv = ["--config", str(config), "--output_dir", str(tmp_path / "runs")]
    if script.stem in ("learning_curve", "scaling_exponent"):
        argv += ["--num_train", "32", "16"]  # a single run has no curve
    tables = run(script, argv, tmp_path, rendered=looked_at)
    assert f"{tmp_path}/figures/" in capsys.readouterr().out  # it ends with where the picture is
    trained = {row["model"] for rows in tables.values() for row in rows if row.get("model")}
    wanted = {own.get("model_type", values.get("model_type")) for own in values.get("variants", {"": {}}).values()}
    assert not trained or wanted <= trained  # everything that was trained is there


@pytest.mark.parametrize("script", [path for path in SCRIPTS if path not in OF_FOLDER.values()], ids=lambda p: p.stem)
def test_what_trains_nothing(script, tmp_path):
    argv = []
    if script.stem in ("correlations_text", "texts"):
        (tmp_path / "text.txt").write_text("To be, or not to be, that is the question. " * 200)
        argv = ["--text", str(tmp_path / "text.txt")]
    run(script, argv, tmp_path)
