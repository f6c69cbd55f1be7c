"""Whether what is given as a text is one: a path is no text."""

import re
from collections.abc import Iterable
from pathlib import Path


ENDINGS = "txt|text|md|rst|tex|json|jsonl|csv|tsv|parquet|npy|gz|zip|html"
LONGEST_PATH = 4096  # characters, on Linux


def refuse_paths(name: str, texts: Iterable[str]) -> None:
    """Raises a `ValueError` where a text is the path of a file, or is written as one.

    Args:
        name (`str`): of the argument, for errors.
        texts (`Iterable[str]`): documents.
    """
    for text in texts:
        if not 0 < len(text) <= LONGEST_PATH or "\n" in text or "\0" in text:
            continue
        there = _is_file(text)
        if there or re.fullmatch(rf"\S+\.(?:{ENDINGS})", text):
            said = "is the path of a file" if there else "is written as the path of a file, which is not there"
            raise ValueError(
                f"{name} holds {text!r}, which {said}, and would be judged as these {len(text)} characters: pass what "
                f"is in the file, Path({text!r}).read_text(); a space behind it says that it is meant as text"
            )


def _is_file(text: str) -> bool:
    try:
        return Path(text).is_file()
    except OSError:  # no file has such a name
        return False
