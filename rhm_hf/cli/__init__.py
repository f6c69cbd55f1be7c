"""The `rhm` command: one for every question. `rhm --help` imports none of the heavy libraries."""

from collections.abc import Sequence


def main(argv: Sequence[str] | None = None) -> int:
    """Runs the `rhm` command.

    Args:
        argv (`Sequence[str]`, *optional*, defaults to `sys.argv[1:]`): the command and its arguments.

    Returns:
        `int`: the exit status: 0; 1 where the command failed, with one line on standard error (`--debug` shows the
        traceback); 2 where it was not understood; 130 where it was interrupted.
    """
    from typer.main import get_command

    from .app import app

    return get_command(app).main(argv, prog_name="rhm", standalone_mode=False)
