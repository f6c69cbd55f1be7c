"""Files that ask for too much, or say two things: refused before anything is built, by estimates and checksums."""

import json
import math
import shutil

import numpy as np
import pytest
import torch
from safetensors.numpy import save_file
from transformers import AutoModelForCausalLM

from rhm_hf import RHMForCausalLM, RHMForMaskedLM, resolve_grammar
from rhm_hf.checks import MEMORY_LIMIT
from rhm_hf.grammar import Grammar, registry, storage
from rhm_hf.models.rhm.configuration_rhm import RHMConfig


HUGE = 2**31 - 5
FAMILIES = {  # a name, and the setting of its files that asks for too much
    "layered": ("v4-m2-s2-L2", {"vocab_size": HUGE}),
    "filtered": ("v4-m2-s2-L2-cut1", {"vocab_size": HUGE}),
    "sparse": ("v4-m2-s2-L2-sparse1", {"sparsity": 10**6}),
    "hidden_markov": ("hmm-v4-h2-m2-d4-p0.5", {"sentence_length": HUGE}),
    "ambiguous": ("ambiguous-v4-m2-s2-L2", {"vocab_size": HUGE}),
    "trees": ("trees-v4-s2m2-s3m2-L2", {"vocab_size": HUGE}),
}


def forge(folder, source, settings):
    """The files of a source with other settings, checksums recomputed as a forger would."""
    source.save_pretrained(folder)
    description = json.loads((folder / "grammar.json").read_text())
    description |= {"settings": description["settings"] | settings, "parameters": None}
    description["checksum"] = storage._checksum(description)
    text = json.dumps(description)
    (folder / "grammar.json").write_text(text)
    save_file(source.arrays(), folder / "grammar.safetensors", metadata={"grammar.json": text, "replaces": ""})


@pytest.mark.parametrize("family", FAMILIES)
def test_a_file_that_asks_for_too_much_is_refused(family, tmp_path, monkeypatch):
    name, settings = FAMILIES[family]
    source = Grammar.from_name(name)
    assert source.family == family
    forge(tmp_path, source, settings)
    full, zeros = np.full, np.zeros

    def within(made):
        def make(shape, *args, **kwargs):
            assert math.prod(np.atleast_1d(shape).tolist()) < 2**24  # an array of this size would be too late
            return made(shape, *args, **kwargs)

        return make

    monkeypatch.setattr(np, "full", within(full))
    monkeypatch.setattr(np, "zeros", within(zeros))
    with pytest.raises(ValueError, match=r"GiB of memory|out of range|is too large"):
        Grammar.from_pretrained(tmp_path)


def test_every_family_whose_settings_hold_sizes_is_forged():
    """A general grammar's rules are its settings: their number is limited where they are read."""
    ours = {name for name, kind in registry.families().items() if kind.__module__.startswith("rhm_hf.")}
    assert ours <= {*FAMILIES, "pcfg"}


@pytest.mark.parametrize(
    "name",
    [
        f"v{HUGE}-m2-s2-L2",
        f"v{HUGE}-m2-s2-L2-sparse1",
        f"v{HUGE}-m2-s2-L2-cut1",
        f"trees-v{HUGE}-s2m2-s3m2-L2",
        f"ambiguous-v{HUGE}-m2-s2-L2",
        f"layered-c4-v{HUGE}.{HUGE}-m2.2-s2.2",
        f"layered-c4-v4.{HUGE}-m2.2-s2.2",
        f"ising-rho0.5-s{2**30}-L1",
        "colouring-q4000-s1000-L2",
        f"hmm-v4-h2-m2-d{HUGE}-p0.5",
        f"trees-v4-s{HUGE}m2-L1",
        "trees-v2-s1m1-s2m1-L30",
        "ising-rho0.5-s2-L30",
    ],
)
def test_names_that_ask_for_too_much_are_refused(name):
    with pytest.raises(ValueError, match=r"GiB of memory|out of range|2\^31 tokens or more"):
        registry.from_parameters(registry.parameters_from_name(name))


def test_laws_that_would_not_fit_are_refused():
    from rhm_hf.inference import causal_posteriors, next_token_probs, node_marginals

    source = Grammar.from_name("layered-c4-v4.200000000-m2.2-s2.2")
    assert 8 * source.sentence_length * source.vocab_size < MEMORY_LIMIT < 8 * 4 * 10 * source.vocab_size
    for call in (next_token_probs, causal_posteriors):
        with pytest.raises(ValueError, match=r"laws of 10 rows of 4 tokens .* GiB of memory"):
            call(source, np.zeros((10, 4), np.int64))
    deep = Grammar.from_rules([np.zeros((1, 1, 2), np.int32)] * 30, vocab_size=2)
    with pytest.raises(ValueError, match=r"laws along sentences of max_length=1073741824 .* 512 GiB of memory"):
        node_marginals(deep, 0)


SIZES = ("vocab_size", "num_symbols", "hidden_size", "num_hidden_layers", "max_position_embeddings", "filter_size")
CONFIGS = ("AttentionOnly", "FullyConnected", "HierarchicalCNN", "HierarchicalUNet", "LocallyConnected")


def config_class(name):
    import rhm_hf

    return getattr(rhm_hf, f"{name}Config")


@pytest.mark.parametrize("name", CONFIGS)
@pytest.mark.parametrize("size", [*SIZES, "num_labels", "num_attention_heads"])
def test_configurations_refuse_sizes_that_cannot_be(name, size):
    known = config_class(name)().to_dict().keys() | {"num_labels"}
    if size not in known:
        pytest.skip("not a field of it")
    for value in (10**12, 10**30, 0, -1, True, 2.5, "3"):
        with pytest.raises(ValueError, match=size):
            config_class(name)(**{size: value})


@pytest.mark.parametrize("name", CONFIGS)
def test_configurations_estimate_their_weights(name):
    with pytest.raises(ValueError, match=r"a model of .*hidden_size=1048576.* would take about .* GiB"):
        config_class(name)(hidden_size=2**20, vocab_size=2**13)


def test_laws_as_models_refuse_sizes_that_cannot_be():
    from rhm_hf import HierarchicalNGramConfig, NGramConfig

    source = RHMConfig.from_grammar(Grammar.from_name("v4-m2-s2-L2")).source
    for change, message in (
        ({"num_classes": 2**31}, "num_classes"),
        ({"shapes": {"root_probs": ["float64", [2**20, 2**20]]}}, r"source of family='layered' .* GiB of memory"),
        ({"shapes": {"root_probs": ["float16", [2]]}}, "float16"),
        ({"max_length": "4"}, "max_length"),
    ):
        with pytest.raises(ValueError, match=message):
            RHMConfig(4, source=source | change)
    with pytest.raises(ValueError, match=r"lacks .*max_length"):
        RHMConfig(4, source={"family": "layered"})
    for config in (RHMConfig, NGramConfig):
        for value in (10**12, -1, 0, True, "3"):
            with pytest.raises(ValueError, match="num_symbols"):
                config(num_symbols=value)
    for values, message in (
        ({"order": 10**12}, "order"),
        ({"order": -1}, "order"),
        ({"sentence_length": -1}, "sentence_length"),
        ({"num_contexts": [2**31], "num_pairs": [2**31]}, r"num_contexts=.* GiB of memory"),
        ({"num_contexts": [1, 2], "num_pairs": [1]}, "num_pairs has 1 entries and num_contexts 2"),
    ):
        with pytest.raises(ValueError, match=message):
            NGramConfig(**values)
    with pytest.raises(ValueError, match=r"num_contexts=.* GiB of memory"):
        HierarchicalNGramConfig(num_contexts=[2**31], num_pairs=[2**31])


# One directory, one law.


def oracles(tmp_path):
    first, second = Grammar.from_name("v4-m2-s2-L2"), Grammar.from_name("v4-m2-s2-L2", rules_seed=5)
    for source, place in ((first, "a"), (second, "b")):
        RHMForCausalLM.from_grammar(source).save_pretrained(tmp_path / place)
    return tmp_path / "a", tmp_path / "b", first, second


def test_an_oracle_with_the_grammar_of_another_is_refused(tmp_path):
    a, b, first, _ = oracles(tmp_path)
    assert AutoModelForCausalLM.from_pretrained(a).grammar == resolve_grammar(a) == first
    shutil.rmtree(a / "grammar")
    shutil.copytree(b / "grammar", a / "grammar")
    for read in (AutoModelForCausalLM.from_pretrained, resolve_grammar, Grammar.from_pretrained):
        with pytest.raises(ValueError, match="holds two laws"):
            read(a)


def cached_repository(cache, folder, repo_id="user/oracle", commit="0123456789" * 4):
    """A folder as the Hub's cache holds it, for reading without a network."""
    place = cache / f"models--{repo_id.replace('/', '--')}"
    shutil.copytree(folder, place / "snapshots" / commit)
    (place / "refs").mkdir()
    (place / "refs" / "main").write_text(commit)
    return repo_id


@pytest.mark.parametrize("beside", ["its own", "another's", "none"])
def test_a_repository_of_the_hub_holds_one_law_too(tmp_path, beside):
    a, b, first, _ = oracles(tmp_path)
    if beside != "its own":
        shutil.rmtree(a / "grammar")
    if beside == "another's":
        shutil.copytree(b / "grammar", a / "grammar")
    name = cached_repository(tmp_path / "cache", a)
    if beside == "another's":
        for read in (AutoModelForCausalLM.from_pretrained, Grammar.from_pretrained):
            with pytest.raises(ValueError, match="holds two laws"):
                read(name, cache_dir=tmp_path / "cache")
    else:
        assert AutoModelForCausalLM.from_pretrained(name, cache_dir=tmp_path / "cache").grammar == first


def test_an_oracle_with_the_weights_of_another_is_refused(tmp_path):
    a, b, *_ = oracles(tmp_path)
    shutil.copy(b / "model.safetensors", a / "model.safetensors")
    with pytest.raises(ValueError, match=r"holds two laws: its weights are not the source"):
        AutoModelForCausalLM.from_pretrained(a)


def test_an_oracle_whose_parameters_were_edited_is_refused(tmp_path):
    a, *_ = oracles(tmp_path)
    config = json.loads((a / "config.json").read_text())
    config["source"]["parameters"]["rules_seed"] = 5
    (a / "config.json").write_text(json.dumps(config))
    for model in (RHMForCausalLM, RHMForMaskedLM):
        with pytest.raises(ValueError, match="holds two laws"):
            model.from_pretrained(a)


def test_what_was_loaded_into_an_oracle_is_saved_as_one_law(tmp_path):
    a, b, first, second = oracles(tmp_path)
    model = AutoModelForCausalLM.from_pretrained(a)
    assert model.grammar == first
    model.load_state_dict(AutoModelForCausalLM.from_pretrained(b).state_dict())
    model.save_pretrained(tmp_path / "c")
    again = AutoModelForCausalLM.from_pretrained(tmp_path / "c")
    assert again.grammar == second == resolve_grammar(tmp_path / "c")
    ids = torch.tensor([[4, *second.sample(1)[0].tolist()]])
    assert torch.equal(again(ids).logits, RHMForCausalLM.from_grammar(second)(ids).logits)
