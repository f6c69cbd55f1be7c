"""One way of checking: whatever an argument is given, it is right, or named with its value and what is allowed."""

import math
from dataclasses import fields

import pytest

from rhm_hf.checks import kinds_of
from rhm_hf.training import Arguments, parse_arguments
from rhm_hf.training.arguments import BLOCKS, UsageError, field_names, parse_sweep
from rhm_hf.training.arguments.values import hints_of


KINDS = {name: kinds_of(hint) for block in BLOCKS for name, hint in hints_of(block).items()}
WRONG = (True, "x\0y", "", [1], {"a": [1]}, math.nan, math.inf, -math.inf, 10**30, -1, 2.5, b"x", object())


@pytest.mark.parametrize("name", field_names())
@pytest.mark.parametrize("value", WRONG, ids=lambda value: "an object" if type(value) is object else repr(value))
def test_every_argument_takes_what_its_type_says_or_says_its_name(name, value):
    try:
        found = Arguments.from_dict({name: value}).to_dict()[name]
    except ValueError as error:
        assert name in str(error)  # noqa: PT017
        assert "\n" not in str(error)  # noqa: PT017
        assert "self." not in str(error)  # noqa: PT017
        return
    assert found is None or isinstance(found, KINDS[name])
    assert not isinstance(found, bool) or bool in KINDS[name]
    assert not isinstance(found, float) or math.isfinite(found)
    assert (
        found == value
        or found == pytest.approx(value)
        or (name in ("config_overrides", "optimizer_options") and not found)
    )


def test_numbers_in_quotes_are_numbers_and_flags_are_not():
    a = Arguments.from_dict({"learning_rate": "1e-3", "num_train": "64"})
    assert (a.training.learning_rate, a.data.num_train) == (0.001, 64)
    for name, value in (
        ("disjoint", "no"),
        ("disjoint", 1),
        ("num_train", "6.5"),
        ("num_train", "1_0"),
        ("max_steps", 1e4),
    ):
        with pytest.raises(ValueError, match=f"{name}={value!r} is (not an integer|no flag|out of range)"):
            Arguments.from_dict({name: value})
    with pytest.raises(ValueError, match=r"max_steps=10000\.0 is not an integer >= 1 .*: write 10000"):
        Arguments.from_dict({"max_steps": 1e4})


@pytest.mark.parametrize(
    ("argv", "message"),
    [
        (["--learning_rat", "1"], r"no argument --learning_rat: did you mean --learning_rate\?"),
        (["--modelseed=1"], r"did you mean --model_seed\?"),
        (["num_train=3"], r"'num_train=3' belongs to no argument: did you mean --num_train 3\?"),
        (["--num_train"], "--num_train: expected"),
        (["64"], "'64' belongs to no argument: write --NAME VALUE"),
    ],
)
def test_words_of_the_command_line_that_are_no_argument(argv, message, capsys):
    for parse in (parse_arguments, parse_sweep):
        with pytest.raises(UsageError, match=message):
            parse(argv)
    assert capsys.readouterr() == ("", "")


def test_a_dash_in_a_name_is_an_underscore():
    assert parse_arguments(["--num-train", "3", "--batch-size=4"]).data.num_train == 3
    assert parse_sweep(["--num-train", "3", "4"])["num_train"] == [3, 4]


def test_a_key_that_is_no_argument_is_met_with_the_one_that_was_meant(tmp_path):
    path = tmp_path / "run.yaml"
    path.write_text("num_trian: 3\n")
    with pytest.raises(ValueError, match=r"unknown argument num_trian: did you mean num_train\?"):
        parse_arguments(["--config", str(path)])
    path.write_text("optimiser: sgd\ncolour: red\n")
    both = r"unknown arguments colour, optimiser \(did you mean optimizer\?\): known are model_type"
    with pytest.raises(ValueError, match=both):
        parse_arguments(["--config", str(path)])


def test_the_command_line_wins_over_variants(tmp_path):
    path = tmp_path / "sweep.yaml"
    path.write_text("num_train: 1\nvariants:\n  a: {num_train: [1, 2], learning_rate: 1e-3}\n")
    values = parse_sweep(["--config", str(path), "--num_train", "64"], extra=["variants"])
    assert values == {"num_train": 64, "variants": {"a": {"learning_rate": 0.001}}}


def test_strings_of_the_command_line_stay_strings():
    a = parse_arguments(
        ["--output_dir", "010", "--text", "1e3", "--num_train", "010", "--config_overrides", "{n_embd: 8}"]
    )
    assert (a.training.output_dir, a.data.text, a.data.num_train) == ("010", "1e3", 10)
    assert a.model.config_overrides == {"n_embd": 8}


def test_every_argument_has_a_help_text_and_a_default_that_passes():
    for block in BLOCKS:
        assert all(f.metadata["help"] for f in fields(block))
        block()


def test_another_model_on_the_command_line_leaves_the_sizes_of_the_file_s(tmp_path, capsys):
    path = tmp_path / "run.yaml"
    path.write_text("config_overrides: {n_embd: 16}\n")
    a = parse_arguments(["--config", str(path), "--model_type", "llama"])
    assert (a.model.model_type, a.model.config_overrides) == ("llama", {})
    assert "config_overrides of the file are for gpt2, left out" in capsys.readouterr().err
    kept = (["--model_type", "gpt2"], [], ["--model_type", "llama", "--config_overrides", "{hidden_size: 16}"])
    assert [parse_arguments(["--config", str(path), *words]).model.config_overrides for words in kept] == [
        {"n_embd": 16},
        {"n_embd": 16},
        {"hidden_size": 16},
    ]
    assert capsys.readouterr().err == ""


def test_variants_that_another_model_makes_equal_are_one(tmp_path, capsys):
    path = tmp_path / "sweep.yaml"
    path.write_text(
        "grammar: v4-m2-s2-L3\nconfig_overrides: {n_embd: 16}\nvariants:\n"
        "  gpt2: {}\n"
        "  cnn: {model_type: hierarchical_cnn, config_overrides: {hidden_size: 8}}\n"
        "  deep: {grammar: v4-m2-s2-L4}\n"
        "  llama: {model_type: llama, config_overrides: {hidden_size: 32}}\n"
    )
    argv = ["--config", str(path)]
    assert list(parse_sweep(argv, extra=["variants"])["variants"]) == ["gpt2", "cnn", "deep", "llama"]
    values = parse_sweep([*argv, "--model_type", "llama"], extra=["variants"])
    assert values == {
        "grammar": "v4-m2-s2-L3",
        "model_type": "llama",
        "variants": {
            "gpt2": {},
            "deep": {"grammar": "v4-m2-s2-L4"},
            "llama": {"config_overrides": {"hidden_size": 32}},
        },
    }
    assert "the variant cnn is gpt2: left out" in capsys.readouterr().err
