"""What the `evaluate` modules of this package share. Not a subclass of `EvaluationModule`: evaluate would load it."""

from functools import cached_property
from typing import Any

import datasets
import evaluate

from rhm_hf.data.facts import CITATION
from rhm_hf.judging.loading import ModelCache


class DirectInputs:
    """Goes before `evaluate.Metric` among a module's bases: `compute` hands its inputs on as they are.

    evaluate would write them into an Arrow file and read them back as Python lists. What `add_batch` has collected is
    used where `compute` is given none of [`DirectInputs.inputs`].
    """

    inputs: tuple[str, ...] = ("input_ids",)

    @cached_property
    def models(self) -> ModelCache:
        """Models loaded from paths, kept from one call to the next."""
        return ModelCache()

    def compute(self, *, predictions: Any = None, references: Any = None, **kwargs: Any) -> dict[str, Any] | None:
        """Judges what is given, or else what earlier `add_batch` calls gave.

        With `num_process=` several processes give their parts, and process 0 alone has the result, as evaluate has
        it: inputs then go through its files. `evaluate.combine` gives every module all keywords, and these two.

        Raises:
            `ValueError`: for predictions and references, which no metric of this package has, and for several
                processes that give no inputs.
        """
        if predictions is not None or references is not None:
            raise ValueError(
                f"predictions= and references= are no inputs of {self.name}: it takes {', '.join(self.inputs)}, and "
                "its other arguments by their names"
            )
        if self.num_process > 1:
            if self.writer is None and all(kwargs.get(name) is None for name in self.inputs):
                raise ValueError(
                    f"num_process={self.num_process}: every process has to give its part of {self.inputs[0]}; to "
                    "share the work on fresh sentences, leave num_process out and pass accelerator="
                )
            return super().compute(**kwargs)
        if self.writer is not None and all(kwargs.get(name) is None for name in self.inputs):
            return super().compute(**{name: value for name, value in kwargs.items() if name not in self.inputs})
        return self._compute(**kwargs)


class JudgesByGrammar(DirectInputs):
    """Goes before `evaluate.Metric` where the metric is a function `judge(model, grammar, input_ids, **kwargs)`."""

    description = usage = ""

    def _info(self):
        return evaluate.MetricInfo(
            description=self.description,
            citation=CITATION,
            inputs_description=self.usage,
            features=datasets.Features({"input_ids": datasets.Sequence(datasets.Value("int64"))}),
        )

    def _compute(self, *, model=None, grammar=None, input_ids=None, **kwargs):
        if model is None:
            raise ValueError("model=None: pass model=, a model, a directory or a Hub id")
        model, grammar = self.models.resolve(model, grammar, kwargs.get("accelerator"))
        return self.judge(model, grammar, input_ids, **kwargs)
