"""What a model is, found out from what it does: causal, masked or a classifier, how many ids, how they are passed.

A few short inputs are read, once. Nothing is decided by a class's name:

- logits `(batch, classes)` are a classifier's; logits `(batch, length, ids)` are laws of tokens.
- A model is *causal* if later ids move no earlier logits, and if the logits of a prefix read alone are those of the
  prefix of a longer input. One that generates text and fails this is refused: a "causal" head on attention in both
  directions reads the answer.
- A model is *masked* if transformers' mapping for masked models holds its class (or one above it) and not that for
  causal ones, or if it reads both ways and does not generate. What it says at MASK is the law of the hidden token.

Where the answer would not be a law (base models, random hashes, sequence-to-sequence models whose encoder reads the
tokens that are judged), a `ValueError` says why.
"""

import inspect
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Annotated, Any

import torch

from ..auto_classes import classes_of
from ..checks import NonNegativeInt, OwnCheck, checked
from ..grammar import NotSupported
from .bare import bare_model, evaluating, has_adapters, is_home_made, unwrapping
from .limits import check_stated_limit, stated_limit
from .probing import NoLaw, Probe, probe_ids


KINDS = ("causal", "masked", "classifier")
SHORT = 12  # ids of a probe, where the model reads so many


@dataclass(frozen=True)
class ModelReader:
    """A model and how it is read; [`read_model`] makes it.

    Args:
        model (`torch.nn.Module`): the bare model.
        read_as (`str`): `"causal"`, `"masked"` or `"classifier"`.
        num_ids (`int`): entries of its logits: ids of a language model, classes of a classifier.
        options (`dict`): keyword arguments of every call, such as `use_cache=False`.
        takes_mask (`bool`): whether it takes an `attention_mask`.
        limit (`tuple`, *optional*): the configuration's field that limits the input, and the ids it leaves room for.
    """

    model: torch.nn.Module
    read_as: str
    num_ids: int
    options: Mapping[str, Any] = field(default_factory=dict)
    takes_mask: bool = True
    limit: tuple[str, int] | None = None

    @property
    def config(self) -> Any:
        """The configuration of its text part."""
        return self.model.config.get_text_config()

    @property
    def bos_token_id(self) -> int | None:
        """The configuration's, where it has one (Funnel's has none)."""
        return getattr(self.config, "bos_token_id", None)

    @property
    def device(self) -> torch.device:
        """Where its inputs go."""
        return self.model.device

    @property
    def is_causal(self) -> bool:
        """Whether it is read as a causal model."""
        return self.read_as == "causal"

    @property
    def is_masked(self) -> bool:
        """Whether it is read as a masked model."""
        return self.read_as == "masked"

    @property
    def longest(self) -> int | None:
        """The most ids that its configuration allows; None where it says nothing."""
        return None if self.limit is None else self.limit[1]

    def call(self, input_ids: torch.Tensor, attention_mask: torch.Tensor | None = None, **kwargs: Any) -> Any:
        """The model's output for ids `(batch, length)`, all of them visible unless told otherwise."""
        if self.takes_mask:
            kwargs["attention_mask"] = torch.ones_like(input_ids) if attention_mask is None else attention_mask
        elif attention_mask is not None:
            raise ValueError(f"the {type(self.model).__name__} takes no attention_mask: nothing can be hidden from it")
        return self.model(input_ids=input_ids, **self.options, **kwargs)

    def logits(
        self, input_ids: torch.Tensor, attention_mask: torch.Tensor | None = None, **kwargs: Any
    ) -> torch.Tensor:
        """Logits `(batch, length, ids)`, or `(batch, classes)` of a classifier."""
        return self.call(input_ids, attention_mask, **kwargs).logits

    def check_length(
        self, length: int, what: str = "this grammar's sentences need", example: torch.Tensor | None = None
    ) -> None:
        """Refuses inputs that are longer than what the configuration says, or, where it says nothing, than what the
        model reads when it is tried.

        Args:
            length (`int`): ids, special ones included.
            what (`str`): what needs them, for the message.
            example (`torch.Tensor`, *optional*): ids `(1, length)` to try; by default BOS, if there is one, and zeros.
        """
        if self.limit is not None:
            check_stated_limit(self.model, length, what)
            return
        if example is None:
            bos, example = self.bos_token_id, torch.zeros(1, length, dtype=torch.int64)
            example[:, 0] = bos if isinstance(bos, int) and 0 <= bos < self.num_ids else 0
        with torch.no_grad(), evaluating(self.model):
            try:
                self.call(example.to(self.device))
            except FAILURES as error:
                raise ValueError(
                    f"{what} {length} ids and the {type(self.model).__name__} fails there ({_first_line(error)}): "
                    "take shorter ones, or a model with a longer context"
                ) from error


FAILURES = (
    RuntimeError,
    IndexError,
    ValueError,
    TypeError,
    AttributeError,
    KeyError,
    AssertionError,
    NotImplementedError,
)


@checked
def read_model(
    model: Annotated[torch.nn.Module, OwnCheck()],
    *,
    read_as: str = "auto",
    ids: Sequence[int] | None = None,
    length: NonNegativeInt | None = None,
    **kwargs: Any,
) -> ModelReader:
    """Finds out how a model is read, from what it does with two short inputs.

    Args:
        model (`torch.nn.Module`): a model of transformers, whatever is around it (`torch.compile`, PEFT, accelerate).
        read_as (`str`, *optional*, defaults to `"auto"`): `"causal"`, `"masked"` or `"classifier"`, or `"tokens"` for
            causal or masked, to be refused where the model does something else.
        ids (`Sequence[int]`, *optional*): ids to try it with, such as those of the symbols; by default ids that are
            not special.
        length (`int`, *optional*): how many ids it is going to read; models of one fixed length read no other.
        kwargs: of the calls, for two rows, where the model needs more than ids.

    Raises:
        `ValueError`: where there is no law to be read, with the reason and what to do.
    """
    if read_as not in (choices := ("auto", "tokens", *KINDS)):
        raise ValueError(f"read_as={read_as!r} is unknown: use one of {', '.join(choices)}")
    bare = bare_model(model)
    _check_encoder(bare)
    limit = stated_limit(bare)
    with torch.no_grad(), evaluating(bare):
        fixed = getattr(bare.config, "sentence_length", None)
        lengths = _lengths(length or fixed, limit)
        probe = _first_that_runs(bare, probe_ids(bare, ids), lengths, kwargs)
        for wrapper in unwrapping(model):
            if (has_adapters(wrapper) or is_home_made(wrapper)) and wrapper is not bare:
                probe.check_same(wrapper)
        kind = _kind(bare, probe, read_as)
        if kind == "causal":
            probe.check_prefixes()
        else:
            probe.check_repeats()
    return ModelReader(bare, kind, probe.logits.shape[-1], probe.options, probe.takes_mask, limit)


def check_reads_as(model: torch.nn.Module, kind: str, length: int | None = None, **kwargs: Any) -> None:
    """Refuses a model that cannot be trained as a kind, whatever its weights are now.

    Weights that start at zero hide what a model reads, so a copy with noise on all of them is asked.

    Args:
        model (`torch.nn.Module`): before training.
        kind (`str`): `"causal"`, `"masked"` or `"classifier"`.
        length (`int`, *optional*): how many ids it is going to read.
        kwargs: of the calls, for two rows, where the model needs more than ids.

    Raises:
        `ValueError`: with the reason.
    """
    import copy

    noisy = copy.deepcopy(bare_model(model)).float()
    with torch.no_grad(), torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        for parameter in noisy.parameters():
            noise = torch.randn(parameter.shape) * 0.1
            parameter.add_(noise.to(parameter))
    read_model(noisy, read_as=kind, length=length, **kwargs)


def _check_encoder(model: torch.nn.Module) -> None:
    if getattr(model.config, "is_encoder_decoder", False) and not in_mapping(model, "AutoModelForMaskedLM"):
        raise ValueError(
            f"model is a {type(model).__name__}, sequence to sequence: its encoder reads the tokens that would be "
            "judged; take its decoder alone (AutoModelForCausalLM), or a causal or masked model"
        )


def in_mapping(model: torch.nn.Module, auto_class: str) -> bool:
    """Whether an Auto class of transformers gives the model's class, or one above it, for its configuration."""
    bases = type(model.config).__mro__
    return isinstance(model, tuple(found for base in bases for found in classes_of(base, auto_class)))


def _lengths(length: int | None, limit: tuple[str, int] | None) -> Iterator[int]:
    """Lengths to try: a short one, then the one that is needed, which alone fits models of a fixed length."""
    longest = SHORT if limit is None else limit[1]
    wanted = [min(SHORT, longest, length or SHORT), length, None if length is None else length - 1, longest, 4, 2]
    return (n for n in dict.fromkeys(wanted) if n is not None and n > 0)


def _first_that_runs(model, ids: list[int], lengths: Iterator[int], kwargs: dict[str, Any]) -> Probe:
    """The probe of the first length and options at which the model gives logits."""
    named = inspect.signature(model.forward).parameters
    takes = {name: name in named for name in ("attention_mask", "use_cache")}
    anything = any(parameter.kind is parameter.VAR_KEYWORD for parameter in named.values())
    errors = []
    for length in lengths:
        for cache in (False, None) if takes["use_cache"] or anything else (None,):
            for mask in (True, False) if takes["attention_mask"] or anything else (False,):
                options = {} if cache is None else {"use_cache": False}
                try:
                    return Probe.of(model, ids, length, options, mask, kwargs)
                except (NoLaw, NotSupported):
                    raise
                except FAILURES as error:
                    errors.append((length, error))
    length, error = errors[0]
    raise ValueError(
        f"the model cannot be read: with {length} ids the {type(model).__name__} fails ({_first_line(error)})"
    ) from error


def _first_line(error: BaseException) -> str:
    return f"{type(error).__name__}: {(str(error).splitlines() or [''])[0][:200]}"


def _kind(model: torch.nn.Module, probe: Probe, read_as: str) -> str:
    """What the model is, or a `ValueError` where it is not what is asked or no law at all."""
    name = type(model).__name__
    if probe.logits.ndim == 2:
        if read_as not in ("auto", "classifier"):
            wanted = "causal or masked" if read_as == "tokens" else read_as
            raise ValueError(f"model is a {name}, without a law of tokens, a classifier: give a {wanted} model")
        return "classifier"
    if read_as == "classifier":
        raise ValueError(f"model is a {name}, whose logits are laws of tokens, not of a class: give a classifier")
    if read_as != "auto" and probe.logits.shape[-1] < (size := model.config.get_text_config().vocab_size):
        raise ValueError(
            f"model is a {name}, which gives {probe.logits.shape[-1]} logits at every place and reads {size} ids: "
            "labels of tokens, and no law of them"
        )
    masked, causal = (in_mapping(model, auto) for auto in ("AutoModelForMaskedLM", "AutoModelForCausalLM"))
    if not masked and not causal and in_mapping(model, "AutoModelForTokenClassification"):
        raise ValueError(f"model is a {name}, which labels tokens: its logits are no law of them")
    if read_as == "causal" or (read_as in ("auto", "tokens") and not (masked and not causal)):
        leak = probe.leak()
        if leak is None:
            return "causal"
        generates = bool(getattr(model, "can_generate", lambda: False)())
        if read_as == "causal" or (generates and not masked):
            raise ValueError(
                f"model is a {name} that reads both ways: an id changed at place {leak.changed} moves the logits at "
                f"place {leak.moved} by {leak.size:.2g}, so as a causal model it reads the answer. Set "
                "config.is_decoder=True (or what its architecture calls it) where it was trained so, or load it as a "
                "masked model"
            )
        return "masked"
    if not masked and probe.leak() is None:
        raise ValueError(f"model is a {name}, which sees only what lies before: a masked model reads both ways")
    return "masked"
