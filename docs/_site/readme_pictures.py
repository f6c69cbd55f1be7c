"""The four pictures of the README, by its own commands: `make readme`.

`python docs/_site/readme_pictures.py [TEXT]`: TEXT is a UTF-8 file, by default tiny Shakespeare from the Web. What the
README says of two models of characters holds for those that are trained here: on the first 400 000 and 20 000
characters, judged on the last 300 000.
"""

import contextlib
import os
import shlex
import sys
from pathlib import Path

from rhm_hf.cli import main


ROOT = Path(__file__).resolve().parents[2]
PICTURES = ROOT / "docs" / "figures" / "readme"
SMALL = '--config_overrides \'{"n_embd": 64, "n_layer": 2, "n_head": 4}\' --context_length 32 --batch_size 64'
LEARNING = "--max_steps 2000 --num_evaluations 8 --num_validation 4096 --num_test 4096 --num_threads 1"
HELD_OUT = 300_000  # characters at the end
CHARACTERS = {"my-model": 20_000, "your-model": 400_000}  # that each is trained on


def run(command: str) -> None:
    """A command of `rhm`; ends the programme where it fails."""
    print(f"$ {command}", flush=True)
    if status := main(shlex.split(command)[1:]):
        sys.exit(status)


def make(text: str | None) -> None:
    """Writes everything into this folder, and the pictures to the README's."""
    run("rhm show v8-m2-s2-L3 --seed 3 --resample level=2 --out tree.png")
    run(
        "rhm sweep --grammar v8-m2-s2-L3 --num_train 32 128 512 --num_validation 128 --num_test 128 --max_steps 500 "
        "--output_dir runs/curve"
    )
    run("rhm kl runs/curve/num_train-512 --out figures")
    whole = shakespeare() if text is None else Path(text).read_text(encoding="utf-8")
    Path("text.txt").write_text(whole[:-HELD_OUT], encoding="utf-8")
    Path("book.txt").write_text(whole[-HELD_OUT:], encoding="utf-8")
    for name, characters in CHARACTERS.items():
        run(
            f"rhm train --text text.txt --train_characters {max(CHARACTERS.values())} --num_train {characters} "
            f"{SMALL} {LEARNING} --output_dir runs/{name}"
        )
        with contextlib.suppress(FileExistsError):
            Path(name).symlink_to(Path("runs") / name / "model")
    run("rhm context ./my-model book.txt ./your-model --max_context 24 --num_windows 4096 --out figures")
    PICTURES.mkdir(parents=True, exist_ok=True)
    found = {"tree": "tree.png", "curve": "runs/curve/results_sizes.png", "kl": "figures/kl.png"}
    for name, path in (found | {"context": "figures/context.png"}).items():
        (PICTURES / f"{name}.png").write_bytes(Path(path).read_bytes())


def shakespeare() -> str:
    """Tiny Shakespeare, from where `--text shakespeare` has it."""
    from urllib.request import urlopen

    from rhm_hf.data.text import SHAKESPEARE_URL

    with urlopen(SHAKESPEARE_URL) as page:
        return page.read().decode("utf-8")


if __name__ == "__main__":
    folder = ROOT / "runs" / "readme"
    text = str(Path(sys.argv[1]).resolve()) if len(sys.argv) > 1 else None
    folder.mkdir(parents=True, exist_ok=True)
    os.chdir(folder)
    make(text)
