"""Every recipe takes any model that its task can train: a transformer over a YAML that was written for others."""

import re

import pytest
import yaml
from recipe_scripts import dry_run, recipe
from test_dry_runs import CONFIGURATIONS


pytestmark = pytest.mark.usefixtures("dry_run")
FIRST = {
    script: config for script, config in reversed(CONFIGURATIONS) if config.stem not in ("paper", "gpt2", "llama")
}
OTHERS = ["--optimizer", "adamw", "--learning_rate", "1e-3", "--rules_seed", "0"]


def of_every_kind(values: dict) -> dict:
    """The first variant of every task, kind of data and process: the others differ in models and sizes."""
    kinds = {}
    for name, own in values.get("variants", {}).items():
        whole = values | own
        family = re.sub(r"[\d.]+", "", str(whole.get("grammar")))  # v16-m4-s2-L4-cut2 is v-m-s-L-cut
        kinds.setdefault((family, *map(whole.get, ("text", "task", "process", "keep"))), name)
    return values | ({"variants": {name: values["variants"][name] for name in kinds.values()}} if kinds else {})


@pytest.mark.parametrize("script", FIRST, ids=lambda script: script.stem)
def test_another_model_goes_the_whole_way(script, tmp_path, capsys):
    names = ("diffusion", "forward_backward", "memorisation")
    masked = any(name in script.stem for name in names)  # what is denoised is read both ways
    model = "bert" if masked else "llama"
    config = tmp_path / "recipe.yaml"
    config.write_text(yaml.safe_dump(of_every_kind(yaml.safe_load(FIRST[script].read_text()))))
    module = recipe(script.parent.name, script.stem)
    tables = dry_run(module, tmp_path, "--model_type", model, *OTHERS, config=config, rendered=False)
    counted = {"ngram", "hierarchical_ngram"}  # beside the trained ones
    trained = {row["model"].split()[0] for rows in tables.values() for row in rows if row.get("model")}
    assert trained - counted in ({model}, set())
