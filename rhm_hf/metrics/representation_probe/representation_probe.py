"""`evaluate` module: whether the layers of a model hold the symbols of a Random Hierarchy Model or their spelling."""

import evaluate

from rhm_hf.metrics.module import JudgesByGrammar
from rhm_hf.metrics.representation_probe.similarity import representation_probe


_DESCRIPTION = """
Whether a layer of a Hugging Face model holds the symbols of a level of a Random Hierarchy Model, or only the way they
are written: how much less its activations change when the rule below a symbol is redrawn than when the symbol is
replaced.
"""

_KWARGS_DESCRIPTION = """
Args:
    input_ids (`list[list[int]]`, *optional*): sentences of the grammar, symbols only. Omitted: fresh independent ones.
    model: a model, a directory or a Hub id. A path is loaded once and kept for the next call.
    grammar (*optional*): a `Grammar`, a directory or Hub id, or a dataset made by this package; by default the grammar
        that lies beside the model.
    Others: see `rhm_hf.metrics.representation_probe.representation_probe`.
Returns:
    `dict` with `ratio`, `similarity_replaced`, `similarity_redrawn` and their `.._stderr` (layers x levels 1..L-1),
    `layers`, `levels`, `num_sentences`.
Examples:
    >>> import rhm_hf, evaluate
    >>> from transformers import BertConfig, BertForMaskedLM
    >>> grammar = rhm_hf.Grammar.from_name("v4-m2-s2-L2")
    >>> model = BertForMaskedLM(BertConfig(vocab_size=7, hidden_size=12, num_hidden_layers=1, num_attention_heads=2))
    >>> evaluate.load("representation_probe").compute(model=model, grammar=grammar)["levels"]
    [1]
"""


@evaluate.utils.file_utils.add_start_docstrings(_DESCRIPTION, _KWARGS_DESCRIPTION)
class RepresentationProbe(JudgesByGrammar, evaluate.Metric):
    """Similarity under two changes."""

    description, usage = _DESCRIPTION, _KWARGS_DESCRIPTION
    judge = staticmethod(representation_probe)
