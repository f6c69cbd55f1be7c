"""Files that are whole or absent: written beside their place and renamed, readable by others, no link followed.

Whoever can write into a folder could plant a symbolic link there under a name that a run is about to write. A run
follows none below its folder: it writes new files and renames them, and refuses where a folder of its own is a link.
The folder itself may lie behind one, `runs` on another disk for example.
"""

import contextlib
import functools
import hashlib
import os
import shutil
from collections.abc import Iterator
from pathlib import Path


@contextlib.contextmanager
def beside(path: str | Path) -> Iterator[Path]:
    """A place for a file beside `path`, renamed to it at the end, or removed where something fails.

    The name keeps its ending, by which libraries know the format; folders above are made.
    """
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = path.with_name(f".{path.stem}.{os.getpid()}.partial{path.suffix}")
    remove(partial)
    try:
        yield partial
        partial.chmod(0o666 & ~umask())
        os.replace(partial, path)
    finally:
        partial.unlink(missing_ok=True)


def write_atomically(path: Path, text: str) -> None:
    """Writes a text file beside its place and renames it: it is never seen half written."""
    partial = path.with_name(f".{path.name}.partial")
    partial.unlink(missing_ok=True)  # of a process that was killed, or a link that somebody planted
    with open(partial, "x", encoding="utf-8", newline="") as file:
        file.write(text)
        file.flush()
        os.fsync(file.fileno())
    os.replace(partial, path)


def open_plain(path: Path, append: bool = False) -> int:
    """A descriptor of a file to write, made anew or appended to; `ValueError` where a symbolic link lies there."""
    own_folder(path)  # says what is wrong; the flag below is for a link that is made in between
    mode = os.O_APPEND if append else os.O_TRUNC
    return os.open(path, os.O_WRONLY | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC | mode, 0o666)


def own_folder(path: Path) -> Path:
    """The same path, of a folder or a file; `ValueError` where a symbolic link lies there."""
    if path.is_symlink():
        raise ValueError(f"{path} is a symbolic link: a run follows none in its folder; remove it")
    return path


def remove(path: Path) -> None:
    """Removes a file, a link (not what it leads to) or a folder with all it holds; nothing where nothing is."""
    with contextlib.suppress(FileNotFoundError):  # another process was faster
        if path.is_symlink() or not path.is_dir():
            path.unlink()
        else:
            shutil.rmtree(path)


def remove_partial(folder: Path) -> None:
    """Removes what writers that were killed have left in a folder."""
    for path in folder.glob(".*.partial*"):
        remove(path)


def make_readable(folder: Path) -> None:
    """Gives every file the mode that `open` would: safetensors writes 0600, which nobody else can read."""
    for path in folder.rglob("*"):
        if path.is_file() and not path.is_symlink():
            path.chmod(0o666 & ~umask())


@functools.cache
def umask() -> int:
    """The process's umask, which can only be read by setting it."""
    mask = os.umask(0o022)
    os.umask(mask)
    return mask


def sha256(path: Path) -> str:
    """The SHA-256 of a file's bytes, in hexadecimal digits."""
    with open(path, "rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def content_of(path: Path) -> str:
    """The SHA-256 of what a file or a folder holds, whatever its name; anew whenever something changes."""
    files = [path] if path.is_file() else sorted(p for p in path.rglob("*") if p.is_file())
    signature = []
    for file in files:
        state = file.stat()  # the time of the last change of state cannot be set back, as that of the content can
        signature.append((str(file), state.st_ino, state.st_size, state.st_mtime_ns, state.st_ctime_ns))
    return _content(path, tuple(signature))


@functools.lru_cache(maxsize=1024)
def _content(path: Path, signature: tuple) -> str:
    digest = hashlib.sha256()
    for name, *_ in signature:
        relative = "" if Path(name) == path else Path(name).relative_to(path).as_posix()
        digest.update(f"{relative}\0{sha256(Path(name))}\n".encode())
    return digest.hexdigest()
