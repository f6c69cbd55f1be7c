"""Every argument of a run, in three blocks, read from one YAML file and overridden on the command line."""

import argparse
import json
import types
import typing
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field, fields
from pathlib import Path

import yaml
from transformers import HfArgumentParser

from ..tasks import TASKS


class _Checked:
    """Fields are checked and converted by their type hints: YAML reads `3e-3` as a string and never checks a type."""

    def __post_init__(self):
        hints = typing.get_type_hints(type(self))
        for f in fields(self):
            setattr(self, f.name, _converted(f.name, getattr(self, f.name), hints[f.name]))

    def _check(self, condition: bool, name: str, allowed: str) -> None:
        if not condition:
            raise ValueError(f"{name}={getattr(self, name)!r} is out of range: it must be {allowed}")


@dataclass
class ModelArguments(_Checked):
    """What is trained: any model of transformers or of this package that fits the task, from scratch."""

    model_type: str = field(
        default="gpt2", metadata={"help": "A model type: gpt2, llama, bert, modernbert, hierarchical_cnn, .."}
    )
    config_overrides: dict | str | None = field(
        default=None, metadata={"help": "Fields of its config; as JSON on the command line: '{\"n_embd\": 64}'"}
    )
    model_seed: int = field(default=0, metadata={"help": "Picks the initial weights and the order of the batches"})

    def __post_init__(self):
        if isinstance(self.config_overrides, str):
            try:
                self.config_overrides = json.loads(self.config_overrides)
            except json.JSONDecodeError as error:
                raise ValueError(f"config_overrides={self.config_overrides!r} is not JSON: {error}") from None
        self.config_overrides = self.config_overrides or {}
        if not isinstance(self.config_overrides, dict):
            raise ValueError(
                f"config_overrides={self.config_overrides!r} must be a mapping of config fields to values"
            )
        super().__post_init__()
        self._check(self.model_seed >= 0, "model_seed", "at least 0")


@dataclass
class DataArguments(_Checked):
    """What it is trained on: sentences of one grammar, or the characters of a text."""

    grammar: str = field(default="v16-m4-s2-L3", metadata={"help": "The grammar's short name"})
    rules_seed: int = field(default=0, metadata={"help": "Picks the grammar of the ensemble"})
    text: str | None = field(
        default=None,
        metadata={"help": "Train on characters instead: shakespeare, wikitext-2, wikitext-103, or a UTF-8 file"},
    )
    train_characters: int | None = field(
        default=None,
        metadata={"help": "Where one text is cut into training and test; by default as published, half of a file"},
    )
    context_length: int = field(default=64, metadata={"help": "Of a text: characters before the last one of a window"})
    stride: int = field(default=1, metadata={"help": "Of a text: characters from one training window to the next"})
    num_train: int = field(default=8192, metadata={"help": "P: training sentences; of a text, its first characters"})
    num_validation: int = field(default=1024, metadata={"help": "Sentences or windows that early stopping looks at"})
    num_test: int = field(default=1024, metadata={"help": "Sentences or windows of the reported test loss"})
    sample_seed: int = field(default=0, metadata={"help": "Picks the sentences"})
    sampling: str | None = field(
        default=None, metadata={"help": "unique or iid; by default unique where all sentences are equiprobable"}
    )

    def __post_init__(self):
        super().__post_init__()
        for name in ("num_train", "num_validation", "num_test", "context_length", "stride"):
            self._check(getattr(self, name) >= 1, name, "at least 1")
        if self.text is None:
            self._check(self.train_characters is None, "train_characters", "left out without text")
        for name in ("rules_seed", "sample_seed"):
            self._check(getattr(self, name) >= 0, name, "at least 0")
        self._check(self.sampling in (None, "unique", "iid"), "sampling", "unique, iid or left out")


@dataclass
class TrainingArguments(_Checked):
    """How it is trained and judged."""

    task: str = field(default="next_token", metadata={"help": f"One of {', '.join(TASKS)}"})
    visible_tokens: int | None = field(
        default=None, metadata={"help": "Of last_token: how many tokens before the last are seen; all by default"}
    )
    mask_probability: float | None = field(
        default=None, metadata={"help": "Of masked: the probability of a token to be hidden; 0.15 by default"}
    )
    process: str | None = field(
        default=None,
        metadata={"help": "Of diffusion: masked or uniform noise; masked by default"},
    )
    schedule: str | None = field(
        default=None, metadata={"help": "Of diffusion: linear, cosine or log_linear; linear by default"}
    )
    diffusion_steps: int | None = field(
        default=None, metadata={"help": "Of diffusion: T of the bound of D3PM; by default time is continuous"}
    )
    optimizer: str = field(default="adamw", metadata={"help": "adamw or sgd"})
    learning_rate: float = field(default=3e-3, metadata={"help": "Peak learning rate"})
    weight_decay: float = field(default=0.01, metadata={"help": "Weight decay"})
    momentum: float = field(default=0.0, metadata={"help": "Momentum of sgd"})
    adam_beta2: float = field(default=0.999, metadata={"help": "Second beta of AdamW"})
    max_grad_norm: float = field(default=0.0, metadata={"help": "Gradients are clipped to this norm; 0: never"})
    batch_size: int = field(default=128, metadata={"help": "Sentences per step, over all processes and micro-batches"})
    gradient_accumulation_steps: int = field(default=1, metadata={"help": "Micro-batches a process makes of a step"})
    max_steps: int = field(default=2000, metadata={"help": "Optimizer steps at most"})
    lr_scheduler_type: str = field(default="cosine", metadata={"help": "A name of transformers.get_scheduler"})
    warmup_steps: int = field(default=100, metadata={"help": "Steps of linear warm-up"})
    num_evaluations: int = field(default=24, metadata={"help": "Evaluations, log-spaced from step 1 to max_steps"})
    patience: int = field(
        default=4, metadata={"help": "Evaluations without a lower validation loss before training stops; 0: never"}
    )
    keep: str = field(
        default="best",
        metadata={"help": "The evaluation that a run keeps, and its model: best, the lowest validation loss, or last"},
    )
    kl_sentences: int = field(default=2048, metadata={"help": "Fresh sentences of the exact KL at each evaluation"})
    mixed_precision: str = field(default="no", metadata={"help": "no, bf16 or fp16"})
    num_threads: int | None = field(default=None, metadata={"help": "CPU threads per process; torch's own by default"})
    # From here on, arguments that change no result (`FREE` below): a finished run is recognised without them.
    eval_batch_size: int = field(default=512, metadata={"help": "Sentences per process and evaluation batch"})
    save_steps: int = field(default=500, metadata={"help": "Steps between checkpoints; each evaluation makes one too"})
    num_processes: int | None = field(
        default=None, metadata={"help": "Refuse to run on any other number of processes than this"}
    )
    report_to: str = field(default="none", metadata={"help": "A tracker of Accelerate: tensorboard, trackio, wandb"})
    output_dir: str = field(default="runs/train", metadata={"help": "Where the run is written, and resumed from"})

    def __post_init__(self):
        super().__post_init__()
        self._check(self.task in TASKS, "task", f"one of {', '.join(TASKS)}")
        self._check(self.optimizer in ("adamw", "sgd"), "optimizer", "adamw or sgd")
        for name in sorted({option for task in TASKS.values() for option in task.options} - {"kl_sentences"}):
            allowed = name in TASKS[self.task].options or getattr(self, name) is None
            self._check(allowed, name, f"left out with task={self.task}")
        self._check(self.keep in ("best", "last"), "keep", "best or last")
        self._check(
            self.keep == "best" or not self.patience, "patience", "0 with keep=last, as nothing stops it early"
        )
        self._check(0 <= self.momentum < 1, "momentum", "at least 0 and below 1")
        self._check(self.momentum == 0 or self.optimizer == "sgd", "momentum", "0 with optimizer=adamw")
        self._check(self.mixed_precision in ("no", "bf16", "fp16"), "mixed_precision", "no, bf16 or fp16")
        for name in ("batch_size", "gradient_accumulation_steps", "max_steps", "num_evaluations", "eval_batch_size"):
            self._check(getattr(self, name) >= 1, name, "at least 1")
        for name in ("patience", "warmup_steps", "weight_decay", "max_grad_norm"):
            self._check(getattr(self, name) >= 0, name, "at least 0")
        for name in ("kl_sentences", "save_steps"):
            self._check(getattr(self, name) >= 2, name, "at least 2")
        self._check(self.learning_rate > 0, "learning_rate", "above 0")

    def task_options(self) -> dict:
        """What the task is made with: its own options that are given."""
        values = {name: getattr(self, name) for name in TASKS[self.task].options}
        return {name: value for name, value in values.items() if value is not None}


FREE = ("eval_batch_size", "save_steps", "num_processes", "report_to", "output_dir")  # these change no result


@dataclass
class Arguments:
    """The three blocks of one run."""

    model: ModelArguments
    data: DataArguments
    training: TrainingArguments

    @classmethod
    def from_dict(cls, values: dict) -> "Arguments":
        """From one flat mapping, such as a YAML file holds.

        Raises:
            `ValueError`: for a key that is no argument, a value of the wrong type or out of range.
        """
        check_keys(values)
        return cls(*HfArgumentParser(BLOCKS).parse_dict(values))

    def to_dict(self) -> dict:
        """All arguments as one flat mapping."""
        return asdict(self.model) | asdict(self.data) | asdict(self.training)

    def identity(self) -> dict:
        """The arguments that make the result what it is."""
        return {name: value for name, value in self.to_dict().items() if name not in FREE}


BLOCKS = (ModelArguments, DataArguments, TrainingArguments)


def field_names() -> list[str]:
    """The names of all arguments."""
    return [f.name for block in BLOCKS for f in fields(block)]


def check_keys(values: dict, extra: Sequence[str] = ()) -> None:
    """Raises a `ValueError` that names the keys of `values` that are no argument."""
    known = [*field_names(), *extra]
    unknown = sorted(set(values) - set(known))
    if unknown:
        raise ValueError(f"unknown argument {', '.join(map(str, unknown))}: known are {', '.join(known)}")


def read_yaml(path: str | Path) -> dict:
    """The mapping in a YAML file; `ValueError` where the file holds none."""
    values = yaml.safe_load(Path(path).read_text())
    if not isinstance(values, dict):
        raise ValueError(f"{path} must hold a mapping of argument names to values, not {type(values).__name__}")
    return values


def parse_arguments(argv: Sequence[str] | None = None, prog: str | None = None) -> Arguments:
    """`--config run.yaml --num_train 1024 ..`: the file first, then the command line over it.

    Args:
        argv (`Sequence[str]`, *optional*, defaults to `sys.argv[1:]`): the command line.
        prog (`str`, *optional*): the name of the programme in its help.

    Raises:
        `ValueError`: for a key or value of the YAML file that is not an argument's. Mistakes on the command line end
            the programme with a usage message, as with any `argparse` programme.
    """
    parser = HfArgumentParser(BLOCKS, prog=prog, allow_abbrev=False)
    parser.add_argument("--config", help="YAML file of arguments")
    path = parser.parse_known_args(argv)[0].config
    if path is not None:
        # Checked on their own first: argparse would convert what it can and drop the rest.
        parser.set_defaults(**Arguments.from_dict(read_yaml(path)).to_dict())
    namespace = vars(parser.parse_args(argv))
    namespace.pop("config")
    return Arguments.from_dict(namespace)


def parse_sweep(argv: Sequence[str] | None = None, prog: str | None = None, extra: Sequence[str] = ()) -> dict:
    """`--config sweep.yaml --num_train 256 1024 ..`: a mapping whose values may be lists, not yet expanded.

    Args:
        extra (`Sequence[str]`): names allowed beside the arguments of a run.

    Returns:
        `dict`: the file's values with the command line's over them: in every variant too, so that what is given
        explicitly always counts, but for what a variant says it does not have (`text: null`).
    """
    parser = argparse.ArgumentParser(prog=prog, allow_abbrev=False, argument_default=argparse.SUPPRESS)
    parser.add_argument("--config", help="YAML file of arguments, any of them a list")
    for name in [*field_names(), *extra]:
        parser.add_argument(f"--{name}", nargs="+", type=yaml.safe_load, help="one value or several")
    given = vars(parser.parse_args(argv))
    values = read_yaml(given.pop("config")) if "config" in given else {}
    given = {name: value[0] if len(value) == 1 else value for name, value in given.items()}
    values |= given
    if isinstance(values.get("variants"), dict) and all(isinstance(own, dict) for own in values["variants"].values()):
        values["variants"] = {
            variant: {name: value for name, value in own.items() if name not in given or value is None}
            for variant, own in values["variants"].items()
        }
    check_keys(values, extra)
    return values


def _converted(name: str, value, hint):
    options = typing.get_args(hint) if isinstance(hint, types.UnionType) else (hint,)
    for kind in options:
        if value is None and kind is type(None):
            return None
        if isinstance(value, kind) and not (kind is int and isinstance(value, bool)):
            return value
    if float in options and isinstance(value, (int, str)) and not isinstance(value, bool):
        try:
            return float(value)
        except ValueError:
            pass
    allowed = " or ".join("left out" if kind is type(None) else kind.__name__ for kind in options)
    raise ValueError(f"{name}={value!r} has the wrong type: it must be {allowed}")
