"""Arguments and options that several commands share, each with one meaning."""

from pathlib import Path
from typing import Annotated, Any

import typer

from .group import suggestion


Json = Annotated[bool, typer.Option("--json", help="Print pure JSON, for programs.")]
Out = Annotated[Path | None, typer.Option(help="A folder for JSON, CSV and the picture.", metavar="FOLDER")]
RulesSeed = Annotated[int | None, typer.Option(help="Picks the grammar of a named ensemble; 0 by default.")]
Seed = Annotated[int, typer.Option(help="Of everything that is drawn here.")]
Set = Annotated[
    list[str] | None,
    typer.Option("--set", metavar="NAME=VALUE", help="Any other argument of the Python function; may be repeated."),
]
Config = Annotated[str | None, typer.Option(help="The configuration, with dataset:ID.")]
Split = Annotated[str | None, typer.Option(help="The split, with dataset:ID or a folder; `test` by default.")]
Column = Annotated[str | None, typer.Option(help="Of a data set or table; input_ids or text by default.")]
NumSentences = Annotated[int, typer.Option(help="Fresh sentences, where none are given.")]

GrammarName = Annotated[str, typer.Argument(metavar="GRAMMAR", help="A short name (v8-m2-s2-L3), or a path.")]
BesideGrammar = Annotated[
    str | None,
    typer.Argument(metavar="GRAMMAR", help="A short name or a path; by default the grammar that lies beside MODEL."),
]
ModelName = Annotated[str, typer.Argument(metavar="MODEL", help="A folder, a Hub id, or oracle:GRAMMAR.")]
TextName = Annotated[str, typer.Argument(metavar="TEXT", help="A path, -, text:WORDS, dataset:ID or grammar:NAME.")]

Tokenizer = Annotated[str | None, typer.Option(help="A folder or Hub id; by default the model's, or characters.")]


def settings(given: list[str] | None, function: Any, taken: tuple[str, ...] = ()) -> dict[str, Any]:
    """The arguments of `--set NAME=VALUE`, values as YAML reads them, names checked against the function's.

    Args:
        given (`list[str]`, *optional*): as they were typed.
        function (`Callable`): that will get them.
        taken (`tuple[str, ...]`): its arguments that the command has options for.
    """
    import inspect

    from ..training.strict_yaml import parse_yaml

    known = [
        name
        for name, parameter in inspect.signature(function).parameters.items()
        if parameter.kind is parameter.KEYWORD_ONLY and name not in (*taken, "accelerator")
    ]
    found: dict[str, Any] = {}
    for text in given or []:
        name, equals, value = text.partition("=")
        name = name.strip().replace("-", "_")
        if not equals:
            raise ValueError(f"--set {text!r} must be NAME=VALUE")
        if name not in known:
            allowed = ", ".join(known) or "nothing"
            raise ValueError(f"--set {name}: {function.__name__} takes {allowed} here.{suggestion(name, known)}")
        if name in found:
            raise ValueError(f"--set {name} is given twice: give one value")
        found[name] = parse_yaml(value, f"--set {text!r}")
    return found
