"""What metrics share: models and grammars, loaded once; evaluation mode; the rows of a process."""

from contextlib import contextmanager
from pathlib import Path


class ModelCache:
    """Keeps the last model that was loaded from a path, so that a metric does not reload it at every call."""

    def __init__(self):
        self._key, self._model = None, None

    def resolve(self, model, grammar=None, accelerator=None):
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

        path = model if isinstance(model, str | Path) else None
        if path is not None:
            model = self.load(str(path), accelerator)
        if grammar is not None:
            return model, resolve_grammar(grammar)
        if getattr(model, "grammar", None) is not None:
            return model, model.grammar
        beside = path if path is not None else getattr(model, "name_or_path", "")
        try:
            return model, resolve_grammar(str(beside))
        except (OSError, ValueError) as error:
            raise ValueError(
                f"grammar=None, and no grammar lies beside the model ({str(beside) or 'an instance without a path'}): "
                "pass grammar=, a Grammar, a directory, a Hub id, or a dataset made by rhm_hf"
            ) from error

    def load(self, path: str, accelerator=None):
        """The model of a directory or Hub id, loaded anew only where it is another one or has changed."""
        key = (path, _last_change(path))
        if key != self._key:
            self._model = load_model(path, None if accelerator is None else accelerator.device)
            self._key = key
        return self._model


def _last_change(path: str) -> int:
    """Newest modification in a directory, so that a model saved again is loaded again; 0 for a Hub id."""
    return max((file.stat().st_mtime_ns for file in Path(path).glob("*")), default=0)


def load_model(path: str, device=None):
    """Loads a causal or masked model or a sequence classifier, as its configuration says, in the dtype of its file.

    Args:
        path (`str`): a directory or a Hub id.
        device (`torch.device`, *optional*, defaults to CUDA where there is one): where it goes.
    """
    import torch
    from transformers import (
        AutoConfig,
        AutoModelForCausalLM,
        AutoModelForMaskedLM,
        AutoModelForSequenceClassification,
    )

    names = AutoConfig.from_pretrained(path).architectures or []
    auto = AutoModelForCausalLM
    for ending, other in (
        ("ForMaskedLM", AutoModelForMaskedLM),
        ("ForSequenceClassification", AutoModelForSequenceClassification),
    ):
        if any(name.endswith(ending) for name in names):
            auto = other
    model = auto.from_pretrained(path, dtype="auto", use_safetensors=True)
    device = device or torch.device("cuda" if torch.cuda.is_available() else "cpu")
    return model.to(device).eval()


def load_tokenizer(tokenizer, path: str, needed: bool):
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


@contextmanager
def evaluating(model):
    """The model in evaluation mode, and back to what it was."""
    training = model.training
    model.eval()
    try:
        yield
    finally:
        model.train(training)


def share_of_process(num: int, accelerator=None) -> range:
    """Which of `num` rows this process of an `accelerate.Accelerator` handles; all of them without one."""
    if accelerator is None:
        return range(num)
    index, of = accelerator.process_index, accelerator.num_processes
    return range(num * index // of, num * (index + 1) // of)
