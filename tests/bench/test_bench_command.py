"""The whole way at toy size: trained, recorded, resumed, compared, printed for a cluster."""

import csv
import json
from pathlib import Path

import pytest
from typer.testing import CliRunner

from rhm_hf.bench import load_suite, read_record
from rhm_hf.bench.conducting import RATES_FILE
from rhm_hf.cli.app import app
from rhm_hf.training.run import loop


def rhm(*words):
    return CliRunner().invoke(app, [str(word) for word in words])


def bench(*words):
    return rhm("bench", *words, "--tiny", "--num-workers", 1)


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """Two architectures and a learner that counts on every task of the small suite."""
    out = tmp_path_factory.mktemp("bench")
    found = bench("lstm", "hierarchical_cnn", "ngram", "--out", out)
    assert found.exit_code == 0, found.output
    return out


def test_a_record_holds_how_it_was_made_and_all_cells(folder):
    record, suite = read_record(folder / "lstm.json"), load_suite("small").tiny()
    assert record["suite"] == suite.name
    assert record["suite_sha256"] == suite.sha256
    assert record["command"] == "rhm bench lstm --suite small --tiny"
    assert record["environment"]["torch"]
    assert set(record["tasks"]) == {"climb", "price", "zipf", "class", "placement", "trees", "depth"}
    assert set(record["left_out"]) == {"masked"}
    for name, task in record["tasks"].items():
        cells = task["cells"]
        assert len(cells) == 2 * 2 + 1
        assert [cell["model_seed"] for cell in cells if cell["spread"]] == [1]
        assert {cell["stopped_by"] for cell in cells} <= {"max_steps", "converged", "untrained"}
        assert all(cell["flops"] > 0 and cell["steps"] == 3 for cell in cells)
        assert len(task["levels"]) >= 1
        largest = [cell for cell in cells if cell["num_train"] == 24 and not cell["spread"]]
        if name in ("climb", "price", "zipf"):
            assert all(cell["oracle"] in range(5) for cell in largest)
        if name == "depth":
            assert all(cell["beyond_kl"] > 0 for cell in largest if cell["beyond_sentences"])
            assert any(cell["beyond_sentences"] for cell in largest)


def test_learning_rates_are_chosen_on_validation_and_on_no_grammar_that_is_measured(folder):
    record = read_record(folder / "lstm.json")
    for name, task in record["tasks"].items():
        losses = dict(task["tried"])
        assert len(losses) == 2
        assert task["learning_rate"] == min(losses, key=losses.get)
        tuned = [json.loads(path.read_text()) for path in (folder / "lstm" / "tuning").glob(f"{name}_*/run.json")]
        seeds = {(run["arguments"]["rules_seed"], run["arguments"]["sample_seed"]) for run in tuned}
        assert seeds == {(5, 0) if task["varied"] == "rules_seed" else (0, 5)}
        rates = {
            json.loads(path.read_text())["arguments"]["learning_rate"]
            for path in (folder / "lstm" / "runs").glob(f"{name}_*/run.json")
        }
        assert rates == {task["learning_rate"]}


def test_one_table_one_picture_one_file(folder):
    assert {"bench.json", "bench.csv", "bench.png"} <= {path.name for path in folder.iterdir()}
    with open(folder / "bench.csv", newline="") as file:
        rows = list(csv.DictReader(file))
    assert {row["architecture"] for row in rows} == {"lstm", "hierarchical_cnn", "ngram"}
    assert all(row["P half way"].startswith((">= ", "<= ", "? ")) or row["P half way"].isdigit() for row in rows)
    level = next(row for row in rows if row["task"] == "price" and row["level"] == "level 2")
    assert level["theory"].startswith("transformer ")


def test_started_again_nothing_is_trained_and_nothing_changes(folder, monkeypatch):
    before = (folder / "hierarchical_cnn.json").read_bytes()
    monkeypatch.setattr(loop, "Run", lambda *args: pytest.fail("a run was begun anew"))
    monkeypatch.setattr("rhm_hf.bench.conducting.try_tasks", _tried_before(folder))
    found = bench("hierarchical_cnn", "--out", folder)
    assert found.exit_code == 0, found.output
    assert json.loads((folder / "hierarchical_cnn.json").read_text()) == json.loads(before)


def _tried_before(folder):
    """The trial of a bench that was run, from its record: it begins no run then."""
    from dataclasses import replace

    from rhm_hf.bench.tryout import Tried

    record = read_record(folder / "hierarchical_cnn.json")

    def tried(plan):
        tasks = [task for task in plan.suite.tasks if task.name in record["tasks"]]
        found = []
        for task in tasks:
            own = record["tasks"][task.name]
            found.append(Tried(task, own["parameters"], own["cells"][0]["flops"] // own["cells"][0]["steps"], 0.0))
        return replace(plan, suite=replace(plan.suite, tasks=tuple(tasks))), found, record["left_out"]

    return tried


def test_any_records_stand_side_by_side(folder, tmp_path):
    found = rhm("bench", "--compare", folder, "--out", tmp_path, "--json")
    assert found.exit_code == 0, found.output
    result = json.loads(found.stdout)
    assert [record["architecture"]["name"] for record in result["records"]] == ["hierarchical_cnn", "lstm", "ngram"]
    pairs = {(row["task"], row["first"], row["second"]) for row in result["differences"]}
    assert ("class", "hierarchical_cnn", "lstm") in pairs
    assert {row["says"] for row in result["differences"]} == {"within noise"}  # two members say nothing
    assert (tmp_path / "bench.png").exists()
    words = rhm("bench", folder / "lstm.json", folder / "ngram.json")  # records are known by what they hold
    assert words.exit_code == 0
    assert "Two halves of the members" in words.stdout
    alone = bench("ngram", "--tasks", "climb", "--compare", folder / "lstm.json", "--out", tmp_path / "own")
    assert alone.exit_code == 0, alone.output
    assert "lstm" in alone.stdout


def test_for_a_cluster_the_commands_are_printed_and_said_how_to_go_on(tmp_path):
    words = ("bench", "lstm", "--tiny", "--tasks", "class", "--out", tmp_path, "--executor", "print")
    found = rhm(*words)
    assert found.exit_code == 1
    assert found.stdout.count("rhm_hf.cli train --config") == 2
    assert "0 of 2 runs are finished: run the commands above, then this one again" in found.stderr
    assert not (tmp_path / "lstm.json").exists()


def test_a_strangers_class_gets_its_row(tmp_path, monkeypatch):
    monkeypatch.syspath_prepend(str(Path(__file__).parent))
    found = bench("odd_models:Good", "--tasks", "climb,depth", "--out", tmp_path)
    assert found.exit_code == 0, found.output
    record = read_record(tmp_path / "odd_models-Good.json")
    assert record["architecture"]["model_type"] == "odd_models:Good"
    largest = [cell for cell in record["tasks"]["climb"]["cells"] if cell["num_train"] == 24 and not cell["spread"]]
    assert all(cell["oracle"] in range(5) for cell in largest)


def test_interrupted_it_says_how_to_go_on(tmp_path, monkeypatch):
    from rhm_hf.bench import conducting

    def interrupted(values, **options):
        raise KeyboardInterrupt("2 of 2 runs are not finished")

    monkeypatch.setattr(conducting, "sweep", interrupted)
    found = bench("lstm", "--tasks", "class", "--out", tmp_path)
    assert found.exit_code == 130
    assert "the same command goes on where this one stopped. 2 of 2 runs are not finished" in found.stderr


def test_a_learning_rate_that_diverges_is_an_answer(tmp_path, monkeypatch):
    from rhm_hf.training import results

    check = results.check_finite

    def diverges(row, learning_rate):
        if learning_rate > 2e-3:
            raise RuntimeError("train_loss is nan at step 1: training diverged with learning_rate=0.004; choose lower")
        check(row, learning_rate)

    monkeypatch.setattr(results, "check_finite", diverges)
    found = bench("lstm", "--tasks", "class", "--out", tmp_path)
    assert found.exit_code == 0, found.output
    task = read_record(tmp_path / "lstm.json")["tasks"]["class"]
    assert task["learning_rate"] == 1e-3
    assert task["tried"][1] == [4e-3, None]
    assert json.loads((tmp_path / "lstm" / RATES_FILE).read_text())["rates"]["class"]["learning_rate"] == 1e-3


@pytest.mark.parametrize("suite", ["standard", "paper"])
def test_the_larger_suites_go_the_whole_way_too(tmp_path, suite):
    found = bench("lstm", "--suite", suite, "--tasks", "climb,placement,depth", "--out", tmp_path)
    assert found.exit_code == 0, found.output
    assert set(read_record(tmp_path / "lstm.json")["tasks"]) == {"climb", "placement", "depth"}


@pytest.mark.parametrize(
    ("words", "message"),
    [
        ((), "nothing to bench"),
        (("gpt3",), "gpt2"),
        (("gpt2", "--suite", "smal"), "small, standard, paper"),
        (("gpt2", "--tasks", "climbs"), "has the tasks climb"),
        (("--compare", "nowhere.json"), "nowhere.json cannot be read"),
    ],
)
def test_mistakes_are_a_line(words, message):
    found = rhm("bench", *words)
    assert found.exit_code == 1
    assert message in found.stderr
    assert len(found.stderr.strip().splitlines()) == 1


def test_a_dry_run_says_what_it_costs(tmp_path):
    found = rhm("bench", "lstm", "--tiny", "--dry-run", "--tasks", "class", "--out", tmp_path / "out")
    assert found.exit_code == 0
    assert "at most, on one core" in found.stdout
    assert not Path(tmp_path / "out").exists()


def test_a_page_and_a_card_are_made_of_records(folder, tmp_path):
    from huggingface_hub import ModelCard

    page = tmp_path / "page" / "results.md"
    found = rhm("bench", "--compare", folder, "--page", page)
    assert found.exit_code == 0, found.output
    text = page.read_text()
    assert page.with_suffix(".png").exists()
    assert text.count("rhm bench hierarchical_cnn --suite small --tiny") == 3  # a row a task
    assert "&gt;= 24" in text
    card = ModelCard((folder / "hierarchical_cnn-card.md").read_text())
    results = card.data.eval_results
    record = read_record(folder / "hierarchical_cnn.json")
    values = {
        result.dataset_config: result.metric_value for result in results if result.metric_type == "distance_left"
    }
    assert values == {f"{n}: {t['grammar']}": round(t["left"], 4) for n, t in record["tasks"].items()}
