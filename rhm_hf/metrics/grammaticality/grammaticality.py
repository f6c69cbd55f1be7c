"""`evaluate` module: how grammatical generated sentences are, level by level."""

import datasets
import evaluate

from rhm_hf.checks import naming
from rhm_hf.data import resolve_grammar
from rhm_hf.data.facts import CITATION
from rhm_hf.metrics.grammaticality.correctness import grammaticality
from rhm_hf.metrics.module import DirectInputs


_DESCRIPTION = """
Which of a grammar's rules generated sentences obey: the fraction of nodes of every level whose tokens parse, beside
that of random tokens, and the fraction of grammatical sentences. For samples of any model.
"""

_KWARGS_DESCRIPTION = """
Args:
    input_ids: generated sentences, symbols `(n, d)`, or a `datasets.Dataset` with such a column.
    grammar: a `Grammar`, a directory or Hub id, or a dataset made by this package.
    Others: see `rhm_hf.metrics.grammaticality.grammaticality`.
Returns:
    `dict` with `valid`, `valid_stderr`, `valid_interval`; for every one of `levels`: `correct`, `correct_stderr`,
    `chance`, `rule_given_children`; `log_prob`, `num_samples`.
Examples:
    >>> import rhm_hf, evaluate
    >>> grammar = rhm_hf.Grammar.from_name("v8-m2-s2-L3")
    >>> metric = evaluate.load("grammaticality")
    >>> metric.compute(input_ids=grammar.sample(100), grammar=grammar)["valid"]
    1.0
"""


@evaluate.utils.file_utils.add_start_docstrings(_DESCRIPTION, _KWARGS_DESCRIPTION)
class Grammaticality(DirectInputs, evaluate.Metric):
    """Fractions of correct rules."""

    def _info(self):
        return evaluate.MetricInfo(
            description=_DESCRIPTION,
            citation=CITATION,
            inputs_description=_KWARGS_DESCRIPTION,
            features=datasets.Features({"input_ids": datasets.Sequence(datasets.Value("int64"))}),
        )

    def _compute(self, input_ids=None, *, grammar=None, **kwargs):
        if input_ids is None or grammar is None:
            raise ValueError("input_ids=None or grammar=None: pass sentences and the grammar to judge them by")
        with naming("samples", "input_ids"):
            return grammaticality(input_ids, resolve_grammar(grammar), **kwargs)
