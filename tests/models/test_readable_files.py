"""Others on a shared disk can read what a model has saved."""

import pytest

import rhm_hf
from rhm_hf.files import umask


IDS = {"bos_token_id": 4, "eos_token_id": 4, "pad_token_id": 5}
MADE = {
    "oracle": lambda grammar: rhm_hf.RHMForCausalLM.from_grammar(grammar),
    "masked oracle": lambda grammar: rhm_hf.RHMForMaskedLM.from_grammar(grammar),
    "ngram": lambda grammar: rhm_hf.NGramForCausalLM.fit(grammar.sample(8), order=2, num_symbols=4),
    "hierarchical ngram": lambda grammar: rhm_hf.HierarchicalNGramForCausalLM.fit(grammar.sample(8), grammar),
    "attention": lambda grammar: rhm_hf.AttentionOnlyForCausalLM(rhm_hf.AttentionOnlyConfig()),
    "unet": lambda grammar: rhm_hf.HierarchicalUNetForMaskedLM(rhm_hf.HierarchicalUNetConfig()),
    "cnn": lambda grammar: rhm_hf.HierarchicalCNNForSequenceClassification(rhm_hf.HierarchicalCNNConfig()),
}


@pytest.mark.parametrize("name", MADE)
def test_every_file_of_a_model_can_be_read(name, tmp_path):
    (tmp_path / "secret.txt").write_text("not ours")
    (tmp_path / "secret.txt").chmod(0o600)
    MADE[name](rhm_hf.Grammar.from_name("v4-m2-s2-L2")).save_pretrained(tmp_path)
    modes = {path.name: path.stat().st_mode & 0o777 for path in tmp_path.rglob("*") if path.is_file()}
    assert modes.pop("secret.txt") == 0o600
    assert set(modes.values()) == {0o666 & ~umask()}
    assert "model.safetensors" in modes
