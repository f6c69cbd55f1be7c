"""Files that are whole or absent: written beside their place and renamed."""

import csv
import io
import os
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path


@contextmanager
def beside(path: str | Path) -> Iterator[Path]:
    """A place for a file beside `path`, renamed to it at the end, or removed where something fails.

    The name keeps its ending, by which libraries know the format; folders above are made.
    """
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = path.with_name(f".{path.stem}.{os.getpid()}.partial{path.suffix}")
    try:
        yield partial
        os.replace(partial, path)
    finally:
        partial.unlink(missing_ok=True)


def write_text(path: str | Path, text: str) -> None:
    """Writes UTF-8 text."""
    with beside(path) as partial:
        partial.write_text(text, encoding="utf-8")


def csv_text(rows: Sequence[Mapping]) -> str:
    """Rows as CSV; columns in the order in which rows name them, what a row lacks empty; floats to the last bit."""
    text = io.StringIO()
    names = list(dict.fromkeys(name for row in rows for name in row))
    writer = csv.DictWriter(text, names, lineterminator="\n")
    writer.writeheader()
    writer.writerows(rows)
    return text.getvalue()
