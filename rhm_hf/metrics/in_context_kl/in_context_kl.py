"""`evaluate` module: how many sentences of a fresh grammar a causal model needs in its prompt, by the exact KL."""

import evaluate

from rhm_hf.metrics.in_context_kl.next_sentence import in_context_kl
from rhm_hf.metrics.module import JudgesByGrammar


_DESCRIPTION = """
Does a causal Hugging Face model learn a grammar from its prompt? The exact Kullback-Leibler divergence, in nats per
token, of the sentence that follows n = 0, 1, 2, 4, .. sentences of a freshly drawn grammar, beside n-gram and
hierarchical n-gram learners that saw the same n sentences, and exact laws with shorter contexts.
"""

_KWARGS_DESCRIPTION = """
Args:
    model: a causal model, a directory or a Hub id. A path is loaded once and kept for the next call.
    grammar: a `Grammar`, a directory or Hub id, or a dataset made by this package; fresh ones are drawn from its
        ensemble. By default the grammar that lies beside the model.
    tokenizer (*optional*): for symbols that are words; by default that beside the model.
    Others: see `rhm_hf.metrics.in_context_kl.in_context_kl`. `input_ids` is no argument: sentences are fresh.
Returns:
    `dict` with, for every entry of `num_examples`, `kl`, `kl_within` (renormalised to the symbols), `leak_cost`,
    `leaked_mass`, their intervals over grammars, and `lines`: what learners reach, and the model's gain over each.
Examples:
    >>> import rhm_hf, evaluate
    >>> from transformers import GPT2Config, GPT2LMHeadModel
    >>> sizes = {"n_positions": 24, "n_embd": 12, "n_layer": 1, "n_head": 2}
    >>> model = GPT2LMHeadModel(GPT2Config(vocab_size=7, bos_token_id=4, eos_token_id=4, **sizes))
    >>> grammar = rhm_hf.Grammar.from_name("v4-m2-s2-L2")
    >>> found = evaluate.load("in_context_kl").compute(model=model, grammar=grammar, num_grammars=4)
    >>> found["num_examples"]
    [0, 1, 2, 4]
"""


def _judge(model, grammar, input_ids=None, **kwargs):
    if input_ids is not None:
        raise ValueError("input_ids is no input of in_context_kl: every prompt has fresh sentences of a fresh grammar")
    return in_context_kl(model, grammar, **kwargs)


@evaluate.utils.file_utils.add_start_docstrings(_DESCRIPTION, _KWARGS_DESCRIPTION)
class InContextKL(JudgesByGrammar, evaluate.Metric):
    """KL of the sentence after n sentences in the prompt."""

    description, usage = _DESCRIPTION, _KWARGS_DESCRIPTION
    judge = staticmethod(_judge)
