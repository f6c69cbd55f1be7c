"""Models from directories and the Hub: loaded once, and never with weights that the files do not hold."""

from pathlib import Path
from typing import TYPE_CHECKING, Any

from ..auto_classes import classes_of
from ..checks import shown
from .models import read_model


if TYPE_CHECKING:
    import torch
    from accelerate import Accelerator
    from transformers import PreTrainedModel

    from rhm_hf.grammar import Source

AUTO_CLASSES = ("AutoModelForCausalLM", "AutoModelForMaskedLM", "AutoModelForSequenceClassification")


class ModelCache:
    """Keeps the last model that was loaded from a path, so that a metric does not reload it at every call."""

    def __init__(self):
        self._key, self._model = None, None

    def resolve(
        self, model: Any, grammar: Any = None, accelerator: "Accelerator | None" = None
    ) -> tuple["torch.nn.Module", "Source"]:
        """A model and the grammar to judge it by.

        Args:
            model: a model, a directory or a Hub id; weights are read as safetensors and no code of theirs is run.
            grammar (*optional*): what [`~rhm_hf.data.resolve_grammar`] takes. By default an oracle's own grammar, or
                the folder `grammar/` beside the model.
            accelerator (`accelerate.Accelerator`, *optional*): a loaded model goes to its device.

        Raises:
            `ValueError`: if no grammar is given and none lies beside the model.
        """
        from rhm_hf.data import resolve_grammar

        from .bare import bare_model

        check_model(model)
        path = model if isinstance(model, str | Path) else None
        if path is not None:
            model = self.load(str(path), accelerator)
        if grammar is not None:
            return model, resolve_grammar(grammar)
        bare = bare_model(model)
        if getattr(bare, "grammar", None) is not None:
            return model, bare.grammar
        beside = str(path if path is not None else getattr(bare, "name_or_path", ""))
        missing = (
            f"grammar=None, and no grammar lies beside the model ({beside or 'an instance without a path'}): pass "
            "grammar=, a Grammar, a directory, a Hub id, or a dataset made by rhm_hf"
        )
        if not beside:
            raise ValueError(missing)
        try:
            return model, resolve_grammar(beside)
        except (OSError, ValueError) as error:
            raise ValueError(missing) from error

    def load(self, path: str, accelerator: "Accelerator | None" = None) -> "torch.nn.Module":
        """The model of a directory or Hub id, loaded anew only where it is another one or has changed."""
        key = (path, _state(path))
        if key != self._key:
            self._model = load_model(path, None if accelerator is None else accelerator.device)
            self._key = key
        return self._model


def check_model(model: Any) -> None:
    """Raises a `ValueError` for what is neither a model nor a place to load one from."""
    if not (isinstance(model, str | Path) or hasattr(model, "forward")) or (
        isinstance(model, str) and not model.strip()
    ):
        raise ValueError(f"model={shown(model)} has the wrong type: it must be a model, a directory or a Hub id")


def _state(path: str) -> list[tuple]:
    """What tells that a file of a directory was written: also times that nobody can set; nothing for a Hub id."""
    files = sorted(file for file in Path(path).rglob("*") if file.is_file())
    return [(str(f), s.st_size, s.st_mtime_ns, s.st_ctime_ns, s.st_ino) for f, s in ((f, f.stat()) for f in files)]


def load_model(path: str, device: "torch.device | None" = None) -> "PreTrainedModel":
    """Loads a causal or masked model or a sequence classifier, as its files say, in the dtype of its weights.

    Args:
        path (`str`): a directory or a Hub id; of a PEFT adapter, too, whose base model is loaded with it.
        device (`torch.device`, *optional*, defaults to CUDA where there is one): where it goes.

    Raises:
        `ValueError`: for weights that lack a head (base models), other tasks, and adapters where peft is missing.
    """
    import torch

    try:
        model = _load_adapter(path) if _is_adapter(path) else _load_whole(path)
    except OSError as error:  # of transformers, in several lines
        reason = str(error).strip().splitlines()[0] if str(error).strip() else type(error).__name__
        raise ValueError(f"model={path!r} cannot be loaded, as a directory or from the Hub: {reason}") from error
    device = device or torch.device("cuda" if torch.cuda.is_available() else "cpu")
    return model.to(device).eval()


def _load_whole(path: str):
    import transformers

    try:
        config = transformers.AutoConfig.from_pretrained(path)
    except (OSError, ValueError) as error:
        where = "is a directory without a readable config.json" if Path(path).is_dir() else "is no directory here"
        reason = (str(error).splitlines() or [""])[0]
        raise ValueError(f"no model can be loaded from {path!r}: it {where}, and {reason}") from error
    wanted = config.architectures or []
    known = {auto: _class_of(config, auto) for auto in AUTO_CLASSES}
    known = {auto: cls for auto, cls in known.items() if cls is not None}
    named = [auto for auto, cls in known.items() if cls.__name__ in wanted]
    if named:
        model, lacks = _loaded(path, named[0])
        if lacks:
            raise ValueError(f"{path} lacks weights of its {type(model).__name__} ({lacks}): it is not complete")
        return model
    # A class that transformers does not know, or one without a head that is judged: whatever its weights fill, and is
    # then what its head says.
    fits, reasons = [], []
    for auto in known:
        model, lacks = _loaded(path, auto)
        if lacks:
            reasons.append(f"as {type(model).__name__} it lacks {lacks}")
            continue
        try:
            read_model(model)
        except ValueError as error:
            reasons.append(str(error))
        else:
            fits.append(model)
    if len(fits) == 1:
        return fits[0]
    found = "fits " + ", ".join(type(model).__name__ for model in fits) if fits else "; ".join(reasons)
    raise ValueError(
        f"{path} holds the weights of {', '.join(wanted) or 'an unnamed class'} for {type(config).__name__}, which is "
        f"no causal or masked model or classifier of transformers ({found or 'it has none'}). A base model has no "
        "head: save one that has; otherwise load it yourself and pass the model"
    )


def _class_of(config, auto: str) -> type | None:
    return next(iter(classes_of(type(config), auto)), None)


def _loaded(path: str, auto: str):
    """A model, and the names of weights that the files lack (transformers would draw them at random)."""
    import transformers

    level = transformers.logging.get_verbosity()
    transformers.logging.set_verbosity_error()  # it warns of what is refused here
    try:
        model, info = getattr(transformers, auto).from_pretrained(
            path, dtype="auto", use_safetensors=True, output_loading_info=True
        )
    finally:
        transformers.logging.set_verbosity(level)
    lacks = [*info["missing_keys"], *(entry[0] for entry in info["mismatched_keys"])]
    return model, ", ".join(sorted(map(str, lacks))[:3])


def _is_adapter(path: str) -> bool:
    folder = Path(path)
    return (folder / "adapter_config.json").is_file() and not (folder / "config.json").is_file()


def _load_adapter(path: str):
    import json

    try:
        from peft import PeftModel
    except ImportError as error:
        raise ValueError(
            f"{path} holds a PEFT adapter (adapter_config.json), not a model: install peft, or merge the adapter into "
            "its base model (merge_and_unload) and save that"
        ) from error
    base = json.loads((Path(path) / "adapter_config.json").read_text()).get("base_model_name_or_path")
    if not base:
        raise ValueError(f"{path} holds a PEFT adapter that names no base model: load it yourself and pass the model")
    if not (Path(path) / "adapter_model.safetensors").is_file():
        raise ValueError(f"{path} has no adapter_model.safetensors: adapters are read as safetensors only")
    return PeftModel.from_pretrained(_load_whole(base), path)


def load_tokenizer(tokenizer: Any, path: str, needed: bool) -> Any:
    """The tokenizer given, loaded from what is given, or by default from beside the model."""
    from transformers import AutoTokenizer

    if tokenizer is not None and not isinstance(tokenizer, str):
        return tokenizer
    if tokenizer is None and not needed:
        return None
    place = tokenizer or path
    try:
        return AutoTokenizer.from_pretrained(place)
    except (OSError, ValueError) as error:
        raise ValueError(
            f"tokenizer={tokenizer!r}: none was found at {place or 'the model, which has no path'} "
            f"({type(error).__name__}): pass tokenizer="
        ) from error
