"""`evaluate` module: sensitivity of a model's layers to synonyms at every level of a Random Hierarchy Model."""

import evaluate

from rhm_hf.metrics.module import JudgesByGrammar
from rhm_hf.metrics.synonym_sensitivity.sensitivity import synonym_sensitivity


_DESCRIPTION = """
How sensitive every layer of a Hugging Face model is to the exchange of synonyms at every level of a Random Hierarchy
Model: 1 where the layer is blind to the symbols of that level, 0 where it depends on nothing else.
"""

_KWARGS_DESCRIPTION = """
Args:
    input_ids (`list[list[int]]`, *optional*): sentences of the grammar, symbols only. Omitted: fresh independent ones.
    model: a model, a directory or a Hub id. A path is loaded once and kept for the next call.
    grammar (*optional*): a `Grammar`, a directory or Hub id, or a dataset made by this package; by default the grammar
        that lies beside the model.
    Others: see `rhm_hf.metrics.synonym_sensitivity.synonym_sensitivity`.
Returns:
    `dict` with `sensitivity` and `stderr` (layers x levels), `layers`, `levels`, `num_sentences`.
Examples:
    >>> import rhm_hf, evaluate
    >>> from transformers import BertConfig, BertForMaskedLM
    >>> grammar = rhm_hf.Grammar.from_name("v4-m2-s2-L2")
    >>> model = BertForMaskedLM(BertConfig(vocab_size=7, hidden_size=12, num_hidden_layers=1, num_attention_heads=2))
    >>> metric = evaluate.load("synonym_sensitivity")
    >>> metric.compute(model=model, grammar=grammar)["layers"]
    ['hidden_states[0]', 'hidden_states[1]', 'logits']
"""


@evaluate.utils.file_utils.add_start_docstrings(_DESCRIPTION, _KWARGS_DESCRIPTION)
class SynonymSensitivity(JudgesByGrammar, evaluate.Metric):
    """S of every layer and level."""

    description, usage = _DESCRIPTION, _KWARGS_DESCRIPTION
    judge = staticmethod(synonym_sensitivity)
