"""`ExactKLCallback`: the exact KL to a grammar at every evaluation of the stock `Trainer`."""

from typing import Any

from transformers import Trainer, TrainerCallback, TrainerControl, TrainerState, TrainingArguments

from ..checks import PositiveInt, Seed, checked
from ..data import resolve_grammar
from ..grammar import Source
from ..metrics.rhm_kl import kl_divergence


FIGURES = ("kl", "kl_stderr", "kl_within", "leaked_mass", "entropy")


@checked
class ExactKLCallback(TrainerCallback):
    """Adds `eval_kl` (nats per token) and what belongs to it to every evaluation of transformers' `Trainer`.

        ```python
        trainer = Trainer(.., callbacks=[ExactKLCallback(grammar)])
        ```

        The numbers are those of the metric `rhm_kl` with the same arguments. They are in what `trainer.evaluate()`
    returns, in `trainer.state.log_history`, and serve as `metric_for_best_model="kl"` (with
    `greater_is_better=False`). Evaluations of a data set called `name` get `eval_name_kl`; for `predict` there is
    none. Of several processes each computes the same numbers, all of them.

    Args:
        grammar: the true law: a [`~rhm_hf.grammar.Source`], its directory or Hub id, or a dataset that this package
            made.
        trainer (`Trainer`, *optional*): also reports to its trackers. These hear of an evaluation before callbacks
            are asked, so they have to be told again:
            `trainer.add_callback(ExactKLCallback(grammar, trainer=trainer))`.
        num_sentences (`int`, *optional*, defaults to 4096): fresh sentences, where there are too many to visit all.
        seed (`int`, *optional*, defaults to 0): of these sentences.
        kl_kwargs: other arguments of [`~rhm_hf.metrics.rhm_kl.kl_divergence`] (`batch_size=`, `bos=`, ..).

    Raises:
        `ValueError`: where `grammar` stands for none; at an evaluation, what [`kl_divergence`] refuses.
    """

    def __init__(
        self,
        grammar: Any,
        trainer: Trainer | None = None,
        num_sentences: PositiveInt = 4096,
        seed: Seed = 0,
        **kl_kwargs: Any,
    ):
        self.grammar: Source = resolve_grammar(grammar)
        self.trainer: Trainer | None = trainer
        self.arguments: dict[str, Any] = {"num_sentences": num_sentences, "seed": seed, **kl_kwargs}

    def on_evaluate(
        self,
        args: TrainingArguments,
        state: TrainerState,
        control: TrainerControl,
        model: Any = None,
        metrics: dict[str, float] | None = None,
        **kwargs: Any,
    ) -> None:
        """Judges the model and adds the figures to the evaluation's, and to its entry in the log."""
        result = kl_divergence(model, self.grammar, **self.arguments)
        prefix = _prefix(metrics or {})
        found = {f"{prefix}_{name}": result[name] for name in FIGURES}
        if metrics is not None:
            metrics.update(found)
        if self.trainer is not None:
            self.trainer.log(found)
        else:
            for entry in state.log_history[-1:]:
                if entry.get("step") == state.global_step:
                    entry.update(found)


def _prefix(metrics: dict[str, float]) -> str:
    """What the names of an evaluation begin with: `eval`, `eval_<name of the data set>`, or what the caller said."""
    endings = ("_runtime", "_loss")
    return next((name.removesuffix(end) for end in endings for name in metrics if name.endswith(end)), "eval")
