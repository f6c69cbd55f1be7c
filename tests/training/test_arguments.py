"""Arguments: YAML, then the command line; mistakes in either are named."""

import pytest
import yaml

from rhm_hf.training import Arguments, parse_arguments
from rhm_hf.training.arguments import FREE, UsageError, field_names, parse_sweep, read_yaml


def write(tmp_path, **values):
    path = tmp_path / "run.yaml"
    path.write_text(yaml.safe_dump(values))
    return str(path)


def test_command_line_overrides_yaml_and_yaml_overrides_defaults(tmp_path):
    path = write(tmp_path, num_train=64, learning_rate=0.5, config_overrides={"n_embd": 8}, sampling="iid")
    a = parse_arguments(["--config", path, "--num_train", "128", "--max_steps=7"])
    assert (a.data.num_train, a.training.max_steps, a.training.learning_rate) == (128, 7, 0.5)
    assert a.model.config_overrides == {"n_embd": 8}
    assert a.data.sampling == "iid"
    assert a.training.batch_size == 128  # the default
    b = parse_arguments(["--config", path, "--config_overrides", '{"n_layer": 2}'])
    assert b.model.config_overrides == {"n_layer": 2}


def test_scientific_notation_of_yaml_is_a_number(tmp_path):
    path = tmp_path / "run.yaml"
    path.write_text("learning_rate: 3e-3\n")  # YAML 1.1 reads this as a string
    assert yaml.safe_load(path.read_text())["learning_rate"] == "3e-3"
    assert parse_arguments(["--config", str(path)]).training.learning_rate == 0.003


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"num_trian": 3}, "unknown argument num_trian.*num_train"),
        ({"num_train": "many"}, "num_train='many' is not an integer >= 1"),
        ({"num_train": 3.5}, "num_train=3.5 is not an integer"),
        ({"num_train": True}, "num_train=True is out of range: it must be an integer"),
        ({"num_train": [1, 2]}, "num_train=.1, 2. is not an integer"),
        ({"num_train": 0}, "num_train=0 is out of range: it must be an integer >= 1"),
        ({"learning_rate": "fast"}, "learning_rate='fast' is not a number > 0"),
        ({"learning_rate": 0}, "learning_rate=0 is out of range"),
        ({"config_overrides": "{"}, "config_overrides='{' is not JSON"),
        ({"config_overrides": "[1]"}, "config_overrides=.1. has the wrong type: it must be a mapping"),
        ({"sampling": "all"}, "sampling='all' is out of range: it must be one of unique, iid"),
        ({"mixed_precision": "fp8"}, "mixed_precision='fp8'"),
        ({"task": "chess"}, "task='chess' is out of range: it must be one of next_token"),
        ({"rules_seed": -1}, "rules_seed=-1"),
        ({"model_seed": -1}, "model_seed=-1"),
        ({"patience": -1}, "patience=-1"),
        ({"batch_size": 0}, "batch_size=0"),
        ({"save_steps": 0}, "save_steps=0"),
    ],
)
def test_bad_values_are_named(tmp_path, values, message):
    with pytest.raises(ValueError, match=message):
        parse_arguments(["--config", write(tmp_path, **values)])


def test_a_file_without_a_mapping_and_unknown_flags_are_refused(tmp_path, capsys):
    path = tmp_path / "list.yaml"
    path.write_text("- 1\n")
    with pytest.raises(ValueError, match=r"list\.yaml must hold a mapping"):
        read_yaml(path)
    with pytest.raises(UsageError, match=r"there is no argument --num_trian: did you mean --num_train\?"):
        parse_arguments(["--num_trian", "3"])
    with pytest.raises(UsageError, match="there is no argument --num_t"):  # no abbreviations: num_train or num_test?
        parse_arguments(["--num_t", "3"])
    assert capsys.readouterr() == ("", "")


def test_arguments_round_trip_and_identity_leaves_out_what_changes_no_result(tmp_path):
    a = parse_arguments(["--num_train", "64"])
    assert Arguments.from_dict(a.to_dict()) == a
    assert set(a.to_dict()) == set(field_names())
    assert set(a.identity()) == set(field_names()) - set(FREE)
    b = parse_arguments(["--num_train", "64", "--output_dir", "elsewhere", "--save_steps", "7", "--report_to", "x"])
    assert a.identity() == b.identity()


def test_sweep_arguments_may_be_lists_on_the_command_line_too(tmp_path):
    path = write(tmp_path, num_train=[1, 2], learning_rate=0.1, num_workers=2)
    values = parse_sweep(["--config", path, "--num_train", "16", "32", "--max_steps", "5"], extra=["num_workers"])
    assert values == {"num_train": [16, 32], "learning_rate": 0.1, "num_workers": 2, "max_steps": 5}
    with pytest.raises(ValueError, match="unknown argument num_workers"):
        parse_sweep(["--config", path])
