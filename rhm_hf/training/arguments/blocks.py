"""Every argument of a run, in three blocks: its default, its help, its type and its bounds."""

from dataclasses import dataclass
from typing import Any

from .. import plugins
from .values import SIZE_LIMIT, Checked, argument


@dataclass
class ModelArguments(Checked):
    """What is trained: any model of transformers, of this package or of one's own that fits the task, from scratch."""

    model_type: str = argument(
        "gpt2", "A model type: gpt2, llama, bert, modernbert, hierarchical_cnn, .., or a class as module:Name"
    )
    config_overrides: dict[str, Any] | None = argument(  # noqa: RUF009  it makes a field
        None, "Fields of its config; as JSON on the command line: '{\"n_embd\": 64}'; sizes suit the data by default"
    )
    model_seed: int = argument(0, "Picks the initial weights and the order of the batches", minimum=0)

    def __post_init__(self) -> None:
        if self.config_overrides == "":
            self.config_overrides = None
        super().__post_init__()
        self.config_overrides = self.config_overrides or {}
        plugins.check_form("model_type", self.model_type)


@dataclass
class DataArguments(Checked):
    """What it is trained on: sentences of one grammar, or the characters of a text."""

    grammar: str = argument("v16-m4-s2-L3", "The grammar's short name, a file of rules, or a directory")
    rules_seed: int = argument(0, "Picks the grammar of the ensemble", minimum=0)
    text: str | None = argument(
        None, "Train on characters instead: shakespeare, wikitext-2, wikitext-103, or a UTF-8 file"
    )
    train_characters: int | None = argument(
        None, "Where one text is cut into training and test; by default as published, half of a file", minimum=1
    )
    context_length: int = argument(
        64, "Of a text: characters before the last one of a window", minimum=1, maximum=SIZE_LIMIT
    )
    stride: int = argument(
        1, "Of a text: characters from one training window to the next", minimum=1, maximum=SIZE_LIMIT
    )
    num_train: int = argument(
        8192, "P: training sentences; of a text, its first characters", minimum=1, maximum=SIZE_LIMIT
    )
    num_validation: int = argument(
        1024, "Sentences or windows that early stopping looks at", minimum=1, maximum=SIZE_LIMIT
    )
    num_test: int = argument(1024, "Sentences or windows of the reported test loss", minimum=1, maximum=SIZE_LIMIT)
    sample_seed: int = argument(0, "Picks the sentences", minimum=0)
    sampling: str | None = argument(
        None, "unique or iid; by default unique where all sentences are equiprobable", choices=("unique", "iid")
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

    task: str = argument(
        "next_token", "A name that `rhm tasks` lists, or a class as module:Name", choices=plugins.tasks, plugins=True
    )
    visible_tokens: int | None = argument(
        None, "Of last_token: how many tokens before the last are seen; all by default", minimum=0
    )
    mask_probability: float | None = argument(
        None, "Of masked: the probability of a token to be hidden; 0.15 by default", above=0, maximum=1
    )
    process: str | None = argument(None, "Of diffusion: masked or uniform noise; masked by default")
    schedule: str | None = argument(None, "Of diffusion: linear, cosine or log_linear; linear by default")
    diffusion_steps: int | None = argument(
        None, "Of diffusion: T of the bound of D3PM; by default time is continuous", minimum=1
    )
    optimizer: str = argument("adamw", "adamw, sgd, or a class as module:Name", choices=("adamw", "sgd"), plugins=True)
    optimizer_options: dict[str, Any] | None = argument(  # noqa: RUF009
        None, "More keyword arguments of an optimizer given as module:Name; as JSON on the command line"
    )
    learning_rate: float = argument(3e-3, "Peak learning rate", above=0)
    weight_decay: float = argument(0.01, "Weight decay", minimum=0)
    momentum: float = argument(0.0, "Momentum of sgd", minimum=0, below=1)
    adam_beta2: float = argument(0.999, "Second beta of AdamW", minimum=0, below=1)
    max_grad_norm: float = argument(0.0, "Gradients are clipped to this norm; 0: never", minimum=0)
    batch_size: int = argument(
        128, "Sentences per step, over all processes and micro-batches", minimum=1, maximum=SIZE_LIMIT
    )
    gradient_accumulation_steps: int = argument(
        1, "Micro-batches a process makes of a step", minimum=1, maximum=SIZE_LIMIT
    )
    max_steps: int = argument(2000, "Optimizer steps at most", minimum=1, maximum=SIZE_LIMIT)
    lr_scheduler_type: str = argument("cosine", "A name of transformers.get_scheduler")
    warmup_steps: int = argument(100, "Steps of linear warm-up", minimum=0, maximum=SIZE_LIMIT)
    num_evaluations: int = argument(24, "Evaluations, log-spaced from step 1 to max_steps", minimum=1, maximum=100_000)
    patience: int = argument(
        4, "Evaluations without a lower validation loss before training stops; 0: never", minimum=0
    )
    keep: str = argument(
        "best",
        "The evaluation that a run keeps, and its model: best, the lowest validation loss, or last",
        choices=("best", "last"),
    )
    kl_sentences: int = argument(
        2048, "Fresh sentences of the exact KL at each evaluation", minimum=2, maximum=SIZE_LIMIT
    )
    mixed_precision: str = argument("no", "no, bf16 or fp16", choices=("no", "bf16", "fp16"))
    num_threads: int | None = argument(
        None, "CPU threads per process; torch's own by default", minimum=1, maximum=1024
    )
    imports: str | None = argument(
        None, "Modules that register models, tasks or families when they are imported: a, or a,b; --import for short"
    )
    # From here on, arguments that change no result (`FREE`): a finished run is recognised without them.
    eval_batch_size: int = argument(512, "Sentences per process and evaluation batch", minimum=1, maximum=SIZE_LIMIT)
    save_steps: int = argument(500, "Steps between checkpoints; each evaluation makes one too", minimum=2)
    num_processes: int | None = argument(None, "Refuse to run on any other number of processes than this", minimum=1)
    report_to: str = argument("none", "A tracker of Accelerate: tensorboard, trackio, wandb")
    output_dir: str = argument("runs/train", "Where the run is written, and resumed from")

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
