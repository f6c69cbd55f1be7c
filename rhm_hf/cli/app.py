"""The commands and their order; none of their modules imports a heavy library before it runs."""

from collections.abc import Callable
from typing import Annotated, Any

import typer

from .commands import (
    benched,
    catalogue,
    generated,
    grammars,
    in_context,
    judged,
    probes,
    pushed,
    runs,
    shown,
    texts,
    verified,
    written,
)
from .group import Rhm


app: typer.Typer = typer.Typer(
    cls=Rhm,
    name="rhm",
    add_completion=True,
    rich_markup_mode="rich",
    pretty_exceptions_enable=False,
    context_settings={
        "help_option_names": ["-h", "--help"],
        "token_normalize_func": lambda name: name.replace("-", "_"),  # --rules-seed is --rules_seed
    },
)


@app.callback(invoke_without_command=True)
def rhm(
    context: typer.Context,
    version: Annotated[bool, typer.Option("--version", help="Print the version.", is_eager=True)] = False,
    debug: Annotated[
        bool, typer.Option("--debug", help="Show the traceback of an error; may stand anywhere.")
    ] = False,
) -> None:
    """The Random Hierarchy Model and other grammars with exactly known laws, for Hugging Face.

    GRAMMAR is a short name (v8-m2-s2-L3) or a path (./folder, rules.cfg). MODEL is a folder, a Hub id, or
    oracle:GRAMMAR. TEXT is a path, - (standard input), text:WORDS, dataset:ID or grammar:NAME.
    """
    if version:
        from .._version import __version__

        print(f"rhm_hf {__version__}")
        raise typer.Exit
    if context.invoked_subcommand is None:
        print(context.get_help())


PANELS: dict[str, tuple[Callable[..., None], ...]] = {
    "Grammars": (shown.show, pushed.play, grammars.info, grammars.theory, verified.verify),
    "Models and texts": (
        judged.kl,
        in_context.in_context,
        texts.context,
        texts.correlations,
        texts.effective_context,
        generated.generate,
        judged.grammaticality,
        judged.memorisation,
        probes.synonym_sensitivity,
        probes.latent_probe,
        probes.belief_probe,
        probes.representation_probe,
    ),
    "Training and data": (runs.train, runs.sweep, benched.bench, runs.export, pushed.push),
    "Results": (written.status, written.plot, written.report),
    "What there is": (catalogue.families, catalogue.metrics, catalogue.tasks),
}
RAW: dict[str, Any] = {
    "allow_extra_args": True,
    "ignore_unknown_options": True,
    "help_option_names": [],
}  # read by the library itself

RAW_COMMANDS = (runs.train, runs.sweep)

for panel, commands in PANELS.items():
    for command in commands:
        app.command(
            command.__name__,
            rich_help_panel=panel,
            context_settings=RAW if command in RAW_COMMANDS else None,
            add_help_option=command not in RAW_COMMANDS,
        )(command)
