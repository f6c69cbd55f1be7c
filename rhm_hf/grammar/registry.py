"""The registry of families: which class a name, parameters, or what a file says belong to.

It imports no family. Each registers itself once, with its class of sources and the classes of its parameters:

    register(Palindromes, PalindromeParameters)

A class of parameters is a frozen dataclass of one named ensemble. It has

- `kind` (`str`): its name in files;
- `names` (`re.Pattern`): which short names are its own, and `form` (`str`): how they are written, for messages;
- `from_name(name, rules_seed)`, `name`, `rules_seed`, and `to_dict()`, which writes `kind` and is read by keywords;
- `keywords` (`dict`): the values that `load_dataset("rhm", ..)` takes by keyword;
- `wraps` (`bool`), True where it adds something to other parameters, its field `base`; then `of(base, **keywords)`.

A family whose rules people write as text registers the endings of such files too: `register_reader(PCFG, ".cfg")`.
"""

from pathlib import Path
from typing import Any


_FAMILIES: dict[str, type] = {}
_KINDS: dict[str, type] = {}
_SOURCES: dict[type, type] = {}  # of each class of parameters
_READERS: dict[str, type] = {}  # of each ending of files of rules; the first also of text without a file

DEFAULT_KIND = "rhm"  # of records without one


def register(source: type, *parameters: type) -> None:
    """Makes a family known: its sources can be saved and loaded, and drawn by name.

    Args:
        source (`type`): a subclass of [`~rhm_hf.grammar.Source`]; its `family` is its name in files.
        parameters (`type`): the classes of parameters that its sources are drawn from, if any.

    Raises:
        `ValueError`: if another class has the name already.
    """
    for table, name, value in ((_FAMILIES, source.family, source), *((_KINDS, p.kind, p) for p in parameters)):
        known = table.get(name, value)
        if (known.__module__, known.__qualname__) != (value.__module__, value.__qualname__):
            raise ValueError(f"{name!r} is registered already, by {known.__module__}.{known.__qualname__}")
    _FAMILIES[source.family] = source
    for kind in parameters:
        _KINDS[kind.kind], _SOURCES[kind] = kind, source


def register_reader(source: type, *endings: str) -> None:
    """Makes known which family reads rules that people write.

    Args:
        source (`type`): a subclass of [`~rhm_hf.grammar.Source`] with `from_text(text, start)` and `from_file(path,
            start)`.
        endings (`str`): of the names of such files, `".cfg"`. Files of other endings, and text without a file, go to
            the family that was registered first.
    """
    for ending in endings:
        _READERS.setdefault(ending, source)


def rule_endings() -> tuple[str, ...]:
    """The endings by which a name is known to be that of a file of rules, whether it is there or not."""
    return tuple(_READERS)


def read_rules(text: str, start: str | None = None) -> Any:
    """The source of rules written as text, see [`~rhm_hf.grammar.PCFG.from_text`]."""
    return next(iter(_READERS.values())).from_text(text, start)


def read_rules_file(path: str | Path, start: str | None = None) -> Any:
    """The source of a file of rules, see [`~rhm_hf.grammar.PCFG.from_file`].

    Raises:
        `ValueError`: naming the file, and what is wrong with it; also where it is not there.
    """
    path = Path(path)
    if not path.is_file():
        what = "a folder, and no file of rules" if path.is_dir() else "not there"
        raise ValueError(f"path={str(path)!r} is {what}: give a file such as rules.cfg; texts go to from_text")
    return _READERS.get(path.suffix, next(iter(_READERS.values()))).from_file(path, start)


def families() -> dict[str, type]:
    """The classes of sources by their names in files."""
    return dict(_FAMILIES)


def kinds() -> dict[str, type]:
    """The classes of parameters by their names in files."""
    return dict(_KINDS)


def parameters_from_name(name: str, rules_seed: int = 0) -> Any:
    """Parses the short name of any family.

    Raises:
        `ValueError`: where no family has such names; it says how names are written.
    """
    if isinstance(name, str):
        for kind in sorted(_KINDS.values(), key=lambda kind: not kind.wraps):
            if kind.names.fullmatch(name):
                return kind.from_name(name, rules_seed)
    forms = "; ".join(kind.form for kind in _KINDS.values())
    raise ValueError(f"name={name!r} is not a grammar's short name: write {forms}")


def is_name(name: Any) -> bool:
    """Whether some family has names of this form, whatever their numbers."""
    return isinstance(name, str) and any(kind.names.fullmatch(name) for kind in _KINDS.values())


def parameters_from_dict(values: dict[str, Any]) -> Any:
    """The parameters that `to_dict` wrote."""
    values = dict(values)
    kind = values.pop("kind", DEFAULT_KIND)
    if kind not in _KINDS:
        raise ValueError(f"parameters of kind {kind!r} are unknown to this version of rhm_hf: it knows {list(_KINDS)}")
    if _KINDS[kind].wraps:
        values["base"] = parameters_from_dict(values["base"])
    return _KINDS[kind](**values)


def parameters_from_keywords(values: dict[str, Any]) -> Any:
    """The parameters of keywords: those of the default kind, wrapped by every kind whose keywords are given."""
    wrapping = [kind for kind in _KINDS.values() if kind.wraps]
    taken = {keyword for kind in wrapping for keyword in kind.keyword_names}
    parameters = _KINDS[DEFAULT_KIND](**{key: value for key, value in values.items() if key not in taken})
    for kind in wrapping:
        own = {key: values[key] for key in kind.keyword_names if key in values}
        if own:
            parameters = kind.of(parameters, **own)
    return parameters


def from_parameters(parameters: Any) -> Any:
    """Draws the source that `parameters.rules_seed` picks from its ensemble."""
    if type(parameters) not in _SOURCES:
        known = ", ".join(kind.__name__ for kind in _SOURCES)
        raise ValueError(f"parameters={parameters!r} are of no registered kind: pass one of {known}")
    return _SOURCES[type(parameters)].drawn_from(parameters)


def rebuilt(description: dict[str, Any], arrays: dict[str, Any]) -> Any:
    """The source that a record describes.

    Args:
        description (`dict`): `family`, `settings` and `parameters`, as files hold them.
        arrays (`dict[str, np.ndarray]`): its numbers.

    Raises:
        `ValueError`: for a family that this version does not know, and numbers that are no such source.
    """
    family = description.get("family")
    if family not in _FAMILIES:
        raise ValueError(f"family={family!r} is unknown to this version of rhm_hf: it knows {', '.join(_FAMILIES)}")
    parameters = description.get("parameters")
    parameters = None if parameters is None else parameters_from_dict(parameters)
    try:
        return _FAMILIES[family].from_arrays(arrays, description["settings"], parameters)
    except KeyError as error:
        raise ValueError(f"{error} is missing: this does not describe a source of family={family!r}") from None
