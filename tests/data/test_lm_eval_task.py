"""The harness's task scores a model as `rhm_kl` does; by a reader of the folder, and by the harness where it is."""

import importlib.util
import json
from pathlib import Path

import pytest
import torch
import yaml
from transformers import AutoModelForCausalLM, AutoTokenizer, GPT2Config, GPT2LMHeadModel

from rhm_hf import Grammar, load_metric, rhm_tokenizer
from rhm_hf.data import lm_eval_task


NAMES = ["v4-m2-s2-L2", "v16-m4-s2-L3-zipf1.0@1", "pcfg-toy_english"]


class Loader(yaml.SafeLoader):
    """Reads `!function module.name` as its text."""


Loader.add_constructor("!function", lambda loader, node: node.value)


@pytest.fixture(params=NAMES)
def made(request, tmp_path):
    """A grammar, its task's folder and the folder of a model that has learnt nothing."""
    grammar = Grammar.from_name(request.param)
    v = grammar.vocab_size
    torch.manual_seed(0)
    ids = {"bos_token_id": v, "eos_token_id": v, "pad_token_id": v + 1}
    config = GPT2Config(vocab_size=v + 3, n_positions=64, n_embd=16, n_layer=1, n_head=2, **ids)
    GPT2LMHeadModel(config).save_pretrained(tmp_path / "model")
    rhm_tokenizer(v).save_pretrained(tmp_path / "model")
    return grammar, lm_eval_task(grammar, tmp_path / "task", num_sentences=12), tmp_path / "model"


def expected(grammar, model):
    tokens, lengths = grammar.sample(12, seed=0, split="test", sampling="iid", return_lengths=True)
    rows = [row[:length].tolist() for row, length in zip(tokens, lengths, strict=True)]
    return load_metric("rhm_kl").compute(model=str(model), grammar=grammar, input_ids=rows)


def test_the_score_is_the_metric(made):
    grammar, folder, path = made
    (task,) = folder.glob("*.yaml")
    settings = yaml.load(task.read_text(), Loader)
    assert settings["task"] == task.stem == f"rhm_kl_{grammar.name}"
    assert [metric["metric"] for metric in settings["metric_list"]] == ["kl", "entropy"]
    spec = importlib.util.spec_from_file_location("scoring", folder / "scoring.py")
    scoring = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(scoring)
    model, tokenizer = AutoModelForCausalLM.from_pretrained(path), AutoTokenizer.from_pretrained(path)
    scores = []
    for line in Path(settings["dataset_kwargs"]["data_files"]["test"]).read_text().splitlines():
        document = json.loads(line)
        context = tokenizer(document["context"])["input_ids"]
        with torch.no_grad():
            logs = model(torch.tensor([context])).logits[0, -1].log_softmax(-1)
        results = []
        for choice in document["choices"]:
            (token,) = tokenizer(f"{document['context']} {choice}")["input_ids"][len(context) :]
            results.append((logs[token].item(), False))
        scores.append(scoring.kl(document, results))
    found = expected(grammar, path)
    for name in ("kl", "entropy"):
        assert scoring.mean([score[name] for score in scores]) == pytest.approx(found[name], rel=1e-5)


def test_the_harness_itself(made):
    """Where `lm-eval` is installed; it is no dependency."""
    lm_eval = pytest.importorskip("lm_eval")
    from lm_eval.tasks import TaskManager

    grammar, folder, path = made
    arguments = {"pretrained": str(path), "device": "cpu", "dtype": "float32"}
    manager = TaskManager(include_path=str(folder), include_defaults=False)
    result = lm_eval.simple_evaluate("hf", arguments, tasks=[f"rhm_kl_{grammar.name}"], task_manager=manager)
    (found,) = result["results"].values()
    assert found["kl,none"] == pytest.approx(expected(grammar, path)["kl"], rel=1e-5)


def test_bad_input_is_refused(tmp_path):
    grammar = Grammar.from_name("v4-m2-s2-L2")
    (tmp_path / "file").write_text("")
    with pytest.raises(FileExistsError, match="is not empty"):
        lm_eval_task(grammar, tmp_path)
    with pytest.raises(ValueError, match="num_sentences=0"):
        lm_eval_task(grammar, tmp_path / "task", num_sentences=0)
    assert not (tmp_path / "task").exists()
