"""The Space of a metric: its script loads, its app builds a form, the form computes what the metric does."""

import json
import sys
from types import SimpleNamespace

import evaluate
import pytest
from huggingface_hub import SpaceCard

from hub_cards.build import FOLDER
from rhm_hf import Grammar, RHMForCausalLM, load_metric
from rhm_hf.metrics import metric_folders, space


@pytest.fixture
def gradio(monkeypatch):
    """A stand-in of gradio that keeps what it is given; `interface.fn` is the function behind the form."""
    made = SimpleNamespace(launched=[])

    class Interface(SimpleNamespace):
        def launch(self):
            made.launched.append(self)

    made.Interface = Interface
    made.Textbox = made.JSON = lambda label: label
    monkeypatch.setitem(sys.modules, "gradio", made)
    return made


def test_every_metric_has_a_form():
    assert set(space.FORMS) == set(metric_folders())
    assert {field for fields in space.FORMS.values() for field in fields} == set(space.FIELDS)


@pytest.mark.parametrize("name", list(space.FORMS))
def test_a_space_is_complete(name, gradio, tmp_path, monkeypatch):
    folder = space.write_space(name, tmp_path / name)
    assert sorted(path.name for path in folder.iterdir()) == sorted(
        ["README.md", "app.py", "requirements.txt", f"{name}.py"]
    )
    card = SpaceCard.load(folder / "README.md")
    assert (card.data.sdk, card.data.app_file, card.data.license) == ("gradio", "app.py", "mit")
    assert card.content == (FOLDER / f"{name}.md").read_text()
    exec(compile((folder / "app.py").read_text(), "app.py", "exec"), {"__name__": "__main__"})
    (form,) = gradio.launched
    assert form.inputs[:-1] == [space.FIELDS[field] for field in space.FORMS[name]]
    assert form.title == name
    found = evaluate.load(str(folder))  # what evaluate.load("user/name") does with a script that it has downloaded
    assert type(found).__mro__[1].__name__ == type(load_metric(name)).__mro__[1].__name__
    monkeypatch.setattr(space, "__file__", str(tmp_path / "installed" / "rhm_hf" / "metrics" / "space.py"))
    short = SpaceCard(space._card(name))  # of an installed package, which has no hub_cards/
    assert (short.data.sdk, short.data.title) == ("gradio", name)


def test_the_form_computes_what_the_metric_does(gradio, tmp_path):
    grammar = Grammar.from_name("v4-m2-s2-L2")
    RHMForCausalLM.from_grammar(grammar, context_level=1).save_pretrained(tmp_path / "model")
    form = space.form("rhm_kl")
    found = form.fn(str(tmp_path / "model"), "v4-m2-s2-L2", "", "")
    expected = load_metric("rhm_kl").compute(model=str(tmp_path / "model"), grammar=grammar)
    assert found["kl"] == expected["kl"] > 0
    json.dumps(found, allow_nan=False)
    other = form.fn(str(tmp_path / "model"), "v4-m2-s2-L2", "", '{"num_sentences": 7, "seed": 1, "bos": false}')
    assert other["positions"] == [2, 3, 4]
    sentences = json.dumps(grammar.sample(6).tolist())
    assert form.fn(str(tmp_path / "model"), "v4-m2-s2-L2", sentences, "")["num_sentences"] == 6
    valid = space.form("grammaticality").fn(sentences, "v4-m2-s2-L2", "")
    assert valid["valid"] == 1
    assert space.form("token_correlations").fn("to be or not to be, that is the question", '{"distances": [1, 2]}')[
        "distances"
    ] == [1, 2]


@pytest.mark.parametrize(
    ("texts", "message"),
    [
        (("", "v4-m2-s2-L2", "", ""), "model=None"),
        (("nobody/nothing", "v4-m2-s2-L2", "", "{"), "Expecting"),
        (("x", "v4-m9-s2-L2", "", ""), "num_synonyms=9"),
        (("x", "v4-m2-s2-L2", "not json", ""), "Expecting value"),
    ],
)
def test_a_form_says_what_is_wrong(gradio, texts, message):
    assert message in space.form("rhm_kl").fn(*texts)["error"]


def test_infinite_numbers_are_json(gradio, tmp_path):
    RHMForCausalLM.from_grammar(Grammar.from_name("v4-m2-s2-L2", rules_seed=1)).save_pretrained(tmp_path / "model")
    found = space.form("rhm_kl").fn(str(tmp_path / "model"), "v4-m2-s2-L2", "", "")
    assert found["kl"] == "inf"


def test_other_metrics_are_refused(tmp_path):
    with pytest.raises(ValueError, match="no metric of rhm_hf"):
        space.write_space("accuracy", tmp_path / "x")
