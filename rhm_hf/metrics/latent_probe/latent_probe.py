"""`evaluate` module: linear probes for the latent symbols of a Random Hierarchy Model in every layer of a model."""

import evaluate

from rhm_hf.metrics.latent_probe.probe import latent_probe
from rhm_hf.metrics.module import JudgesByGrammar


_DESCRIPTION = """
Which latent symbols of a Random Hierarchy Model a linear map reads off each layer of a Hugging Face model: ridge
regression, fitted on fresh sentences, judged by its accuracy on others, beside the exact chance level.
"""

_KWARGS_DESCRIPTION = """
Args:
    input_ids (`list[list[int]]`, *optional*): sentences to judge on, symbols only. Omitted: fresh independent ones.
    model: a model, a directory or a Hub id. A path is loaded once and kept for the next call.
    grammar (*optional*): a `Grammar`, a directory or Hub id, or a dataset made by this package; by default the grammar
        that lies beside the model.
    Others: see `rhm_hf.metrics.latent_probe.latent_probe`.
Returns:
    `dict` with `accuracy` and `stderr` (layers x levels 0..L), `accuracy_per_node`, `chance`, `chance_per_node`,
    `layers`, `levels`, `num_train`, `num_sentences`.
Examples:
    >>> import rhm_hf, evaluate
    >>> from transformers import BertConfig, BertForMaskedLM
    >>> grammar = rhm_hf.Grammar.from_name("v4-m2-s2-L2")
    >>> model = BertForMaskedLM(BertConfig(vocab_size=7, hidden_size=12, num_hidden_layers=1, num_attention_heads=2))
    >>> evaluate.load("latent_probe").compute(model=model, grammar=grammar)["accuracy"][0][0]  # the tokens
    1.0
"""


@evaluate.utils.file_utils.add_start_docstrings(_DESCRIPTION, _KWARGS_DESCRIPTION)
class LatentProbe(JudgesByGrammar, evaluate.Metric):
    """Accuracy of linear probes."""

    description, usage = _DESCRIPTION, _KWARGS_DESCRIPTION
    judge = staticmethod(latent_probe)
