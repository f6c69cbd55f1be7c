"""Which grammar made a dataset: one JSON line in `info.description`, which `map`, `select` and `save_to_disk` keep.

The line holds the parameters, or the numbers themselves where they were given by hand (JSON keeps float64 exactly),
and the fingerprint of the grammar, which is checked when the line is read.
"""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from huggingface_hub.errors import HfHubHTTPError, HFValidationError, LocalEntryNotFoundError

from ..checks import checked
from ..grammar import Grammar, Source
from ..grammar.registry import (
    from_parameters,
    is_name,
    parameters_from_dict,
    parameters_from_name,
    read_rules_file,
    rebuilt,
    rule_endings,
)


def describe(grammar: Source, **settings: Any) -> str:
    """One JSON line: the grammar, and how it was sampled.

    Args:
        grammar ([`~rhm_hf.grammar.Source`]): the grammar, of any family.
        settings: other values to record (`sample_seed=`, `sampling=`, ..).
    """
    line = {"name": grammar.name, "fingerprint": grammar.fingerprint}
    if grammar.parameters is not None:
        line["parameters"] = grammar.parameters.to_dict()
    else:
        line["family"], line["settings"] = grammar.family, grammar.settings()
        line["arrays"] = {name: [array.dtype.name, array.tolist()] for name, array in grammar.arrays().items()}
    return json.dumps({"grammar": line, **settings})


@checked
def grammar_of(dataset: Any) -> Source:
    """The grammar that made a dataset.

    Args:
        dataset (`Dataset`, `DatasetDict`, their iterable kinds, or `DatasetBuilder`): made by `load_dataset("rhm")`,
            also after `map`, `select`, `train_test_split`, `save_to_disk`, ..

    Raises:
        `ValueError`: if the dataset does not say which grammar made it, or names several.
    """
    lines = {line for part in _parts(dataset) for line in (part.info.description or "").splitlines()}
    records = [record for record in map(parsed, lines) if record is not None]
    fingerprints = {record["fingerprint"] for record in records}
    if not fingerprints:
        raise ValueError(
            "the dataset does not say which grammar made it (info.description holds no such line): pass grammar=, a "
            "Grammar or a directory; an export_parquet folder has it in its folder grammar/, and so has what a plain "
            "load_dataset of that folder gives (single Parquet files have none)"
        )
    if len(fingerprints) > 1:
        names = ", ".join(sorted(f"{record['name']} ({record['fingerprint'][:12]})" for record in records))
        raise ValueError(f"the dataset mixes sentences of several grammars: {names}; pass grammar= or split it")
    return _rebuilt(records[0])


def population_of(dataset: Any) -> int | None:
    """How many equiprobable sentences a dataset's were drawn from without replacement, as its description says.

    None where it does not say so, and for anything but one dataset of this package.
    """
    for line in (getattr(getattr(dataset, "info", None), "description", None) or "").splitlines():
        if parsed(line) is not None and json.loads(line).get("sampling") == "unique":
            return int(grammar_of(dataset).num_sentences)
    return None


@checked
def resolve_grammar(grammar: Any) -> Source:
    """The grammar that an argument `grammar=` stands for.

    Args:
        grammar: a [`~rhm_hf.Grammar`] or a source of another family, a dataset (see [`grammar_of`]), or the directory
            or Hub id (of a model or a dataset) of a saved grammar, a saved model or a Parquet export; or a file of
            rules, see [`~rhm_hf.Grammar.from_file`].

    Raises:
        `ValueError`: if it is none of these.
        `FileNotFoundError`: if the directory or repository holds no grammar.
    """
    if isinstance(grammar, Source):
        return grammar
    if isinstance(grammar, str | Path):
        if not str(grammar).strip():
            raise ValueError(f"grammar={grammar!r} is empty: give a directory or Hub id, or leave grammar out")
        return _loaded(grammar)
    if (parts := _parts(grammar)) and all(hasattr(part, "info") for part in parts):
        return grammar_of(grammar)
    raise ValueError(
        f"grammar is a {type(grammar).__name__}: pass a Grammar, the directory or Hub id of a saved one, or a dataset "
        "made by load_dataset('rhm', ..)"
    )


def named_grammar(name: str, rules_seed: int | None = None) -> Source:
    """The grammar of what stands where a short name does: in `load_dataset("rhm", name)`, `--grammar name`, a recipe.

    Args:
        name (`str`): a short name, which no file or folder of the same name overrides; or a file of rules, a
            directory or a Hub id, see [`resolve_grammar`].
        rules_seed (`int`, *optional*, defaults to 0): picks the grammar of a short name. What is read has its own
            rules: 0, which a run passes whatever its grammar is, says nothing then.

    Raises:
        `ValueError`: if it is none of these, or a seed is given for rules that were read.
    """
    if not is_place(name):
        return from_parameters(parameters_from_name(name, rules_seed or 0))
    if rules_seed:
        raise ValueError(f"rules_seed={rules_seed} has no meaning for {name!r}, whose rules were given: drop it")
    return resolve_grammar(name)


def is_place(name: str) -> bool:
    """Whether a text is a file of rules, a directory or a Hub id, and not a short name, whatever lies about."""
    if is_rules_file(name):
        return True
    return not is_name(name) and ("/" in name or Path(name).exists())


def is_rules_file(name: str) -> bool:
    """Whether a text is written as a file of rules, by its ending."""
    return name.endswith(rule_endings())


def _parts(dataset: Any) -> list:
    """The splits of a dict of them, or the dataset itself."""
    return list(dataset.values()) if isinstance(dataset, Mapping) else [dataset]


def parsed(line: str) -> dict[str, Any] | None:
    """The record of a line written by [`describe`], None for any other line."""
    try:
        record = json.loads(line)["grammar"]
        return record if isinstance(record["fingerprint"], str) else None
    except (ValueError, TypeError, KeyError):
        return None


def _rebuilt(record: dict) -> Source:
    if "parameters" in record:
        grammar = from_parameters(parameters_from_dict(record["parameters"]))
    else:
        grammar = rebuilt(
            record, {name: np.array(values, dtype) for name, (dtype, values) in record["arrays"].items()}
        )
    if grammar.fingerprint != record["fingerprint"]:
        raise ValueError(
            f"the dataset was made by another grammar of the name {record['name']} than this version of rhm_hf draws "
            f"(fingerprint {record['fingerprint'][:12]} there, {grammar.fingerprint[:12]} here): pass grammar="
        )
    return grammar


def _loaded(place: str | Path) -> Source:
    if Path(place).is_dir():
        return Grammar.from_pretrained(place)
    if Path(place).is_file():
        return read_rules_file(place)
    if is_rules_file(str(place)):
        raise ValueError(f"grammar={str(place)!r} ends as a file of rules, and is not there: check the path")
    try:
        try:
            return Grammar.from_pretrained(place)
        except (HfHubHTTPError, LocalEntryNotFoundError, FileNotFoundError):  # no such model: perhaps a dataset
            return Grammar.from_pretrained(place, repo_type="dataset")
    except (HFValidationError, HfHubHTTPError, LocalEntryNotFoundError) as error:
        raise ValueError(
            f"grammar={str(place)!r} is no directory, and no grammar of that id could be read from the Hub "
            f"({type(error).__name__}); a short name is Grammar.from_name({str(place)!r})"
        ) from error
