"""Every recipe goes the whole way, from each of its YAML files to the picture, at toy size (`--tiny`)."""

from pathlib import Path

import pytest
import yaml
from recipe_scripts import RECIPES, dry_run, recipe


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
# What a recipe's own tests run, and look into, is not run here again.
TESTS = {script: Path(__file__).with_name(f"test_{script.stem}_recipe.py") for script in SCRIPTS}
OWN = {script for script, path in TESTS.items() if path.exists() and "dry_run(" in path.read_text()}
HERE = [(script, config) for script, config in CONFIGURATIONS if script not in OWN or config != LOOKED_AT[script]]
UNTRAINED = [script for script in SCRIPTS if script not in {*OF_FOLDER.values(), *OWN}]


def smallest(values: dict) -> dict:
    """One grammar and one size in place of several: curves and their ensembles are those of the YAML looked at."""
    lists = {name: value for name, value in values.items() if isinstance(value, list)}
    few = {name: value[:1] for name, value in lists.items() if name in ("rules_seed", "num_train")}
    variants = {name: smallest(own) for name, own in values.get("variants", {}).items()}
    return values | few | ({"variants": variants} if variants else {})


@pytest.mark.parametrize(("script", "config"), HERE, ids=[f"{path.parent.name}-{path.stem}" for _, path in HERE])
def test_from_a_yaml_to_the_picture(script, config, tmp_path, capsys):
    looked_at = config == LOOKED_AT[script]
    if not looked_at:
        values, config = yaml.safe_load(config.read_text()), tmp_path / config.name
        config.write_text(yaml.safe_dump(smallest(values)))
    dry_run(recipe(script.parent.name, script.stem), tmp_path, config=config, rendered=looked_at)
    assert f"{tmp_path}/figures/" in capsys.readouterr().out  # it ends with where the picture is


@pytest.mark.parametrize("script", UNTRAINED, ids=lambda p: p.stem)
def test_what_trains_nothing(script, tmp_path):
    argv = []
    if script.stem in ("correlations_text", "texts"):
        (tmp_path / "text.txt").write_text("To be, or not to be, that is the question. " * 200)
        argv = ["--text", str(tmp_path / "text.txt")]
    dry_run(recipe(script.parent.name, script.stem), tmp_path, *argv)
