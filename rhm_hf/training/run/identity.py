"""What makes a run the run it is: its arguments, and the content of the files that they name."""

import json
from dataclasses import MISSING, fields
from pathlib import Path
from typing import Any

from ...files import content_of
from ...grammar.registry import parameters_from_name
from .. import plugins
from ..arguments import BLOCKS, Arguments


def described(arguments: Arguments) -> dict[str, Any]:
    """The arguments that make the result what it is, and the content of what they name, as JSON has them."""
    return json.loads(json.dumps({"arguments": arguments.identity(), "content": content(arguments)}))


def content(arguments: Arguments) -> dict[str, str]:
    """The SHA-256 of every file and folder that the arguments name: a text, a grammar, the sources of plug-ins."""
    data, training, model = arguments.data, arguments.training, arguments.model
    found = {}
    if data.text is not None and not _is_corpus(data.text) and Path(data.text).exists():
        found["text"] = content_of(Path(data.text))
    if data.text is None and not _is_name(data.grammar) and Path(data.grammar).exists():
        found["grammar"] = content_of(Path(data.grammar))
    given = [value for value in (model.model_type, training.task, training.optimizer) if ":" in value]
    for path in plugins.source_files(training.imports, *given):
        found[f"module {path.stem}"] = content_of(path)
    return found


def _is_corpus(text: str) -> bool:
    """Whether a text is one of the Hub that has a name here."""
    from ...data.text import SOURCES

    return text in SOURCES


def _is_name(grammar: str) -> bool:
    """Whether a family has a grammar of this name: a folder of the same name is none then."""
    try:
        parameters_from_name(grammar)
    except ValueError:
        return False
    return True


def check_same(known: dict[str, Any], arguments: Arguments) -> None:
    """Raises a `ValueError` that says how the run in a folder differs from the one that is asked for.

    Args:
        known (`dict`): what run.json holds. Arguments that it lacks are newer than it, and stand at their defaults.
    """
    wanted, folder = described(arguments), arguments.training.output_dir
    defaults = {f.name: f.default for block in BLOCKS for f in fields(block) if f.default is not MISSING}
    defaults["config_overrides"] = {}
    pairs = []
    for name in sorted(wanted["arguments"].keys() | known["arguments"].keys()):
        then = known["arguments"].get(name, defaults.get(name))
        now = wanted["arguments"].get(name)
        if then != now:
            pairs.append(f"{name}={then!r} (now {now!r})")
    if pairs:
        raise ValueError(
            f"output_dir={folder!r} holds a run with {', '.join(pairs)}: choose another output_dir or delete it"
        )
    before = known.get("content")
    changed = [] if before is None else [n for n, digest in wanted["content"].items() if before.get(n) != digest]
    if changed:
        raise ValueError(
            f"output_dir={folder!r} holds a run whose {', '.join(changed)} had another content than now: choose "
            "another output_dir or delete it"
        )
