"""All our model types are known to the Auto classes of a fresh interpreter, whichever is imported first."""

import os
import subprocess
import sys

import pytest


CODE = """
from rhm_hf import register

for family in register.MODELS:
    config = transformers.AutoConfig.for_model(family.model_type)
    assert type(config).__name__ == family.config, family
    for auto_class, name in family.models.items():
        if not hasattr(config, "hidden_size"):
            continue  # a law, which is made from a grammar or from counts
        model = getattr(transformers, auto_class).from_config(config)
        assert type(model) is getattr(rhm_hf, name), (auto_class, name)
        print(name)
"""


@pytest.mark.parametrize("imports", ["import rhm_hf, transformers", "import transformers, rhm_hf"])
def test_trainable_models_are_registered(imports, tmp_path):
    done = subprocess.run(
        [sys.executable, "-W", "error::RuntimeWarning", "-c", imports + CODE],
        capture_output=True,
        text=True,
        cwd=tmp_path,
        env=os.environ | {"HF_HUB_OFFLINE": "1", "PYTHONPATH": os.pathsep.join(sys.path)},
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert done.stdout.split() == [
        "AttentionOnlyForCausalLM",
        "AttentionOnlyForMaskedLM",
        "FullyConnectedForSequenceClassification",
        "HierarchicalCNNForSequenceClassification",
        "LocallyConnectedForSequenceClassification",
    ]
