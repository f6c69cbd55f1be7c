"""What GRAMMAR and MODEL stand for on the command line; TEXT is in `corpora.py`.

A name, a path and an object are three things:

- GRAMMAR: a short name (`v8-m2-s2-L3`), or a path or Hub id, which has a slash or ends in `.cfg`, `.pcfg` or `.json`
  (`./folder`, `rules.cfg`, `user/repo`).
- MODEL: a folder that is there, a Hub id, or `oracle:GRAMMAR`, the exact law (`,level=2` or `,length=3` behind it:
  shorter contexts).
"""

import re
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from .group import suggestion
from .progress import heavy, progress


if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

    from ..grammar import Source


MAX_WORD = 1000  # characters; longer ones are no name, and no system takes them as a path


def _check_word(what: str, text: str) -> None:
    if len(text) > MAX_WORD or not text.isprintable():
        raise ValueError(f"{what} is no name or path: it has {len(text)} characters, or one that cannot be printed")


def is_path(text: str) -> bool:
    """Whether a grammar is written as a path or Hub id, and not as a short name."""
    from ..data.provenance import is_rules_file

    return "/" in text or is_rules_file(text)


def is_short_name(text: str) -> bool:
    """Whether a word is the short name of a grammar."""
    from ..grammar.registry import parameters_from_name

    try:
        parameters_from_name(text, 0)
    except ValueError:
        return False
    return True


def read_grammar(text: str, rules_seed: int | None = None) -> "Source":
    """The grammar that a word on the command line stands for.

    Args:
        text (`str`): a short name, or a path or Hub id with a slash or the ending of a file of rules.
        rules_seed (`int`, *optional*, defaults to 0): picks the grammar of a named ensemble; stored ones have none.

    Returns:
        `Source`.

    Raises:
        `ValueError`: for an empty word, a word that may mean two things, a seed where there is nothing to draw.
    """
    from ..grammar import Grammar
    from ..grammar.registry import parameters_from_name

    _check_word("GRAMMAR", text)
    if not text.removeprefix("name:").strip():
        raise ValueError("GRAMMAR is empty: give a short name such as v8-m2-s2-L3, or a path such as ./folder")
    if is_path(text):
        from ..data.provenance import is_rules_file, resolve_grammar

        if rules_seed is not None:
            raise ValueError(
                f"--rules_seed {rules_seed} draws the rules of a short name, and {text} has its own: drop it"
            )
        if is_rules_file(text) and not Path(text).expanduser().exists():
            raise ValueError(f"there is no file {text!r}{neighbours(Path(text))}")
        if text.startswith((".", "/", "~")) and not Path(text).expanduser().exists():
            raise ValueError(f"there is no folder or file {text!r}{neighbours(Path(text))}")
        return resolve_grammar(str(Path(text).expanduser()) if Path(text).expanduser().exists() else text)
    name, place = text.removeprefix("name:"), Path(text.removeprefix("name:"))
    try:
        parameters = parameters_from_name(name, 0 if rules_seed is None else rules_seed)
    except ValueError as error:
        if place.exists():
            raise ValueError(f"{name!r} is no short name; for what lies at that path write ./{name}") from error
        raise
    if name == text and holds_grammar(place):
        raise ValueError(
            f"{text!r} may mean two grammars, as a folder of that name lies here: write ./{text} for the one in the "
            f"folder, name:{text} for the one that the name stands for"
        )
    return Grammar.from_parameters(parameters)


def holds_grammar(path: Path) -> bool:
    """Whether a folder holds a grammar, itself or in `grammar/`; or a file may be one."""
    return path.is_file() or any((path / place / "grammar.json").exists() for place in ("", "grammar"))


@dataclass
class NamedModel:
    """A model with what it is called and where it lies (empty for an oracle)."""

    model: Any
    name: str
    path: str

    def tokenizer(self, needed: bool = False) -> "PreTrainedTokenizerBase | None":
        """The tokenizer beside it, None where none is needed or the model is an oracle."""
        from ..judging.loading import load_tokenizer

        if not self.path:
            if needed:
                grammar = self.name.removeprefix("oracle:").split(",")[0]
                raise ValueError(f"{self.name} reads symbols of its grammar, not text: give grammar:{grammar} as TEXT")
            return None
        return load_tokenizer(None, self.path, needed)


def read_model(text: str, rules_seed: int | None = None) -> NamedModel:
    """The model that a word stands for, in evaluation mode.

    Args:
        text (`str`): a folder, a Hub id, or `oracle:GRAMMAR[,level=..|,length=..|,masked]`.
        rules_seed (`int`, *optional*): of an oracle's grammar.
    """
    _check_word("MODEL", text)
    if not text.strip():
        raise ValueError("MODEL is empty: give a folder, a Hub id, or oracle:GRAMMAR")
    with heavy():
        from .. import register  # noqa: F401
        from ..judging.loading import load_model
    if text.startswith("oracle:"):
        return NamedModel(_oracle(text.removeprefix("oracle:"), rules_seed), text, "")
    path = model_path(text)
    with progress(f"loading {path}"), _without_bars():
        try:
            return NamedModel(load_model(path), text, path)
        except OSError as error:
            if Path(path).is_dir():
                raise
            place = f"{text!r} is no folder here{neighbours(Path(text))}"
            raise ValueError(f"{place} As a Hub id it cannot be loaded: {_first_sentence(error)}") from error


def _first_sentence(error: Exception) -> str:
    """What a library says at first, without its advice."""
    text = " ".join(str(error).split())
    return text.split(". ")[0] if text else type(error).__name__


@contextmanager
def _without_bars() -> Iterator[None]:
    """Without the bars of transformers, which would draw over ours, or fill a file."""
    from transformers.utils import logging

    shown = logging.is_progress_bar_enabled()
    logging.disable_progress_bar()
    try:
        yield
    finally:
        if shown:
            logging.enable_progress_bar()


def model_path(text: str) -> str:
    """The folder of a model, that in a run's folder included, or the Hub id."""
    path = Path(text).expanduser()
    if path.is_dir():
        if (path / "config.json").exists():
            return str(path)
        if (path / "model" / "config.json").exists():  # of a run
            return str(path / "model")
        raise ValueError(f"the folder {text!r} holds no model: config.json is in neither it nor its folder model/")
    if path.exists():
        raise ValueError(f"{text!r} is a file: give the folder that holds the model")
    if text.startswith((".", "/", "~")) or not re.fullmatch(r"[\w.-]+(/[\w.-]+)?", text):
        raise ValueError(f"there is no folder {text!r}{neighbours(path)}")
    if is_short_name(text):
        raise ValueError(f"{text!r} is a grammar, and here a MODEL is asked for: its exact law is oracle:{text}")
    return text


def _oracle(text: str, rules_seed: int | None):
    from ..models.rhm.modeling_rhm import RHMForCausalLM, RHMForMaskedLM

    name, *options = text.split(",")
    limits, masked = {}, False
    for option in options:
        key, _, value = option.partition("=")
        if key == "masked" and not value:
            masked = True
        elif key in ("level", "length") and value.isdigit():
            limits[f"context_{key}"] = int(value)
        else:
            raise ValueError(f"oracle:{text}: {option!r} is none of level=NUMBER, length=NUMBER and masked")
    if masked and limits:
        raise ValueError(f"oracle:{text}: a masked oracle sees the whole sentence; drop {', '.join(limits)}")
    grammar = read_grammar(name, rules_seed)
    return RHMForMaskedLM.from_grammar(grammar) if masked else RHMForCausalLM.from_grammar(grammar, **limits)


def neighbours(path: Path) -> str:
    """A full stop, and ` Did you mean ..?` where a file of a similar name lies in the same folder."""
    folder = path.expanduser().parent
    names = [entry.name for entry in folder.iterdir()] if folder.is_dir() else []
    return f".{suggestion(path.name, names)}"


def model_tokenizer(read: Any, tokenizer: str | None, needed: bool) -> Any:
    """The tokenizer that was named or lies beside the model; it knows MASK and BOS where a text is ids, too."""
    from ..judging.loading import load_tokenizer

    if not (read.path or tokenizer):
        return read.tokenizer(needed)
    try:
        return load_tokenizer(tokenizer, read.path, needed=True)
    except ValueError:
        if needed or tokenizer:
            raise
        return None
