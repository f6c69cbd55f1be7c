"""`rhm push`: data sets, grammars, exact laws, metric Spaces and the page to play with, to the Hugging Face Hub."""

import tempfile
from collections.abc import Callable
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from ..operands import is_path
from ..options import Json, RulesSeed
from ..output import json_text, screen, show_facts, show_table
from ..progress import heavy, progress


if TYPE_CHECKING:
    from ...hub import Upload


class Kind(StrEnum):
    """What can be pushed."""

    dataset = "dataset"
    grammar = "grammar"
    oracle = "oracle"
    metric = "metric"
    page = "page"


Sizes = Annotated[int, typer.Option(help="Of a data set: sentences of the split; 0: no such split.")]


def push(
    kind: Annotated[Kind, typer.Argument(metavar="dataset|grammar|oracle|metric|page", help="What to push.")],
    what: Annotated[
        str,
        typer.Argument(
            metavar="WHAT",
            help="A GRAMMAR (also of a page); of a data set also a folder of rhm export; of a metric its name.",
        ),
    ],
    repo: Annotated[str, typer.Argument(metavar="USER/NAME", help="The repository; made where there is none.")],
    dry_run: Annotated[
        bool, typer.Option("--dry_run", "--dry-run", help="List what would be uploaded; nothing leaves this machine.")
    ] = False,
    rules_seed: RulesSeed = None,
    sample_seed: Annotated[int, typer.Option(help="Of a data set: picks the sentences.")] = 0,
    train_size: Sizes = 8192,
    validation_size: Sizes = 1024,
    test_size: Sizes = 1024,
    levels: Annotated[bool, typer.Option("--levels", help="Of a data set: also the hidden symbols.")] = False,
    masked: Annotated[bool, typer.Option("--masked", help="Of an oracle: the one that fills masks.")] = False,
    private: Annotated[bool | None, typer.Option("--private/--public", help="Of a new repository.")] = None,
    create_pr: Annotated[bool, typer.Option("--create_pr", help="Open a pull request instead of a commit.")] = False,
    json: Json = False,
) -> None:
    """Upload a data set, a grammar, its exact law, a metric's Space or the page to play with to the Hub."""
    from ...hub import Upload

    sizes = {"train_size": train_size, "validation_size": validation_size, "test_size": test_size}
    makers: dict[Kind, Callable[[Path], Path]] = {
        Kind.dataset: lambda folder: _dataset(
            what, rules_seed, folder, sample_seed=sample_seed, levels=levels, **sizes
        ),
        Kind.grammar: lambda folder: _grammar(what, rules_seed, folder),
        Kind.oracle: lambda folder: _oracle(what, rules_seed, folder, masked),
        Kind.metric: lambda folder: _metric(what, folder),
        Kind.page: lambda folder: _page(what, rules_seed, folder),
    }
    types = {Kind.dataset: ("dataset", None), Kind.metric: ("space", "gradio"), Kind.page: ("space", "static")}
    with tempfile.TemporaryDirectory() as place:
        with progress(f"making what is pushed to {repo}"):
            upload = Upload(makers[kind](Path(place) / "folder"), repo, *types.get(kind, ("model", None)))
        url = None
        if not dry_run:
            with progress(f"uploading to {repo}"):
                url = upload.send(private=private, create_pr=create_pr)
        _say(upload, url, json)


def _say(upload: "Upload", url: str | None, json: bool) -> None:
    """What was uploaded, or would be where there is no address."""
    found = [{"file": name, "bytes": size} for name, size in upload.files()]
    total = sum(row["bytes"] for row in found)
    result = {"repo_id": upload.repo_id, "repo_type": upload.repo_type, "url": url, "bytes": total, "files": found}
    if json:
        print(json_text(result))
        return
    console = screen()
    said = "uploaded" if url else "a dry run: nothing was uploaded"
    facts = {"repository": f"{upload.repo_id} ({upload.repo_type})", "files": f"{len(found)}, {total:,} bytes"}
    show_facts(facts | ({"address": url} if url else {}), said, console)
    show_table(found, "", console)


def _dataset(text: str, rules_seed: int | None, folder: Path, **keywords: int | bool) -> Path:
    from ..operands import read_grammar

    made = Path(text)
    if is_path(text) and (made / "data").is_dir() and (made / "grammar").is_dir():
        return made  # of `rhm export`, as it is
    with heavy("Datasets"):
        from datasets import load_dataset

        from ... import register  # noqa: F401
        from ...data import export_parquet
    source = read_grammar(text, rules_seed)
    with tempfile.TemporaryDirectory() as cache:
        return export_parquet(load_dataset("rhm", grammar=source, cache_dir=cache, **keywords), folder)


def _grammar(text: str, rules_seed: int | None, folder: Path) -> Path:
    from ...grammar.storage import write_with_card
    from ..operands import read_grammar

    write_with_card(read_grammar(text, rules_seed), folder)
    return folder


def _oracle(text: str, rules_seed: int | None, folder: Path, masked: bool) -> Path:
    from ..operands import read_grammar

    source = read_grammar(text, rules_seed)
    with heavy():
        from ...cards import grammar_card
        from ...data import rhm_tokenizer
        from ...files import make_readable, write_atomically
        from ...models.rhm.modeling_rhm import RHMForCausalLM, RHMForMaskedLM
    model = (RHMForMaskedLM if masked else RHMForCausalLM).from_grammar(source)
    model.save_pretrained(folder)
    rhm_tokenizer(source.vocab_size).save_pretrained(folder)
    write_atomically(folder / "README.md", grammar_card(source, "RHMForMaskedLM" if masked else "RHMForCausalLM"))
    make_readable(folder)
    return folder


def _metric(name: str, folder: Path) -> Path:
    from ...metrics.space import write_space

    return write_space(name, folder)


def _page(text: str, rules_seed: int | None, folder: Path) -> Path:
    from ...drawing.play import write_space
    from ..operands import read_grammar

    return write_space(read_grammar(text, rules_seed), folder)


def play(
    grammar: Annotated[str, typer.Argument(metavar="GRAMMAR", help="What it opens with.")] = "v8-m2-s2-L3",
    rules_seed: RulesSeed = None,
    out: Annotated[Path, typer.Option(help="The file.", metavar="FILE")] = Path("play.html"),
) -> None:
    """Write a page to play with: trees, hidden tokens, exact laws; one file that any browser opens."""
    from ...drawing.play import write_page
    from ..operands import read_grammar

    if out.suffix not in (".html", ".htm"):
        raise ValueError(f"--out {str(out)!r} must end with .html")
    print(write_page(out, read_grammar(grammar, rules_seed)))
