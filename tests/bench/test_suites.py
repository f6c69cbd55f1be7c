"""Suites: files that never change once a row was measured with them, and what is refused in one of one's own."""

import pytest

from rhm_hf.bench import load_suite
from rhm_hf.bench.suite import FOLDER, SHIPPED
from rhm_hf.training.strict_yaml import dump_yaml, read_yaml


RELEASED = {  # with which rows were measured; the others may still change
    "small": "32ac4bc58e1b96ea1fb6de5c9383a1652624feff1636c4413d89ea22e5c325df",
}


@pytest.mark.parametrize("name", RELEASED)
def test_a_released_suite_never_changes(name):
    assert load_suite(name).sha256 == RELEASED[name]


@pytest.mark.parametrize("name", SHIPPED)
def test_every_task_asks_one_question_of_members_that_nothing_was_tuned_on(name):
    suite = load_suite(name)
    assert suite.name == f"rhm-bench-1-{name}"
    for task in suite.tasks:
        assert task.question.endswith("?")
        assert task.question.count("?") == 1
        assert suite.tuning_seed not in task.seeds
        assert len(task.seeds) >= 4  # two halves of two
        assert list(task.num_train) == sorted(set(task.num_train))
        assert task.tuning_size in task.num_train


def test_the_suites_ask_the_same_questions():
    small, standard, paper = (load_suite(name) for name in SHIPPED)
    for suite in (standard, paper):
        assert [(t.name, t.question, t.task) for t in suite.tasks] == [
            (t.name, t.question, t.task) for t in small.tasks
        ]


def test_rules_in_a_file_are_a_part_of_the_suite(tmp_path):
    for path in FOLDER.iterdir():
        (tmp_path / path.name).write_bytes(path.read_bytes())
    own = str(tmp_path / "rhm-bench-1-small.yaml")
    assert load_suite(own).sha256 == load_suite("small").sha256
    with open(tmp_path / "rhm-bench-1-dyck.cfg", "a") as file:
        file.write("# another comment\n")
    assert load_suite(own).sha256 != load_suite("small").sha256


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"learning_rates": None}, "no learning_rates"),
        ({"learnin_rates": [1]}, "unknown learnin_rates"),
        ({"training": {"batchsize": 1}}, "batchsize"),
        ({"tasks": {"a": {"question": "?", "task": "next_token", "grammar": "v4-m2-s2-L2"}}}, "no num_train"),
        ({"tasks": {"a": 3}}, "mapping"),
    ],
)
def test_a_suite_of_ones_own_is_checked(tmp_path, change, message):
    values = read_yaml(FOLDER / "rhm-bench-1-small.yaml") | change
    if change.get("learning_rates", 0) is None:
        del values["learning_rates"]
    (tmp_path / "own.yaml").write_text(dump_yaml(values))
    with pytest.raises(ValueError, match=message):
        load_suite(str(tmp_path / "own.yaml"))


def test_what_is_no_suite_is_refused():
    with pytest.raises(ValueError, match="small, standard, paper"):
        load_suite("smal")
    with pytest.raises(ValueError, match="has the tasks climb, price"):
        load_suite("small").only(["climbs"])


def test_the_toy_suite_says_that_it_is_one():
    suite = load_suite("small").tiny()
    assert suite.name.endswith("-tiny")
    assert suite.training["max_steps"] == 3
    assert suite.sha256 == load_suite("small").sha256
