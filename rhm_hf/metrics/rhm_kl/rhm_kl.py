"""`evaluate` module: KL of any causal or masked Hugging Face model to the exact law of a Random Hierarchy Model."""

import evaluate

from rhm_hf.metrics.module import JudgesByGrammar
from rhm_hf.metrics.rhm_kl.kl import kl_divergence


_DESCRIPTION = """
The exact Kullback-Leibler divergence, in nats per judged token, from the law of a Random Hierarchy Model (or of any
layered probabilistic grammar) to a causal or masked Hugging Face model. The true conditional probabilities are
computed exactly, so nothing is estimated but the mean over sentences, and for small grammars not even that.
"""

_KWARGS_DESCRIPTION = """
Args:
    input_ids (`list[list[int]]`, *optional*): sentences of the grammar, symbols only. Omitted: all sentences,
        weighted, where there are at most 2^16; fresh independent ones elsewhere.
    model: a model, a directory or a Hub id. A path is loaded once and kept for the next call.
    grammar (*optional*): a `Grammar`, a directory or Hub id, or a dataset made by this package; by default the grammar
        that lies beside the model.
    Others: see `rhm_hf.metrics.rhm_kl.kl_divergence`.
Returns:
    `dict` with `kl`, `kl_within`, `leak_cost`, `leaked_mass`, `kl_stderr`, `kl_per_position`,
    `kl_stderr_per_position`, `positions`, `kl_sentence`, `cross_entropy`, `entropy`, `num_infinite`, `num_sentences`,
    `read_as`, `bos`; `kl_by_level` on a fixed tree; `kl_end`, `kl_end_stderr` where lengths vary; `kl_split`,
    `split_share` with `split`.
Examples:
    >>> import rhm_hf, evaluate
    >>> grammar = rhm_hf.Grammar.from_name("v4-m2-s2-L2")
    >>> kl = evaluate.load("rhm_kl")
    >>> kl.compute(model=rhm_hf.RHMForCausalLM.from_grammar(grammar), grammar=grammar)["kl"] < 1e-9
    True
"""


@evaluate.utils.file_utils.add_start_docstrings(_DESCRIPTION, _KWARGS_DESCRIPTION)
class RHMKL(JudgesByGrammar, evaluate.Metric):
    """KL to the exact law."""

    description, usage = _DESCRIPTION, _KWARGS_DESCRIPTION
    judge = staticmethod(kl_divergence)
