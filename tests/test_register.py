"""Registration by name, in fresh interpreters and both import orders; what it costs; what happens when it breaks."""

import ast
import json
import os
import subprocess
import sys
import types
from pathlib import Path

import pytest

import rhm_hf
from rhm_hf import register


def run_python(code: str, cwd) -> str:
    """Runs code in a fresh interpreter, our warnings as errors, and returns what it printed."""
    done = subprocess.run(
        [sys.executable, "-W", "error::RuntimeWarning", "-c", code],
        capture_output=True,
        text=True,
        cwd=cwd,
        env=os.environ | {"HF_HUB_OFFLINE": "1", "PYTHONPATH": os.pathsep.join(sys.path)},
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


IMPORTS = """
import evaluate, transformers
from datasets import load_dataset, get_dataset_config_names, get_dataset_split_names
from transformers import AutoConfig, AutoModelForCausalLM, AutoModelForMaskedLM, AutoModelForSequenceClassification
"""
# What a user of each library does; every function's value is compared with what it should be.
USES = """
import json, traceback

def datasets():
    dataset = load_dataset("rhm", "v4-m2-s2-L2", train_size=5, validation_size=2, test_size=0, cache_dir="cache")
    return [
        {split: rows.num_rows for split, rows in dataset.items()},
        get_dataset_config_names("rhm"),
        get_dataset_split_names("rhm", "v4-m2-s2-L4", test_size=0),
        load_dataset("csv", data_files="table.csv", cache_dir="cache")["train"][0],  # others are left alone
    ]

def transformers():
    config = AutoConfig.from_pretrained("oracle")
    autos = [AutoModelForCausalLM, AutoModelForMaskedLM, AutoModelForSequenceClassification]
    models = [auto.from_config(config) for auto in autos] + [AutoModelForCausalLM.from_pretrained("oracle")]
    return [type(each).__name__ for each in (config, *models)]

def evaluation():
    metric = evaluate.load("rhm_kl")
    return [type(metric).__name__, type(rhm_hf.load_metric("rhm_kl")).__name__]

for use in (datasets, transformers, evaluation):
    try:
        print(json.dumps([use.__name__, use()]))
    except Exception:
        print(json.dumps([use.__name__, traceback.format_exc()]))
"""
EXPECTED = {
    "datasets": [{"train": 5, "validation": 2}, ["v16-m4-s2-L3"], ["train", "validation"], {"a": 1, "b": 2}],
    "transformers": [
        "RHMConfig",
        "RHMForCausalLM",
        "RHMForMaskedLM",
        "RHMForSequenceClassification",
        "RHMForCausalLM",
    ],
    "evaluation": ["RHMKL", "RHMKL"],
}


@pytest.fixture(scope="module", params=["ours_first", "theirs_first"])
def uses(request, tmp_path_factory) -> dict:
    """What one fresh interpreter makes of all three libraries."""
    folder = tmp_path_factory.mktemp(request.param)
    (folder / "table.csv").write_text("a,b\n1,2\n")
    rhm_hf.RHMForCausalLM.from_grammar(rhm_hf.Grammar.from_name("v4-m2-s2-L2")).save_pretrained(folder / "oracle")
    ours = "import rhm_hf\n"
    code = ours + IMPORTS + USES if request.param == "ours_first" else IMPORTS + ours + USES
    return dict(map(json.loads, filter(lambda line: line.startswith("["), run_python(code, folder).splitlines())))


@pytest.mark.parametrize(
    ("library", "hook"),
    [
        ("datasets", "register_datasets"),
        ("transformers", "register_transformers"),
        ("evaluation", "register_evaluate"),
    ],
)
def test_names_are_known_whichever_is_imported_first(uses, library, hook):
    assert uses[library] == EXPECTED[library], (
        f"{hook} in rhm_hf/register.py no longer does its work. If the host library was updated, look at what changed "
        "in the function or module that it hooks into."
    )


def test_our_model_may_be_imported_before_transformers(tmp_path):
    """Our module then imports transformers, whose Auto modules ask for ours, which is half imported."""
    code = (
        "from rhm_hf import RHMConfig, RHMForCausalLM\n"
        "from transformers import AutoModelForCausalLM\n"
        "print(type(AutoModelForCausalLM.from_config(RHMConfig())) is RHMForCausalLM)\n"
    )
    assert run_python(code, tmp_path).split() == ["True"]


def test_import_is_light(tmp_path):
    """A handful of modules beside those of Python itself, and of ours only what registers."""
    code = (
        "import sys\nimport rhm_hf\nhome = {m.partition('.')[0] for m in sys.modules} - sys.stdlib_module_names\n"
        "print(sorted(m for m in home if not m.startswith(('_', 'sitecustomize', 'distutils'))))\n"
        "print(sorted(m for m in sys.modules if m.startswith('rhm_hf')))\n"
    )
    others, own = run_python(code, tmp_path).splitlines()
    assert set(eval(others)) <= {"rhm_hf", "wrapt"}
    assert set(eval(own)) <= {"rhm_hf", "rhm_hf._lazy", "rhm_hf._version", "rhm_hf.register"}


def test_every_public_name_exists():
    for package in (rhm_hf, rhm_hf.data):
        assert list(package._EXPORTS) == package.__all__
        assert set(package.__all__) <= set(dir(package))
        for name in package.__all__:
            assert getattr(package, name) is not None
    assert rhm_hf.__version__.count(".") == 2
    with pytest.raises(AttributeError, match="module 'rhm_hf' has no attribute 'Grammer'"):
        rhm_hf.Grammer  # noqa: B018


def test_type_checkers_see_the_same_names():
    """The imports under TYPE_CHECKING, which Python never runs, name the same things from the same modules."""
    for package in (rhm_hf, rhm_hf.data):
        tree = ast.parse(Path(package.__file__).read_text())
        (block,) = (node for node in tree.body if isinstance(node, ast.If) and isinstance(node.test, ast.Name))
        seen = {alias.name: node.module or "" for node in block.body for alias in node.names}
        assert seen == package._EXPORTS


def test_loading_a_dataset_needs_no_torch(tmp_path):
    code = (
        "import sys\nimport rhm_hf\nfrom datasets import load_dataset\n"
        "dataset = load_dataset('rhm', train_size=9, cache_dir='c')\n"
        "print(rhm_hf.grammar_of(dataset).name, [m for m in ('torch', 'transformers') if m in sys.modules])\n"
    )
    assert run_python(code, tmp_path).splitlines() == ["v16-m4-s2-L3 []"]


@pytest.mark.parametrize(
    ("hook", "fallback"),
    [
        (register._wrap_dataset_module_factory, r"datasets .*RHMDatasetBuilder.*rhm_hf/register\.py"),
        (register._wrap_evaluation_module_factory, r"evaluate .*load_metric.*rhm_hf/register\.py"),
        (lambda m: register._register_models(register.MODELS[0], m), r"transformers .*rhm_hf\.models.*register\.py"),
        (lambda m: register._register_config(register.MODELS[0], m), r"transformers .*rhm_hf\.models.*register\.py"),
        (lambda m: register._import_ours("rhm_hf.nothing", m), r"transformers .*rhm_hf\.models.*register\.py"),
    ],
)
def test_a_changed_host_library_costs_a_warning_that_names_the_way_out(hook, fallback):
    with pytest.warns(RuntimeWarning, match=fallback):
        hook(types.ModuleType("host"))


def test_hooks_wrap_once():
    import datasets.inspect
    import datasets.load

    factory = datasets.load.dataset_module_factory
    register._wrap_dataset_module_factory(datasets.load)
    assert datasets.load.dataset_module_factory is factory is datasets.inspect.dataset_module_factory


def test_load_metric_refuses_unknown_names():
    with pytest.raises(ValueError, match=r"name='rhm_lk' is no metric of rhm_hf: it has .*rhm_kl"):
        rhm_hf.load_metric("rhm_lk")
