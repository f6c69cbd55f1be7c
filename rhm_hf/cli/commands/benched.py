"""`rhm bench`: how many examples an architecture needs, on a fixed suite of questions."""

import os
import sys
from pathlib import Path
from typing import Annotated, Any

import typer

from ..group import Silent
from ..options import Json
from ..output import Findings, json_text, publish, screen, show_facts, show_table, write_text
from ..progress import duration, heavy


Architectures = Annotated[
    list[str] | None,
    typer.Argument(
        metavar="[ARCH]...",
        help="A model type (llama), a config.json, module:Class, or ngram, hierarchical_ngram, correlation_learner.",
    ),
]
SuiteName = Annotated[str, typer.Option(help="small, standard, paper, or a YAML file of one's own.")]
Out = Annotated[Path | None, typer.Option(help="Of runs and results; by default runs/bench/SUITE.", metavar="FOLDER")]
Compare = Annotated[
    list[Path] | None,
    typer.Option(help="A record, or a folder of them, to stand beside; may be repeated.", metavar="FILE"),
]
InContext = Annotated[
    str | None,
    typer.Option(
        "--in-context",
        help="A model that is there already, on grammars in its prompt: rhm in_context.",
        metavar="MODEL",
    ),
]
IN_CONTEXT_GRAMMAR = "v4-m2-s2-L2"  # of which a prompt of 512 ids holds 101 sentences
Page = Annotated[Path | None, typer.Option(help="Also write the records as a Markdown page.", metavar="FILE")]
Tasks = Annotated[str | None, typer.Option(help="Some of the suite's tasks alone: climb,price.")]
Tiny = Annotated[bool, typer.Option("--tiny", help="The whole way at toy size, in seconds; its numbers mean nothing.")]
DryRun = Annotated[bool, typer.Option("--dry-run", help="Try every task for a few steps, and say what a bench costs.")]
Workers = Annotated[int | None, typer.Option(help="Runs at a time; by default one a CPU core, at most 8.", min=1)]
Executor = Annotated[str, typer.Option(help="local, ray, or print: the commands of the runs, for Slurm.")]
RunsPerGpu = Annotated[int | None, typer.Option(help="Runs that share a GPU, in place of --num-workers.", min=1)]


def bench(
    architectures: Architectures = None,
    suite: SuiteName = "small",
    out: Out = None,
    compare: Compare = None,
    tasks: Tasks = None,
    dry_run: DryRun = False,
    tiny: Tiny = False,
    num_workers: Workers = None,
    executor: Executor = "local",
    runs_per_gpu: RunsPerGpu = None,
    page: Page = None,
    in_context: InContext = None,
    json: Json = False,
) -> None:
    """Say how many examples an architecture needs to learn each level; interrupted, the same command goes on."""
    if in_context is not None:
        from .in_context import found_in_context

        if architectures:
            raise ValueError(f"--in-context judges {in_context} and trains nothing: drop {' '.join(architectures)}")
        publish(found_in_context(in_context, IN_CONTEXT_GRAMMAR), json, out)
        return
    given, others = _sorted_out(architectures or [], compare or [])
    options = _sweep_options(num_workers, executor, runs_per_gpu)
    if given and not dry_run and options.get("num_workers", 1) > 1:
        from ...training.sweep import workers

        workers.start_early()  # they import while this process does
    with heavy():
        from ...bench import load_suite
    chosen = load_suite(suite)
    chosen = chosen.only(tasks.split(",")) if tasks else chosen
    chosen = chosen.tiny() if tiny else chosen
    folder = out or Path("runs/bench") / chosen.name
    if dry_run:
        _show_plans(given, chosen, folder, json, options)
        return
    words = _words(suite, tasks, tiny)
    records = [*_benched(given, chosen, folder, words, options), *others]
    if page is not None:
        from ...bench.results_page import write_page

        write_page(records, page)
    publish(_findings(records, {"architectures": given, "suite": chosen.name}), json, folder if given or out else None)


def _sorted_out(words: list[str], compared: list[Path]) -> tuple[list[str], list[dict[str, Any]]]:
    """Architectures, and records: those of `--compare`, of folders, and words that are files of records."""
    from ...bench.records import is_record, read_record

    paths, given = [], []
    for path in compared:
        paths += sorted(p for p in path.glob("*.json") if is_record(p)) if path.is_dir() else [path]
    for word in words:
        (paths if word.endswith(".json") and is_record(word) else given).append(word)
    records = [read_record(path) for path in paths]
    if not given and not records:
        raise ValueError("nothing to bench: name an architecture such as gpt2, or records with --compare")
    return given, records


def _sweep_options(num_workers: int | None, executor: str, runs_per_gpu: int | None) -> dict[str, Any]:
    if num_workers is None and runs_per_gpu is None and executor == "local":
        num_workers = min(8, os.cpu_count() or 1)
    found = {"num_workers": num_workers, "executor": executor, "runs_per_gpu": runs_per_gpu}
    return {name: value for name, value in found.items() if value is not None}


def _words(suite: str, tasks: str | None, tiny: bool) -> str:
    """The options of the command that a record names; where and on how many cores it ran is not among them."""
    return f"--suite {suite}" + (f" --tasks {tasks}" if tasks else "") + (" --tiny" if tiny else "")


def _benched(given: list[str], suite: Any, folder: Path, words: str, options: dict[str, Any]) -> list[dict[str, Any]]:
    """The records of all architectures, each written when it is done."""
    from ...bench import Plan, Waiting, conduct, read_architecture
    from ...bench.results_page import card_snippet
    from ...training.commands import INTERRUPTED
    from ...training.sweep import workers

    plans = [Plan(read_architecture(word), suite, folder / read_architecture(word).name) for word in given]
    records, waiting = [], []
    try:
        for plan in plans:
            command = f"rhm bench {plan.architecture.given} {words}"
            try:
                records.append(conduct(plan, options, command, lambda text: print(text, file=sys.stderr, flush=True)))
            except Waiting as error:
                waiting.append(f"{plan.architecture.name}: {error}")
                continue
            write_text(folder / f"{plan.architecture.name}.json", json_text(records[-1]) + "\n")
            write_text(folder / f"{plan.architecture.name}-card.md", card_snippet(records[-1]))
    except KeyboardInterrupt as error:
        print(f"\nrhm bench: interrupted; the same command goes on where this one stopped. {error}", file=sys.stderr)
        raise Silent(INTERRUPTED) from None
    finally:
        workers.close_early()
    if waiting:
        raise RuntimeError("; ".join(waiting))
    return records


def _findings(records: list[dict[str, Any]], parameters: dict[str, Any]) -> Findings:
    from ...bench.pictures import draw_records
    from ...bench.ranking import differences, halves
    from ...bench.tables import level_rows, task_rows

    levels, tasks, pairs, ranks = level_rows(records), task_rows(records), differences(records), halves(records)
    tables = {"At which P a level is learnt": levels, "What is left, and what it costs": tasks}
    if pairs:
        tables |= {"Pairs, paired over members": pairs, "Two halves of the members": ranks}
    for record in records:
        if record["left_out"]:
            name = record["architecture"]["name"]
            tables[f"Not for {name}"] = [{"task": k, "reason": v} for k, v in record["left_out"].items()]
    result = {"records": records, "levels": levels, "tasks": tasks, "differences": pairs, "halves": ranks}
    return Findings(
        "bench", records[0]["suite"], parameters, result, {}, tables, lambda path: draw_records(records, path)
    )


def _show_plans(given: list[str], suite: Any, folder: Path, json: bool, options: dict[str, Any]) -> None:
    """What a bench would run and what it costs at most, from a few steps of every task on this machine as it is."""
    from ...bench import Plan, cost_rows, read_architecture

    found = {}
    for word in given:
        architecture = read_architecture(word)
        found[architecture.name] = cost_rows(Plan(architecture, suite, folder / architecture.name))
    if json:
        print(json_text(found))
        return
    console = screen()
    for name, rows in found.items():
        seconds = sum(row["seconds at most"] or 0 for row in rows)
        facts = {"runs": sum(row["runs"] or 0 for row in rows), "at most, on one core": duration(seconds)}
        facts["with all workers"] = duration(seconds / options.get("num_workers", 1))
        show_facts(facts, f"{name} on {suite.name}", console)
        show_table(rows, "", console)
