"""All our model types are known to the Auto classes of an interpreter that imported transformers first."""

import os
import subprocess
import sys


CODE = """
import transformers, rhm_hf
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


def test_trainable_models_are_registered(tmp_path):
    done = subprocess.run(
        [sys.executable, "-W", "error::RuntimeWarning", "-c", CODE],
        capture_output=True,
        text=True,
        cwd=tmp_path,
        env=os.environ | {"HF_HUB_OFFLINE": "1", "PYTHONPATH": os.pathsep.join(sys.path)},
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert done.stdout.split() == [
        "AttentionOnlyForCausalLM",
        "AttentionOnlyForMaskedLM",
        "LSTMForCausalLM",
        "LSTMForSequenceClassification",
        "FullyConnectedForSequenceClassification",
        "HierarchicalCNNForSequenceClassification",
        "LocallyConnectedForSequenceClassification",
        "HierarchicalUNetForMaskedLM",
    ]
