"""`evaluate` module: correlations of tokens at a distance, of any dataset or text."""

import datasets
import evaluate

from rhm_hf.metrics.module import DirectInputs
from rhm_hf.metrics.token_correlations.measure import measure_correlations


_DESCRIPTION = """
How much the tokens of a text say about each other at a distance t: the correlation function C~(t), the noise floor of
a finite text, error bars, the exponent of its decay and the effective context t*, the range up to which correlations
exceed the noise. For any tokenizer; characters by default.
"""

_CITATION = """\
@article{cagnetta2024towards,
  title={Towards a theory of how the structure of language is acquired by deep neural networks},
  author={Cagnetta, Francesco and Wyart, Matthieu},
  journal={arXiv:2406.00048},
  year={2024}
}
"""

_KWARGS_DESCRIPTION = """
Args:
    data: one text or a list of documents; or token ids: rows, one text, documents, or a `datasets.Dataset`.
    Others: see `rhm_hf.metrics.token_correlations.measure_correlations`.
Returns:
    `dict` with, for every distance, `distances`, `num_pairs`, `correlation`, `correlation_stderr`, `noise_floor`,
    `signal`, `signal_stderr`, `signal_interval`, `operator_norm`, and `effective_context`,
    `effective_context_interval`, `effective_context_is_bound`, `exponent`, `exponent_interval`,
    `exponent_statistical_interval`, `fit_range`, `vocab_size`, `num_tokens`.
Examples:
    >>> import rhm_hf, evaluate
    >>> measure = evaluate.load("token_correlations")
    >>> result = measure.compute(data="abracadabra" * 50, distances=[1, 2, 3])
    >>> result["vocab_size"]
    5
"""


@evaluate.utils.file_utils.add_start_docstrings(_DESCRIPTION, _KWARGS_DESCRIPTION)
class TokenCorrelations(DirectInputs, evaluate.Measurement):
    """C~(t), noise, exponent and effective context."""

    inputs = ("data",)

    def _info(self):
        return evaluate.MeasurementInfo(
            description=_DESCRIPTION,
            citation=_CITATION,
            inputs_description=_KWARGS_DESCRIPTION,
            features=[
                datasets.Features({"data": datasets.Value("string")}),
                datasets.Features({"data": datasets.Sequence(datasets.Value("int64"))}),
            ],
        )

    def _compute(self, data=None, **kwargs):
        if data is None:
            raise ValueError("data=None: pass data=, texts or token ids")
        return measure_correlations(data, **kwargs)
