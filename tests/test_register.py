"""Registration by name, in fresh interpreters and both import orders; what it costs; what happens when it breaks."""

import ast
import os
import subprocess
import sys
import types
from pathlib import Path

import pytest

import rhm_hf
from rhm_hf import register


def run_python(code: str, what: str, hook: str, cwd, **environment) -> str:
    """Runs code in a fresh interpreter, warnings as errors, and returns what it printed."""
    done = subprocess.run(
        [sys.executable, "-W", "error::RuntimeWarning", "-c", code],
        capture_output=True,
        text=True,
        cwd=cwd,
        env=os.environ | {"HF_HUB_OFFLINE": "1", "PYTHONPATH": os.pathsep.join(sys.path)} | environment,
    )
    assert done.returncode == 0, (
        f"{what} no longer works in a fresh interpreter. If the host library was updated, look at {hook} in "
        f"rhm_hf/register.py and at the function of the host library that it hooks into.\n{done.stdout}\n{done.stderr}"
    )
    return done.stdout


ORDERS = pytest.mark.parametrize("ours_first", [True, False], ids=["ours_first", "theirs_first"])


def in_order(ours_first: bool, theirs: str) -> str:
    return "\n".join(["import rhm_hf", theirs] if ours_first else [theirs, "import rhm_hf"]) + "\n"


@ORDERS
def test_load_dataset_knows_our_name(ours_first, tmp_path):
    (tmp_path / "table.csv").write_text("a,b\n1,2\n")
    code = in_order(ours_first, "from datasets import load_dataset, get_dataset_config_names, get_dataset_split_names")
    code += (
        "dataset = load_dataset('rhm', 'v4-m2-s2-L2', train_size=5, validation_size=2, test_size=0, cache_dir='c')\n"
        "print(dataset['train'].num_rows, list(dataset), get_dataset_config_names('rhm'))\n"
        "print(load_dataset('csv', data_files='table.csv', cache_dir='c')['train'][0])\n"  # others are left alone
        "print(get_dataset_split_names('rhm', 'v4-m2-s2-L4', test_size=0))\n"
    )
    assert run_python(code, "load_dataset('rhm')", "_wrap_dataset_module_factory", tmp_path).splitlines() == [
        "5 ['train', 'validation'] ['v16-m4-s2-L3']",
        "{'a': 1, 'b': 2}",
        "['train', 'validation']",
    ]


@pytest.mark.parametrize(
    ("ours_first", "theirs"), [(True, "import transformers"), (False, "from transformers import AutoModelForCausalLM")]
)
def test_auto_classes_know_our_models(ours_first, theirs, tmp_path):
    rhm_hf.RHMForCausalLM.from_grammar(rhm_hf.Grammar.from_name("v4-m2-s2-L2")).save_pretrained(tmp_path / "oracle")
    code = in_order(ours_first, theirs)
    code += "from transformers import AutoConfig, " + ", ".join(register.MODELS[0].models) + "\n"
    code += "print(type(AutoConfig.from_pretrained('oracle')).__name__)\n"
    for auto_class in register.MODELS[0].models:
        code += f"print(type({auto_class}.from_config(AutoConfig.from_pretrained('oracle'))).__name__)\n"
    code += "print(type(AutoModelForCausalLM.from_pretrained('oracle')).__name__)\n"
    output = run_python(code, "AutoModelForCausalLM on an oracle", "register_transformers", tmp_path)
    assert output.split() == ["RHMConfig", *register.MODELS[0].models.values(), "RHMForCausalLM"]


def test_our_model_imported_before_transformers_is_registered(tmp_path):
    code = (
        "from rhm_hf import RHMConfig, RHMForCausalLM\n"
        "from transformers import AutoModelForCausalLM\n"
        "print(type(AutoModelForCausalLM.from_config(RHMConfig())) is RHMForCausalLM)\n"
    )
    assert run_python(code, "importing our model first", "register_transformers", tmp_path).split() == ["True"]


@ORDERS
def test_evaluate_knows_our_metrics(ours_first, tmp_path):
    code = in_order(ours_first, "import evaluate")
    code += "print(type(evaluate.load('rhm_kl')).__name__, type(rhm_hf.load_metric('rhm_kl')).__name__)\n"
    output = run_python(code, "evaluate.load('rhm_kl')", "_wrap_evaluation_module_factory", tmp_path)
    first, second = output.split()
    assert first == second


def test_import_is_light(tmp_path):
    code = (
        "import sys, time\nstart = time.perf_counter()\nimport rhm_hf\nprint(time.perf_counter() - start)\n"
        "print([m for m in ('numpy', 'torch', 'transformers', 'datasets', 'evaluate') if m in sys.modules])\n"
    )
    outputs = [run_python(code, "import rhm_hf", "rhm_hf/__init__.py", tmp_path).splitlines() for _ in range(3)]
    assert {imported for _, imported in outputs} == {"[]"}
    assert min(float(seconds) for seconds, _ in outputs) < 0.1


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
        (block,) = (node for node in tree.body if isinstance(node, ast.If))
        seen = {alias.name: node.module or "" for node in block.body for alias in node.names}
        assert seen == package._EXPORTS


def test_loading_a_dataset_needs_no_torch(tmp_path):
    code = (
        "import sys\nimport rhm_hf\nfrom datasets import load_dataset\n"
        "dataset = load_dataset('rhm', train_size=9, cache_dir='c')\n"
        "print(rhm_hf.grammar_of(dataset).name, [m for m in ('torch', 'transformers') if m in sys.modules])\n"
    )
    output = run_python(code, "load_dataset('rhm')", "_wrap_dataset_module_factory", tmp_path)
    assert output.splitlines() == ["v16-m4-s2-L3 []"]


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
