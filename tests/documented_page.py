"""Runs a page of the documentation: `python tests/documented_page.py PAGE`, in an empty directory, or [`run_apart`].

First the files that the page shows (blocks with `title="name"`), then its Python blocks as one script, then its
commands, in order. All in one process, as imports take longer than the rest. Commands keep their arguments; those
of `SMALL` stand behind them and make runs short. What needs a GPU, the Hub, a cluster or a new environment is in
`LISTED` with its reason, and is not run; a command of `rhm` that is listed is still parsed.
"""

import contextlib
import os
import re
import shlex
import sys
import warnings
from dataclasses import dataclass
from pathlib import Path

from forked import write_to


ROOT = Path(__file__).resolve().parents[1]
PAGES = sorted(
    path.relative_to(ROOT).as_posix()
    for path in [ROOT / "README.md", ROOT / "CONTRIBUTING.md", *ROOT.glob("docs/*.md"), *ROOT.glob("docs/how-to/*.md")]
)
ELSEWHERE = {  # pages whose Python blocks another test runs, with more to say about them
    "docs/families.md": "test_families_doc.py",
    "CONTRIBUTING.md": "recipes/test_recipe_helpers.py",
}
BLOCK = re.compile(r"^```(\w+)(?: title=\"([^\"]*)\")?\n(.*?)^```$", re.DOTALL | re.MULTILINE)
TINY = '{"n_embd": 16, "n_layer": 1, "n_head": 2}'
RUN = (
    "--max_steps 2 --num_evaluations 1 --num_validation 16 --num_test 16 --kl_sentences 64 --num_threads 1 "
    f"--config_overrides {shlex.quote(TINY)}"
)
SMALL = {  # command -> what is added to it
    "rhm train": RUN,
    "rhm sweep": RUN,
    "rhm bench": "--tiny --tasks climb --num-workers 1",
    "rhm kl": "--num_sentences 64",
    "rhm in_context": "--num_grammars 2 --set num_mappings=1 --set learners=[]",
    "rhm context": "--num_windows 8",
    "rhm correlations": "--num_sentences 64 --max_distance 4",
    "rhm effective_context": '--num_tokens 256 --set "distances=[1, 2, 3]"',
    "rhm generate": "--num 16",
    "rhm synonym_sensitivity": "--num_sentences 16",
    "rhm latent_probe": "--num_sentences 64",
    "rhm representation_probe": "--num_sentences 16",
}
LISTED = {  # the beginning of a command -> why it is not run
    "rhm bench --compare docs/bench": "records of the repository: tests/bench reads them",
    "pip install": "changes the environment",
    "hf upload": "the Hub",
    "sbatch": "a Slurm cluster",
    "rhm sweep --config sweep.yaml --executor ray": "Ray: tests/training runs one",
    "rhm sweep --config sweep.yaml --num_workers": "several processes: tests/training runs them",
    "rhm sweep --config sweep.yaml --runs_per_gpu": "a GPU",
    "rhm correlations dataset:": "the Hub",
    "rhm train --config run.yaml --report_to": "trackers that may not be installed; tests/training tries some",
    "WANDB_MODE": "a tracker that may not be installed",
    "rhm kl user/": "the Hub",
    "rhm in_context gpt2": "words of a real tokenizer: tests/metrics makes one",
}


LISTED_PAGES = {  # pages whose commands are not run, but parsed
    "CONTRIBUTING.md": "make, and a recipe that tests/recipes/test_recipe_helpers.py runs",
    "docs/scaling.md": "processes, clusters and GPUs: tests/training runs what it says on small sizes",
}


@dataclass
class Block:
    """A fenced block of a page."""

    language: str
    title: str
    text: str


def blocks(page: str) -> list[Block]:
    """The fenced blocks of a page, in order."""
    return [Block(*found) for found in BLOCK.findall((ROOT / page).read_text(encoding="utf-8"))]


def commands(page: str) -> list[str]:
    """The commands of a page, without their comments, lines that go on joined."""
    text = "\n".join(block.text for block in blocks(page) if block.language in ("bash", "console"))
    lines = text.replace("\\\n", " ").splitlines()
    return [line for line in (re.sub(r"(^|\s+)#\s.*$", "", line).strip() for line in lines) if line]


def missing(command: str) -> list[str]:
    """The files of the repository that a command names and that are not there."""
    named = re.findall(r"(?:recipes|benchmarks|tests|docs)/[\w./-]+", command)
    return [name for name in named if not (ROOT / name).exists()]


def reason(page: str, command: str) -> str | None:
    """Why a command of a page is not run, None where it is."""
    found = (why for start, why in LISTED.items() if command.startswith(start))
    push = "the Hub" if command.startswith("rhm push") and "--dry_run" not in command else None
    return LISTED_PAGES.get(page) or push or next(found, None)


def parse(argv: list[str]) -> None:
    """Raises what the `rhm` command would say of arguments that it does not understand."""
    from typer.main import get_command

    from rhm_hf.cli.app import app

    group = get_command(app)
    context = group.make_context("rhm", list(argv))
    name, command, rest = group.resolve_command(context, list(context._protected_args) + list(context.args))
    command.make_context(name, rest, parent=context)


def run(command: str) -> None:
    """Runs one command of `rhm` in this process."""
    from rhm_hf.cli import main

    command, _, target = command.partition(" > ")
    argv = shlex.split(command)
    assert argv[0] == "rhm", f"{command!r} is neither a command of rhm nor listed in tests/documented_page.py"
    argv += shlex.split(SMALL.get(" ".join(argv[:2]), ""))
    with contextlib.ExitStack() as stack:
        if target:
            stack.enter_context(contextlib.redirect_stdout(stack.enter_context(open(target.strip(), "w"))))
        status = main(argv[1:])
    assert status in (0, None), f"{shlex.join(argv)} ended with {status}"


def prepare(page: str) -> None:
    """What pages take for granted: a text, small models, runs and files of the names that they use."""
    import numpy as np
    import torch
    from transformers import GPT2Config, GPT2LMHeadModel

    from rhm_hf import Grammar
    from rhm_hf.data import char_tokenizer

    text = "".join(block.text for block in blocks(page) if block.language == "bash")
    Path("book.txt").write_text("To be, or not to be, that is the question. " * 100)
    tokenizer = char_tokenizer(sorted(set(Path("book.txt").read_text())))
    torch.manual_seed(0)
    for name in ("gpt2", "distilgpt2", "my-model", "your-model", "other-model"):
        if name not in text:
            continue
        of_text = f"{name} book.txt" in text or f"book.txt {name}" in text or f"book.txt ./{name}" in text
        size = len(tokenizer) + 1 if of_text else 19
        config = GPT2Config(vocab_size=size, n_positions=64, n_embd=16, n_layer=1, n_head=2)
        config.bos_token_id = config.eos_token_id = size - 1 if of_text else 16
        GPT2LMHeadModel(config).save_pretrained(name)
        if of_text:
            tokenizer.save_pretrained(name)
    if page == "docs/cli.md":
        np.save("train.npy", Grammar.from_name("v16-m4-s2-L3").sample(64))
        Path("run.yaml").write_text("output_dir: runs/other\n")
        Path("sweep.yaml").write_text("num_train: [16, 32]\noutput_dir: runs/sweep\n")
        for name in ("train", "a", "b"):
            run(f"rhm train --num_train 64 --output_dir runs/{name}")
        run("rhm sweep --config sweep.yaml")
        Path("rules.cfg").write_text("S -> 'a' S [0.4] | 'b' [0.6]\n")


def run_page(page: str) -> None:
    """Files, Python, commands."""
    sys.path.insert(0, str(ROOT))
    for block in blocks(page):
        if block.title and "." in block.title and " " not in block.title:
            Path(block.title).write_text(block.text, encoding="utf-8")
    if page not in ELSEWHERE:
        code = "\n".join(block.text for block in blocks(page) if block.language == "python")
        exec(compile(code, page, "exec"), {"__name__": "page"})
    wanted = [command for command in commands(page) if command.startswith("rhm ")]
    if wanted:
        prepare(page)
    for command in commands(page):
        print("$", command, flush=True)
        if reason(page, command) is None:
            run(command)
        elif command.startswith("rhm "):
            parse(shlex.split(command)[1:])


def run_apart(page: str, folder: Path, output: Path) -> None:
    """What a process of `forked.apart` does: the page, in a folder; what it prints goes to a file."""
    write_to(output, 1, 2)
    os.chdir(folder)
    warnings.filterwarnings("error", category=DeprecationWarning, module="rhm_hf")
    run_page(page)


if __name__ == "__main__":
    run_page(sys.argv[1])
