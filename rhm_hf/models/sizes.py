"""What configurations check before a model is built: numbers of parts, and the memory of the weights."""

from typing import Annotated, Any

from ..checks import MAX_VOCAB_SIZE, Range, check_integer, check_memory


NumIds = Annotated[int, Range(4, MAX_VOCAB_SIZE + 3)]  # a symbol and three special ids
NumSymbols = Annotated[int, Range(1, MAX_VOCAB_SIZE)]
NumParts = Annotated[int, Range(1, 2**16)]  # of layers and heads, which are built one by one
Width = Annotated[int, Range(1, 2**31)]
LABELS_LIMIT = 2**20  # transformers writes out a name for each


def check_labels(options: dict[str, Any]) -> None:
    """Raises a `ValueError` for numbers of labels that transformers would write out one by one."""
    if options.get("num_labels") is not None:
        check_integer("num_labels", options["num_labels"], 1, LABELS_LIMIT + 1)


def check_weights(config: Any, num_weights: int, *names: str) -> None:
    """Raises a `ValueError` with an estimate where float32 weights of so many numbers would not fit.

    Args:
        config: whose model it is.
        num_weights (`int`): of the model.
        names (`str`): the fields that it follows from.
    """
    what = ", ".join(f"{name}={getattr(config, name)}" for name in names)
    check_memory(f"a model of {what}: {num_weights:.3g} weights", 4 * num_weights, "make one of them smaller")
