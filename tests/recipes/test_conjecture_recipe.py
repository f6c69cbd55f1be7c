"""The recipe of the three lengths, at a tiny size."""

from types import SimpleNamespace

import pytest
import recipe_scripts
import torch
from recipe_scripts import dry_run

from rhm_hf import Grammar, theory
from rhm_hf.inference import next_token_probs
from rhm_hf.training.arguments import parse_sweep
from rhm_hf.training.results import read_csv
from rhm_hf.training.sweep import expand


RECIPE = recipe_scripts.RECIPES / "conjecture"
STEPS = {"batch_size": 16, "max_steps": 10, "learning_rate": 1e-2, "warmup_steps": 2, "num_evaluations": 3}
CPU = RECIPE / "cpu.yaml"


@pytest.fixture
def recipe():
    module = recipe_scripts.recipe("conjecture")
    threads = torch.get_num_threads()
    yield module
    torch.set_num_threads(threads)


@pytest.mark.usefixtures("dry_run")
def test_tables_and_figure(recipe, tmp_path):
    tables = dry_run(recipe, tmp_path, config=CPU)
    assert set(tables) == {"lengths", "losses", "agreement", "held_out", "exponents"}
    rows = {(row["data"], row["num_train"]): row for row in tables["lengths"]}
    text, name = "shakespeare", "v8-m2-s2-L4"
    assert set(rows) == {(text, 1600), (text, 2200), (name, 16), (name, 32)}
    best = {row["run"]: row for row in read_csv(tmp_path / "runs" / "results.csv") if row["best"]}
    assert rows[text, 1600]["test_loss"] == best["characters_num_train-1600"]["test_loss"]
    parameters = Grammar.from_name(name).parameters
    for (data, size), row in rows.items():
        assert row["n_max"] == (11 if data == text else 15)
        for length in ("n_sat", "n_sat_relative"):
            if not row[f"{length}_is_bound"]:
                assert row[f"{length}_low"] <= row[length] <= row[f"{length}_high"]
        assert 0 <= row["t_agree"] <= row["t_res"] <= row["n_max"]
        assert row["t_agree_is_bound"] == int(row["t_agree"] == row["t_res"])
        assert 0 <= row["t_star"] <= 10
        expected = theory.effective_context(parameters, size) if data == name else ""
        assert row["t_star_theory"] == expected
    assert rows[text, 1600]["t_star"] <= rows[text, 2200]["t_star"]
    assert {row["data"] for row in tables["held_out"]} == {text, name}
    assert {row["length"] for row in tables["exponents"]} == set(recipe.LENGTHS)
    of = [row for row in tables["losses"] if (row["data"], row["num_train"]) == (name, 32)]
    assert [row["n"] for row in of] == list(range(16))
    assert of[-1]["delta"] == 0


def test_only_what_lies_further_back_is_redrawn_from_its_law(recipe):
    grammar = Grammar.from_name("v4-m2-s2-L2")
    tokens, shown = recipe.redrawn_sentences(grammar, 4000)
    d = grammar.sentence_length
    assert shown.shape == (d, 4000, d)
    assert torch.equal(shown[d - 1], tokens)
    for n in range(1, d - 1):
        assert torch.equal(shown[n, :, d - 1 - n : d - 1], tokens[:, d - 1 - n : d - 1])
    # Redrawn and true sentences have one law: of every pair of tokens before the last.
    for n in range(d - 1):
        for i, j in ((0, 1), (0, 2), (1, 2)):
            counts = [torch.bincount(rows[:, i] * 4 + rows[:, j], minlength=16) for rows in (shown[n], tokens)]
            error = (2 * torch.maximum(*counts)).sqrt().clamp(min=1)
            assert ((counts[0] - counts[1]).abs() <= 5 * error).all()


class Blurred(torch.nn.Module):
    """A law that knows its own block of a level only, with a tenth of noise, so that nothing is impossible."""

    def __init__(self, grammar, level: int):
        super().__init__()
        self.grammar, self.level = grammar, level

    def forward(self, input_ids, use_cache):
        tokens = torch.nn.functional.pad(input_ids[:, 1:], (0, 1))
        laws = next_token_probs(self.grammar, tokens, context_level=self.level)
        return SimpleNamespace(logits=(0.9 * laws + 0.1 / self.grammar.vocab_size).log())


def test_losses_saturate_at_the_block_that_a_law_knows(recipe):
    grammar = Grammar.from_name("v8-m3-s2-L3")
    tokens, shown = recipe.redrawn_sentences(grammar, 1000)
    for level, expected in ((0, 0), (1, 1), (2, 3), (3, 7)):
        found = recipe.sentence_losses(Blurred(grammar, level), grammar, tokens, shown)
        assert found["n_sat_estimate"] == expected
        assert (found["n_sat"], found["n_sat_status"]) == ((expected, "decided") if level < 3 else (None, "context"))
        law = 0.9 * next_token_probs(grammar, tokens, context_level=level)[:, -1] + 0.1 / 8
        exact = -law.gather(1, tokens[:, -1:]).log().mean()
        assert found["loss"][-1] == pytest.approx(float(exact), abs=1e-12)
        assert found["delta"][expected:] == [0.0] * (8 - expected)


def test_exponents_leave_bounds_out(recipe):
    rows = [
        {"data": "made", "num_train": size, **{f"{name}_is_bound": 0 for name in recipe.LENGTHS}}
        | dict.fromkeys(recipe.LENGTHS, size ** (1 / 3))
        for size in (8, 64, 512, 4096, 32768)
    ]
    rows[-1] |= {"n_sat": 3, "n_sat_is_bound": 1, "t_agree": None, "t_star": 0}
    found = {row["length"]: row for row in recipe.exponents(rows)}
    for name in recipe.LENGTHS:
        assert found[name]["z"] == pytest.approx(3)
        assert found[name]["points"] == (5 if name in ("t_star_prefix", "n_sat_relative") else 4)
    fewer = {row["length"]: row["z"] for row in recipe.exponents([row for row in rows if row["num_train"] != 64])}
    assert fewer["n_sat"] == ""  # three lengths tell no exponent
    assert fewer["t_star_prefix"] == pytest.approx(3)


@pytest.mark.parametrize("name", ["cpu", "paper"])
def test_configurations(name):
    values = parse_sweep(["--config", str(RECIPE / f"{name}.yaml")], extra=["num_workers", "variants"])
    values.pop("num_workers", None)
    runs = expand(values)
    assert {run.training.output_dir.split("/")[0] for run in runs} == {"runs"}  # git ignores it
    assert {run.data.text is None for run in runs} == {True, False}
    for run in runs:
        if run.data.text is None:
            wanted = run.data.num_train + run.data.num_validation + run.data.num_test
            assert wanted <= Grammar.from_name(run.data.grammar).num_sentences
