"""Which models an Auto class has for a class of configurations: what its mapping says, without importing all of it."""

import pytest
import transformers

from rhm_hf import RHMConfig, RHMForCausalLM
from rhm_hf.auto_classes import classes_of


AUTO_CLASSES = ("AutoModelForCausalLM", "AutoModelForMaskedLM", "AutoModelForSequenceClassification")
OTHER = type("GPT2Config", (transformers.GPT2Config,), {"__module__": "mine"})


@pytest.mark.parametrize("auto_class", AUTO_CLASSES)
@pytest.mark.parametrize("name", ["GPT2", "Bert", "Llama", "T5", "Wav2Vec2", "XLMRoberta", "PreTrained"])
def test_it_is_what_the_mapping_says(name, auto_class):
    config_class, mapping = getattr(transformers, f"{name}Config"), getattr(transformers, auto_class)._model_mapping
    expected = mapping[config_class] if config_class in mapping.keys() else ()  # noqa: SIM118  it is no dict
    assert classes_of(config_class, auto_class) == (expected if isinstance(expected, tuple) else (expected,))


def test_a_class_of_a_known_name_is_another_class_until_it_is_registered(monkeypatch):
    mapping = transformers.AutoModelForCausalLM._model_mapping
    assert classes_of(OTHER, "AutoModelForCausalLM") == ()
    monkeypatch.setitem(mapping._extra_content, OTHER, RHMForCausalLM)
    assert classes_of(OTHER, "AutoModelForCausalLM") == (RHMForCausalLM,)
    assert classes_of(transformers.GPT2Config, "AutoModelForCausalLM") == (transformers.GPT2LMHeadModel,)
    assert classes_of(RHMConfig, "AutoModelForCausalLM") == (RHMForCausalLM,)


def test_only_what_is_asked_is_imported(monkeypatch):
    mapping = transformers.AutoModelForCausalLM._model_mapping
    monkeypatch.setattr(type(mapping), "keys", None)  # which imports all
    assert classes_of(transformers.GPT2Config, "AutoModelForCausalLM") == (transformers.GPT2LMHeadModel,)
