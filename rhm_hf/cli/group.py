"""How `rhm` ends: every error is one line on standard error, with the traceback on request."""

import os
import re
import sys
import traceback
from collections.abc import Sequence
from difflib import get_close_matches
from typing import Any

from typer.core import TyperGroup
from typer.exceptions import TyperException


class Silent(Exception):
    """Ends a command with a status when it has said what there is to say.

    Args:
        code (`int`): the exit status.
    """

    def __init__(self, code: int):
        super().__init__(code)
        self.code = code


class Interrupted(Exception):
    """A `KeyboardInterrupt` of a command: Typer would end without a word."""

    exit_code: int = 130  # as shells say of a programme that was interrupted


class Rhm(TyperGroup):
    """The commands. `--debug` may stand anywhere; errors of the library are a line, not a traceback."""

    def invoke(self, ctx: Any) -> Any:
        """Runs the command that was named."""
        try:
            return super().invoke(ctx)
        except KeyboardInterrupt as error:
            raise Interrupted(str(error)) from error

    def main(
        self,
        args: Sequence[str] | None = None,
        prog_name: str | None = None,
        complete_var: str | None = None,
        standalone_mode: bool = True,
        windows_expand_args: bool = True,
        **extra: Any,
    ) -> int:
        """Runs a command and returns its exit status, or ends the programme with it in `standalone_mode`."""
        args = list(sys.argv[1:] if args is None else args)
        debug = "--debug" in args
        args = [word for word in args if word != "--debug"] or ["--help"]
        if not sys.stderr.isatty():  # the libraries' bars would fill a file; here there is a line a minute
            for library in ("HF_HUB", "HF_DATASETS"):
                os.environ.setdefault(f"{library}_DISABLE_PROGRESS_BARS", "1")
        words = {"prog_name": prog_name or "rhm", "complete_var": complete_var, "standalone_mode": False}
        try:
            code = super().main(args, **words, windows_expand_args=windows_expand_args, **extra)
        except Silent as ending:
            code = ending.code
        except BrokenPipeError:  # `rhm .. | head`: nobody reads on
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
            code = 1
        except Exception as error:
            if debug:
                traceback.print_exc()
            name = args[0].replace("-", "_")
            command = f"rhm {name}" if name in self.commands else "rhm"
            print(f"{command}: {_line(error, command)}", file=sys.stderr)
            code = _code(error)
        code = code if isinstance(code, int) else 0
        if standalone_mode:
            sys.exit(code)
        return code


def suggestion(value: str, allowed: Sequence[str]) -> str:
    """` Did you mean ..?` where something allowed looks like the value, empty elsewhere."""
    close = get_close_matches(value, list(allowed), n=1, cutoff=0.6)
    return f" Did you mean {close[0]!r}?" if close else ""


def _code(error: BaseException) -> int:
    return getattr(error, "exit_code", 1)


def _line(error: BaseException, command: str) -> str:
    if isinstance(error, Interrupted):
        return " ".join(str(error).split()) or "interrupted"
    if isinstance(error, TyperException):
        return _usage(" ".join(error.format_message().split()), command)
    text = " ".join(str(error).split())
    if _code(error) == 2:  # words that `rhm train` reads itself
        return _usage(text, command)
    if isinstance(error, ValueError | OSError | RuntimeError | ImportError) or type(error).__module__ == "yaml":
        return text or type(error).__name__
    if type(error).__module__.startswith("yaml"):
        return f"the YAML cannot be read: {text}"
    return (
        f"unexpected {type(error).__name__}: {text or 'without a message'} (the same command with --debug shows where)"
    )


def _usage(message: str, command: str) -> str:
    """A mistake on the command line, with what was probably meant and where to look."""
    value, *allowed = re.findall(r"'([^']*)'", message.partition(": ")[2])[:40] or [""]
    if "is not one of" in message:
        message += suggestion(value, allowed)
    return f"{message.rstrip('.')}{'' if message.endswith('?') else '.'} {command} --help lists what there is."
