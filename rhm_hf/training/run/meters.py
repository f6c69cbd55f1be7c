"""How far something is: a bar on a terminal, a line a minute elsewhere. On standard error."""

import os
import sys
import time
from types import TracebackType
from typing import Any

from tqdm import tqdm


EVERY = 60.0  # seconds between two lines where there is no terminal
BEAT = 1.0  # seconds after which a bar is drawn anew


def size_of_terminal() -> dict[str, int]:
    """For tqdm, which draws nothing where a terminal says that it has no columns, as some of containers do."""
    try:
        said = os.get_terminal_size(sys.stderr.fileno())
    except (OSError, ValueError):
        return {}
    return {} if said.columns and said.lines else {"ncols": 80, "nrows": 24}


class Meter:
    """Counts towards a total, with the time that is left.

    Args:
        total (`int`): what there is to count.
        unit (`str`): of what, in the plural.
        initial (`int`, *optional*, defaults to 0): what was done before.
        label (`str`, *optional*): begins the line.
        shown (`bool`, *optional*, defaults to `True`): `False` says nothing at all.
    """

    def __init__(self, total: int, unit: str, initial: int = 0, label: str = "", shown: bool = True):
        self.total: int = total
        self.unit: str = unit
        self.label: str = label
        self.shown: bool = shown
        self.done: int = initial
        self.initial: int = initial
        self.note: str = ""
        self.start: float = time.monotonic()
        self.said: float = self.start
        terminal = shown and sys.stderr.isatty()
        options = {"initial": initial, "desc": label, "unit": f" {unit}", **size_of_terminal()}
        self.bar: Any = tqdm(total=total, **options) if terminal else None

    def update(self, done: int) -> None:
        """So much is done, of the total."""
        if self.bar is not None:
            self.bar.update(done - self.done)
        self.done = done
        if self.shown and time.monotonic() - self.said >= (EVERY if self.bar is None else BEAT):
            self.said = time.monotonic()
            if self.bar is not None:  # the time goes on where the count does not
                self.bar.refresh()
            else:
                print(self.line(self.said - self.start), file=sys.stderr, flush=True)

    def annotate(self, **values: Any) -> None:
        """What stands beside the count."""
        self.note = ", ".join(f"{name} {value}" for name, value in values.items())
        if self.bar is not None:
            self.bar.set_postfix_str(self.note, refresh=False)

    def say(self, text: str) -> None:
        """A line of its own, at once."""
        tqdm.write(text, file=sys.stderr)

    def line(self, seconds: float) -> str:
        """What is said after so many seconds."""
        text = tqdm.format_meter(self.done, self.total, seconds, initial=self.initial, unit=f" {self.unit}", ncols=0)
        return ": ".join(filter(None, [self.label, text])) + (f", {self.note}" if self.note else "")

    def __enter__(self) -> "Meter":
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self.bar is not None:
            self.bar.close()
