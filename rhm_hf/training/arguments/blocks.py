"""Every argument of a run, in three blocks: its default, its help, its type and its bounds."""

# ruff: noqa: RUF009  `argument` makes a field

from dataclasses import dataclass
from typing import Annotated, Any

from ...checks import SIZE_LIMIT, Name, NonNegative, NonNegativeInt, Positive, PositiveInt, Range, Seed, Text
from .. import plugins
from .values import Checked, argument


Decay = Annotated[float, Range(0, below=1)]


@dataclass
class ModelArguments(Checked):
    """What is trained: any model of transformers, of this package or of one's own that fits the task, from scratch."""

    model_type: Name = argument(
        "gpt2", "A model type: gpt2, llama, bert, modernbert, hierarchical_cnn, .., or a class as module:Name"
    )
    config_overrides: dict[str, Any] | None = argument(
        None, "Fields of its config; as JSON on the command line: '{\"n_embd\": 64}'; sizes suit the data by default"
    )
    model_seed: Seed = argument(0, "Picks the initial weights and the order of the batches")

    def __post_init__(self) -> None:
        if self.config_overrides == "":
            self.config_overrides = None
        super().__post_init__()
        self.config_overrides = self.config_overrides or {}
        plugins.check_form("model_type", self.model_type)


@dataclass
class DataArguments(Checked):
    """What it is trained on: sentences of one grammar, or the characters of a text."""

    grammar: Name = argument("v16-m4-s2-L3", "The grammar's short name, a file of rules, or a directory")
    rules_seed: Seed = argument(0, "Picks the grammar of the ensemble")
    text: Name | None = argument(
        None, "Train on characters instead: shakespeare, wikitext-2, wikitext-103, or a UTF-8 file"
    )
    train_characters: PositiveInt | None = argument(
        None, "Where one text is cut into training and test; by default as published, half of a file"
    )
    context_length: PositiveInt = argument(64, "Of a text: characters before the last one of a window")
    stride: PositiveInt = argument(1, "Of a text: characters from one training window to the next")
    num_train: PositiveInt = argument(8192, "P: training sentences; of a text, its first characters")
    num_validation: PositiveInt = argument(1024, "Sentences or windows that early stopping looks at")
    num_test: PositiveInt = argument(1024, "Sentences or windows of the reported test loss")
    sample_seed: Seed = argument(0, "Picks the sentences")
    sampling: Annotated[str, Text(("unique", "iid"))] | None = argument(
        None, "unique or iid; by default unique where all sentences are equiprobable"
    )
    disjoint: bool = argument(False, "Of iid: no sentence is in two splits; unique ones never are")

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.text is None:
            self.refuse_unless(self.train_characters is None, "train_characters", "left out without text")
        else:
            self.refuse_unless(not self.disjoint, "disjoint", "left out with text, whose parts do not overlap")
        self.refuse_unless(not (self.disjoint and self.sampling == "unique"), "disjoint", "left out with unique")


@dataclass
class TrainingArguments(Checked):
    """How it is trained and judged."""

    task: Annotated[str, Text(plugins.tasks, modules=True)] = argument(
        "next_token", "A name that `rhm tasks` lists, or a class as module:Name"
    )
    visible_tokens: NonNegativeInt | None = argument(
        None, "Of last_token: how many tokens before the last are seen; all by default"
    )
    mask_probability: Annotated[float, Range(maximum=1, above=0)] | None = argument(
        None, "Of masked: the probability of a token to be hidden; 0.15 by default"
    )
    process: Name | None = argument(None, "Of diffusion: masked or uniform noise; masked by default")
    schedule: Name | None = argument(None, "Of diffusion: linear, cosine or log_linear; linear by default")
    diffusion_steps: PositiveInt | None = argument(
        None, "Of diffusion: T of the bound of D3PM; by default time is continuous"
    )
    optimizer: Annotated[str, Text(("adamw", "sgd"), modules=True)] = argument(
        "adamw", "adamw, sgd, or a class as module:Name"
    )
    optimizer_options: dict[str, Any] | None = argument(
        None, "More keyword arguments of an optimizer given as module:Name; as JSON on the command line"
    )
    learning_rate: Positive = argument(3e-3, "Peak learning rate")
    weight_decay: NonNegative = argument(0.01, "Weight decay")
    momentum: Decay = argument(0.0, "Momentum of sgd")
    adam_beta2: Decay = argument(0.999, "Second beta of AdamW")
    max_grad_norm: NonNegative = argument(0.0, "Gradients are clipped to this norm; 0: never")
    batch_size: PositiveInt = argument(128, "Sentences per step, over all processes and micro-batches")
    gradient_accumulation_steps: PositiveInt = argument(1, "Micro-batches a process makes of a step")
    max_steps: PositiveInt = argument(2000, "Optimizer steps at most")
    lr_scheduler_type: Name = argument("cosine", "A name of transformers.get_scheduler")
    warmup_steps: NonNegativeInt = argument(100, "Steps of linear warm-up")
    num_evaluations: Annotated[int, Range(1, 100_000)] = argument(
        24, "Evaluations, log-spaced from step 1 to max_steps"
    )
    patience: NonNegativeInt = argument(
        4, "Evaluations without a lower validation loss before training stops; 0: never"
    )
    keep: Annotated[str, Text(("best", "last"))] = argument(
        "best",
        "The evaluation that a run keeps, and its model: best, the lowest validation loss, or last",
    )
    kl_sentences: Annotated[int, Range(2, SIZE_LIMIT)] = argument(
        2048, "Fresh sentences of the exact KL at each evaluation"
    )
    mixed_precision: Annotated[str, Text(("no", "bf16", "fp16"))] = argument("no", "no, bf16 or fp16")
    num_threads: Annotated[int, Range(1, 1024)] | None = argument(
        None, "CPU threads per process; torch's own by default"
    )
    imports: Name | None = argument(
        None, "Modules that register models, tasks or families when they are imported: a, or a,b; --import for short"
    )
    # From here on, arguments that change no result (`FREE`): a finished run is recognised without them.
    eval_batch_size: PositiveInt = argument(512, "Sentences per process and evaluation batch")
    save_steps: Annotated[int, Range(2, SIZE_LIMIT)] = argument(
        500, "Steps between checkpoints; each evaluation makes one too"
    )
    num_processes: PositiveInt | None = argument(None, "Refuse to run on any other number of processes than this")
    report_to: Name = argument("none", "A tracker of Accelerate: tensorboard, trackio, wandb")
    output_dir: Name = argument("runs/train", "Where the run is written, and resumed from")

    def __post_init__(self) -> None:
        if isinstance(self.imports, str):
            plugins.import_modules(self.imports)  # first: they may add to the choices of what follows
        super().__post_init__()
        for name in ("task", "optimizer"):
            plugins.check_form(name, getattr(self, name))
        self._check_task()
        self.refuse_unless(
            self.keep == "best" or not self.patience, "patience", "0 with keep=last, as nothing stops it early"
        )
        self.refuse_unless(
            self.momentum == 0 or self.optimizer == "sgd", "momentum", f"0 with optimizer={self.optimizer}"
        )
        self.refuse_unless(
            ":" in self.optimizer or not self.optimizer_options, "optimizer_options", "left out with adamw and sgd"
        )
        plugins.check_scheduler(self.lr_scheduler_type)

    def _check_task(self) -> None:
        """That options are left out which are another task's. A task's own values are checked when it is made."""
        own = plugins.task_class(self.task).options
        every = {option for task in plugins.tasks().values() for option in task.options} - {"kl_sentences"}
        for name in sorted(every - set(own)):
            self.refuse_unless(getattr(self, name) is None, name, f"left out with task={self.task}")

    def task_options(self) -> dict[str, Any]:
        """What the task is made with: its own options that are given."""
        values = {name: getattr(self, name, None) for name in plugins.task_class(self.task).options}
        return {name: value for name, value in values.items() if value is not None}


BLOCKS = (ModelArguments, DataArguments, TrainingArguments)
FREE = ("eval_batch_size", "save_steps", "num_processes", "report_to", "output_dir")  # these change no result
