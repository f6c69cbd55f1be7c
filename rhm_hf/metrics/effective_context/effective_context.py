"""`evaluate` module: how far correlations of text that a model generates agree with those of a corpus."""

import datasets
import evaluate

from rhm_hf.data.facts import CITATION
from rhm_hf.judging.loading import check_model, load_tokenizer
from rhm_hf.metrics.effective_context.agree import effective_context
from rhm_hf.metrics.module import DirectInputs
from rhm_hf.metrics.token_correlations.measure import is_text


_DESCRIPTION = """
How far back the text that a model generates looks like its corpus: the distance t_agree up to which the correlations
of the two agree within noise, beside the distance t* up to which the corpus shows correlations at all, and the context
n_sat where the model's loss saturates. For any causal Hugging Face model with any tokenizer, or for samples.
"""

_KWARGS_DESCRIPTION = """
Args:
    corpus: one text or a list of documents; or token ids: one text, documents, or rows, which are sentences.
    generated (*optional*): samples of the same kind.
    model (*optional*): a model, a directory or a Hub id that generates them instead.
    tokenizer (*optional*): a tokenizer, a directory or a Hub id; by default the one that lies beside the model.
    Others: see `rhm_hf.metrics.effective_context.effective_context`.
Returns:
    `dict` with `t_agree`, `t_agree_interval`, `t_res`, `censored`; `n_sat`, `n_sat_relative` with their intervals and
    statuses, `n_max`; for every one of `distances`:
    `difference`, `difference_stderr`, `difference_interval`, `relative_difference`, `agrees`; `corpus` and
    `generated`, each with `correlation`, `noise_floor`, `signal`, `effective_context`, `effective_context_interval`,
    `effective_context_is_bound`, `num_tokens`; and how it was measured.
Examples:
    >>> import rhm_hf, evaluate
    >>> grammar = rhm_hf.Grammar.from_name("v8-m2-s2-L3")
    >>> metric = evaluate.load("effective_context")
    >>> metric.compute(corpus=grammar.sample(512), generated=grammar.sample(512, seed=1))["t_agree"] <= 7
    True
"""


@evaluate.utils.file_utils.add_start_docstrings(_DESCRIPTION, _KWARGS_DESCRIPTION)
class EffectiveContext(DirectInputs, evaluate.Metric):
    """Agreement of correlations."""

    inputs = ("corpus",)

    def _info(self):
        return evaluate.MetricInfo(
            description=_DESCRIPTION,
            citation=CITATION,
            inputs_description=_KWARGS_DESCRIPTION,
            features=[
                datasets.Features({"corpus": datasets.Value("string")}),
                datasets.Features({"corpus": datasets.Sequence(datasets.Value("int64"))}),
            ],
        )

    def _compute(self, corpus=None, generated=None, *, model=None, tokenizer=None, **kwargs):
        if corpus is None:
            raise ValueError("corpus=None: pass corpus=, texts or token ids")
        path = ""
        if model is not None:
            check_model(model)
            path = str(model) if not hasattr(model, "forward") else getattr(model, "name_or_path", "")
            model = model if hasattr(model, "forward") else self.models.load(path)
        tokenizer = load_tokenizer(tokenizer, path, needed=is_text(corpus))
        return effective_context(corpus, generated, model=model, tokenizer=tokenizer, **kwargs)
