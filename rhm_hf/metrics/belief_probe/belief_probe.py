"""`evaluate` module: linear probes for what a Bayes-optimal predictor believes, in every layer of a causal model."""

import evaluate

from rhm_hf.metrics.belief_probe.belief_maps import belief_probe
from rhm_hf.metrics.module import JudgesByGrammar


_DESCRIPTION = """
How much of the exact posterior of hidden symbols, given the prefix so far, an affine map reads off each layer of a
causal Hugging Face model: variance-weighted R^2 on other sentences than those it is fitted on, by layer and level,
beside a control on the beliefs of other sentences.
"""

_KWARGS_DESCRIPTION = """
Args:
    input_ids (`list[list[int]]`, *optional*): sentences to judge on, symbols only. Omitted: fresh independent ones.
    model: a causal model, a directory or a Hub id. A path is loaded once and kept for the next call.
    grammar (*optional*): a `Grammar`, a directory or Hub id, or a dataset made by this package; by default the grammar
        that lies beside the model.
    Others: see `rhm_hf.metrics.belief_probe.belief_probe`.
Returns:
    `dict` with `r2`, `stderr`, `control` and `control_stderr` (layers x levels 1..L), `r2_per_position`, `variance`,
    `layers`, `levels`, `num_train`, `num_sentences`.
Examples:
    >>> import rhm_hf, evaluate
    >>> from transformers import GPT2Config, GPT2LMHeadModel
    >>> grammar = rhm_hf.Grammar.from_name("v4-m2-s2-L2")
    >>> sizes = {"n_positions": 5, "n_embd": 12, "n_layer": 1, "n_head": 2}
    >>> model = GPT2LMHeadModel(GPT2Config(vocab_size=7, bos_token_id=4, eos_token_id=4, **sizes))
    >>> found = evaluate.load("belief_probe").compute(model=model, grammar=grammar)
    >>> found["levels"]
    [1, 2]
"""


@evaluate.utils.file_utils.add_start_docstrings(_DESCRIPTION, _KWARGS_DESCRIPTION)
class BeliefProbe(JudgesByGrammar, evaluate.Metric):
    """R^2 of affine maps to exact beliefs."""

    description, usage = _DESCRIPTION, _KWARGS_DESCRIPTION
    judge = staticmethod(belief_probe)
