"""What is refused before anything is trained, what is left out, and what a bench says it costs."""

import json

import pytest

from rhm_hf.bench import Plan, cost_rows, load_suite, read_architecture
from rhm_hf.bench.tryout import try_tasks


@pytest.fixture(scope="module")
def suite():
    return load_suite("small").tiny()


@pytest.fixture
def plan(suite, tmp_path, monkeypatch):
    monkeypatch.syspath_prepend(str(__file__).rpartition("/")[0])

    def make(given, tasks=("climb",), **fields):
        if fields:
            path = tmp_path / "mine.json"
            path.write_text(json.dumps({"model_type": given} | fields))
            given = str(path)
        return Plan(read_architecture(given), suite.only(tasks), tmp_path / "bench")

    yield make
    assert not (tmp_path / "bench").exists()  # nothing was written, let alone trained


def test_a_strangers_class_is_tried(plan):
    able, (tried,), left_out = try_tasks(plan("odd_models:Good"))
    assert [task.name for task in able.suite.tasks] == ["climb"]
    assert not left_out
    v, width = 8, 16  # of the toy grammar, and of the toy suite
    assert tried.parameters == 2 * (v + 3) * width
    assert (
        tried.flops == 3 * 2 * 16 * 16 * (v + 3) * width - 0
    )  # forward and backward of one product for 16 x 16 tokens


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ("odd_models:Peeks", "later tokens|causal"),
        ("odd_models:Broken", "the loss nan"),
        ("odd_models:Steep", "NaN or infinite after one step"),
        ("odd_models:Headless", "auto_class"),
        ("odd_models:None", "has no None"),
        ("gpt3", "gpt2"),
        ("nowhere.json", "cannot be read"),
    ],
)
def test_bad_models_are_refused_in_a_line(plan, given, message):
    with pytest.raises(ValueError, match=message) as error:
        try_tasks(plan(given))
    assert "\n" not in str(error.value)


def test_a_short_context_and_a_large_model_are_refused(plan):
    with pytest.raises(ValueError, match=r"reads 7 ids at most.*16"):
        try_tasks(plan("gpt2", n_positions=7))
    with pytest.raises(ValueError, match=r"reads 7 ids at most.*16"):
        try_tasks(plan("llama", max_position_embeddings=7, hidden_size=16, num_attention_heads=2, num_hidden_layers=1))
    with pytest.raises(ValueError, match="budget of rhm-bench-1-small-tiny is 400,000"):
        try_tasks(plan("gpt2", n_embd=480))


def test_what_a_model_has_no_head_for_is_left_out_with_the_reason(plan):
    names = ("climb", "price", "class", "masked")
    _, tried, left_out = try_tasks(plan("hierarchical_cnn", names))
    assert [trial.task.name for trial in tried] == ["price", "class"]
    assert set(left_out) == {"climb", "masked"}
    _, tried, left_out = try_tasks(plan("bert", names))
    assert [trial.task.name for trial in tried] == ["price", "class", "masked"]
    assert "both ways" in left_out["climb"]
    with pytest.raises(ValueError, match=r"hierarchical_cnn can do no task of .*: climb: it has no head"):
        try_tasks(plan("hierarchical_cnn", ("climb",)))


def test_recurrent_layers_count_a_product_a_weight(plan):
    (tried,) = try_tasks(plan("lstm"))[1]
    width, tokens, outputs = 16, 16 * 16, 8 + 3
    assert tried.flops == 6 * tokens * (8 * width * width + width * outputs)


def test_a_layer_a_level_has_the_shape_of_the_tree(plan, suite):
    from rhm_hf.bench.architectures import config_fields

    task = next(task for task in suite.tasks if task.name == "placement")
    found = config_fields(read_architecture("hierarchical_cnn"), suite, task)
    assert (found["filter_size"], found["num_hidden_layers"]) == (4, 2)  # two children, each with an empty slot
    own = plan("hierarchical_cnn", hidden_size=8, filter_size=16, num_hidden_layers=1).architecture
    assert config_fields(own, suite, task) == {"hidden_size": 8, "filter_size": 16, "num_hidden_layers": 1}


def test_a_configuration_keeps_what_differs_from_the_defaults(plan):
    given = plan("gpt2", n_embd=32, vocab_size=50257, resid_pdrop=0.1, bos_token_id=3, architectures=["A"])
    assert given.architecture.name == "mine"
    assert dict(given.architecture.fields) == {"n_embd": 32}


def test_the_plan_says_what_it_costs(plan):
    (climb, masked) = cost_rows(plan("gpt2", ("climb", "masked")))
    assert climb["runs"] == 2 + 2 * 2 + 1  # learning rates; members and sizes; a further model seed
    assert climb["steps at most"] == 3 * climb["runs"]
    assert climb["seconds at most"] == pytest.approx(climb["seconds a step"] * climb["steps at most"])
    assert "no head" in masked["remark"]
    (counted,) = cost_rows(plan("ngram"))
    assert counted["runs"] == 4
