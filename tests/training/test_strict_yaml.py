"""YAML 1.2 and nothing else: what is read in two ways, or stands for more than it says, is refused in a line."""

import math

import pytest

from rhm_hf.training.strict_yaml import dump_yaml, parse_yaml, read_yaml


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("010", 10),
        ("1:30", "1:30"),
        ("1e-3", 0.001),
        ("{b: {c: [1e-3, 1E5]}}", {"b": {"c": [0.001, 1e5]}}),
        ("no", "no"),
        ("on", "on"),
        ("true", True),
        ("~", None),
        (".inf", math.inf),
        ("'1e-3'", "1e-3"),
        ("{a: &x [1, 2], b: *x}", {"a": [1, 2], "b": [1, 2]}),
    ],
)
def test_values_are_those_of_version_1_2(text, value):
    assert parse_yaml(text, "f.yaml") == value
    assert type(parse_yaml(text, "f.yaml")) is type(value)


BOMB = "a: &a [1, 1, 1, 1, 1, 1, 1, 1, 1, 1]\n" + "".join(
    f"{new}: &{new} [{', '.join([f'*{old}'] * 10)}]\n" for old, new in zip("abcdefgh", "bcdefghi", strict=True)
)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("a: 1\na: 2", r"line 2, column 1: found duplicate key \"a\""),
        ("a: {b: 1, b: 1}", "duplicate key"),
        (BOMB, "stands for more than 100000 values: its aliases"),
        ("a: &x [*x]", "an alias contains itself"),
        ("[" * 3000, "nested more deeply"),
        ("%YAML 1.1\n---\na: 010", "directives"),
        ("a: 2020-01-01", "read as a date: quote it"),
        ("a: !!binary aGk=", "read as a bytes"),
        ("a: !!python/object/apply:os.system [x]", "could not determine a constructor"),
        ("1: 2", "the key 1, which is no string"),
        ("a: [1", "is not YAML in line 1"),
        ("a: !!int x", "is not YAML"),
        ("a: " + "9" * 5000, "is not YAML"),
        ("a: *nowhere", "undefined alias"),
        ("a: 1\n---\nb: 2", "found another document"),
    ],
)
def test_what_is_refused_is_said_in_a_line(text, message):
    with pytest.raises(ValueError, match=message) as found:
        parse_yaml(text, "f.yaml")
    assert "\n" not in str(found.value)
    assert str(found.value).startswith("f.yaml ")


def test_what_is_written_is_read_back():
    strings = ["1e-3", "010", "1:30", "yes", "null", "~", "", "a: b", "é\n", "2020-01-01", "- x", "0o7", "%x", "1_0"]
    values = {f"s{i}": text for i, text in enumerate(strings)}
    values |= {"float": 1e-5, "int": 10, "none": None, "list": [1, [2.5]], "map": {"z": True, "a": {}}}
    assert parse_yaml(dump_yaml(values), "f.yaml") == values
    assert list(parse_yaml(dump_yaml(values), "f.yaml")) == list(values)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (None, r"missing\.yaml cannot be read: No such file"),
        (b"\xff\xfe", "is not UTF-8 text"),
        (b"- 1\n", "must hold a mapping of argument names to values, not list"),
        (b"", "must hold a mapping of argument names to values, not NoneType"),
        (b"a: " + b"x" * 2**20, "characters: at most"),
    ],
)
def test_files_that_hold_no_arguments(tmp_path, content, message):
    path = tmp_path / ("missing.yaml" if content is None else "file.yaml")
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(ValueError, match=message):
        read_yaml(path)
    with pytest.raises(ValueError, match="cannot be read: Is a directory"):
        read_yaml(tmp_path)
