"""Where the checkpoints of a run lie, for whoever need not read them: no torch here."""

from pathlib import Path

from ...files import remove


PREFIX = "checkpoint-"  # begins the name of a checkpoint's folder


def checkpoint_steps(folder: Path) -> list[int]:
    """The steps of all checkpoints in a folder, newest first, damaged ones included."""
    names = [path.name.removeprefix(PREFIX) for path in folder.glob(f"{PREFIX}*")]
    return sorted((int(name) for name in names if name.isascii() and name.isdigit()), reverse=True)


def remove_checkpoints(folder: Path) -> None:
    """Removes every checkpoint, whole or partial, of a run that needs them no more."""
    for path in (*folder.glob(f"{PREFIX}*"), *folder.glob(f".{PREFIX}*.partial")):
        remove(path)
