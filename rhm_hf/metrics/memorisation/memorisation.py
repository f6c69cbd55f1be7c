"""`evaluate` module: how much of what a model generates is copied from its training set."""

import datasets
import evaluate

from rhm_hf.checks import naming
from rhm_hf.data import resolve_grammar
from rhm_hf.data.facts import CITATION
from rhm_hf.metrics.memorisation.copies import memorisation
from rhm_hf.metrics.module import DirectInputs


_DESCRIPTION = """
How much of what a model generates is copied from its training set: the fraction of verbatim copies beside the chance
of one, and the overlap with the nearest training sentence at every level of a grammar, beside that of fresh ones.
"""

_KWARGS_DESCRIPTION = """
Args:
    input_ids: generated sentences, symbols `(n, d)`, or a `datasets.Dataset` with such a column.
    train: the training sentences, likewise.
    grammar (*optional*): a `Grammar`, a directory or Hub id, or a dataset made by this package.
    Others: see `rhm_hf.metrics.memorisation.memorisation`.
Returns:
    `dict` with `copied`, `copied_stderr`, `copied_interval`, `distinct`, `num_samples`, `num_train`,
    `num_distinct_train`; for every one of `levels`: `overlap`, `num_judged`; with a grammar `chance_of_copy`,
    `distinct_fresh`, `overlap_fresh`, `valid`, `novel`.
Examples:
    >>> import rhm_hf, evaluate
    >>> grammar = rhm_hf.Grammar.from_name("v8-m2-s2-L3")
    >>> metric = evaluate.load("memorisation")
    >>> train = grammar.sample(100)
    >>> metric.compute(input_ids=train[:10], train=train, grammar=grammar)["copied"]
    1.0
"""


@evaluate.utils.file_utils.add_start_docstrings(_DESCRIPTION, _KWARGS_DESCRIPTION)
class Memorisation(DirectInputs, evaluate.Metric):
    """Copies and nearest neighbours."""

    def _info(self):
        return evaluate.MetricInfo(
            description=_DESCRIPTION,
            citation=CITATION,
            inputs_description=_KWARGS_DESCRIPTION,
            features=datasets.Features({"input_ids": datasets.Sequence(datasets.Value("int64"))}),
        )

    def _compute(self, input_ids=None, *, train=None, grammar=None, **kwargs):
        if input_ids is None or train is None:
            raise ValueError("input_ids=None or train=None: pass generated sentences and the training set")
        grammar = None if grammar is None else resolve_grammar(grammar)
        with naming("samples", "input_ids"):
            return memorisation(input_ids, train, grammar, **kwargs)
