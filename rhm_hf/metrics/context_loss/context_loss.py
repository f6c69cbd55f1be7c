"""`evaluate` module: the loss of any causal or masked model as a function of how many tokens it sees."""

from collections.abc import Iterable

import datasets
import evaluate

from rhm_hf.checks import check
from rhm_hf.data.facts import CITATION
from rhm_hf.judging.loading import check_model, load_tokenizer
from rhm_hf.metrics.context_loss.by_context import loss_by_context
from rhm_hf.metrics.module import DirectInputs


_DESCRIPTION = """
The mean loss L_n of a causal or masked Hugging Face model, in nats per token or per character, given n visible
tokens, for n = 0, 1, 2, 3, 4, 6, 8, 11, 16, ..: with standard errors by document, the context n_sat where it
saturates, and the exponent gamma of its approach L_n - L_inf ~ n^-gamma. On any text or token stream.
"""

_KWARGS_DESCRIPTION = """
Args:
    input_ids (`list[list[int]]`, *optional*): documents as token ids, without special tokens.
    texts (`list[str]`, *optional*): instead, documents as text; each is tokenised as a whole, then cut.
    model: a model, a directory or a Hub id. A path is loaded once and kept for the next call.
    tokenizer (*optional*): a tokenizer, a directory or a Hub id; by default the one that lies beside the model.
    Others: see `rhm_hf.metrics.context_loss.loss_by_context`.
Returns:
    `dict` with `context_lengths`, `loss`, `loss_stderr`, `delta`, `delta_stderr`; `n_sat` and `n_sat_relative`, each
    with its `.._interval`, `.._status` and, where the data do not decide it, `.._windows` that would; `gamma`,
    `gamma_interval`, `gamma_status`, `loss_inf`, `fit_range`, and how it was measured.
Examples:
    >>> import rhm_hf, evaluate
    >>> grammar = rhm_hf.Grammar.from_name("v4-m2-s2-L2")
    >>> metric = evaluate.load("context_loss")
    >>> oracle = rhm_hf.RHMForMaskedLM.from_grammar(grammar)
    >>> metric.compute(input_ids=grammar.sample(32), model=oracle, windows="rows")["context_lengths"]
    [0, 1, 2, 3]
"""


@evaluate.utils.file_utils.add_start_docstrings(_DESCRIPTION, _KWARGS_DESCRIPTION)
class ContextLoss(DirectInputs, evaluate.Metric):
    """Loss by visible tokens."""

    inputs = ("input_ids", "texts")

    def _info(self):
        return evaluate.MetricInfo(
            description=_DESCRIPTION,
            citation=CITATION,
            inputs_description=_KWARGS_DESCRIPTION,
            features=datasets.Features({"input_ids": datasets.Sequence(datasets.Value("int64"))}),
        )

    def _compute(self, *, model=None, input_ids=None, texts=None, tokenizer=None, accelerator=None, **kwargs):
        if model is None:
            raise ValueError("model=None: pass model=, a model, a directory or a Hub id")
        check_model(model)
        check("texts", texts, str | Iterable[str] | None)
        path = model if not hasattr(model, "forward") else getattr(model, "name_or_path", "")
        if not hasattr(model, "forward"):
            model = self.models.load(str(path), accelerator)
        tokenizer = load_tokenizer(tokenizer, str(path), needed=texts is not None)
        return loss_by_context(model, input_ids, texts=texts, tokenizer=tokenizer, accelerator=accelerator, **kwargs)
