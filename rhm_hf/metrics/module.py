"""What the `evaluate` modules of this package share. Not a subclass of `EvaluationModule`: evaluate would load it."""

from functools import cached_property

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

    def compute(self, **kwargs):
        """Judges what is given, or else what earlier `add_batch` calls gave."""
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
