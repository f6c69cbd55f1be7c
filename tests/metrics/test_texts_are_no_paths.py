"""A path that is given as a text is refused by every metric that reads texts."""

import pytest
from transformers import GPT2Config, GPT2LMHeadModel

from rhm_hf import char_corpus, load_metric
from rhm_hf.metrics.path_check import refuse_paths


@pytest.fixture(scope="module")
def model_and_tokenizer(tmp_path_factory):
    path = tmp_path_factory.mktemp("text") / "text.txt"
    path.write_text("abcdefgh./ tx" * 40)
    tokenizer = char_corpus(text_file=path).tokenizer
    config = GPT2Config(vocab_size=len(tokenizer), n_positions=9, n_embd=8, n_layer=1, n_head=1)
    return GPT2LMHeadModel(config), tokenizer, path


def test_metrics_refuse_paths(model_and_tokenizer):
    model, tokenizer, path = model_and_tokenizer
    calls = {
        "context_loss": {"texts": str(path), "model": model, "tokenizer": tokenizer},
        "token_correlations": {"data": str(path)},
        "effective_context": {"corpus": str(path), "model": model, "tokenizer": tokenizer},
    }
    for name, arguments in calls.items():
        with pytest.raises(ValueError, match=r"is the path of a file.*read_text\(\)"):
            load_metric(name).compute(**arguments)
    with pytest.raises(ValueError, match="written as the path of a file, which is not there"):
        load_metric("token_correlations").compute(data=["some text", "fiel.txt"])


def test_what_is_text_stays_text(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "word").write_text("x")
    refuse_paths("texts", ["two words.txt", "a.b", "etc.", "file.txt ", "first line\nfile.txt", "x" * 10_000, ""])
    with pytest.raises(ValueError, match="'word'"):
        refuse_paths("texts", ["word"])
