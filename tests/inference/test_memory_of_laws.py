"""The largest tensors of exact laws are what docstrings say, held with small budgets, for any number of sentences."""

import numpy as np
import pytest
import torch
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from rhm_hf.grammar import PCFG, Grammar
from rhm_hf.grammar.ambiguous.laws import ambiguous_laws
from rhm_hf.grammar.layered.laws import beliefs, messages, token_laws
from rhm_hf.grammar.sparse.laws import slot_beliefs, slot_next_token
from rhm_hf.grammar.trees.laws import span_rows, tree_laws
from rhm_hf.inference import (
    block_posteriors,
    causal_posteriors,
    log_prob,
    next_token_probs,
    posteriors,
    prefix_probs,
    sample_posterior,
)


FEW, MANY = 31, 127  # primes: a tensor with a multiple of it as a side holds something of all sentences, as results do


class Largest(TorchDispatchMode):
    """Bytes of the tensors that are made and hold no more than a chunk of the sentences, by their place."""

    def __init__(self, sentences: int):
        super().__init__()
        self.sentences, self.made = sentences, set()

    def __torch_dispatch__(self, function, types, args=(), kwargs=None):
        made = function(*args, **(kwargs or {}))
        given = {t.untyped_storage().data_ptr() for t in tree_leaves((args, kwargs)) if isinstance(t, torch.Tensor)}
        for tensor in tree_leaves(made):
            if not isinstance(tensor, torch.Tensor) or tensor.untyped_storage().data_ptr() in given:
                continue  # nothing is made
            if not any(side and side % self.sentences == 0 for side in tensor.shape):
                self.made.add((tensor.untyped_storage().data_ptr(), tensor.untyped_storage().nbytes()))
        return made

    def bytes_but_for(self, result) -> int:
        """Those of the largest that is no part of the result."""
        parts = [part for part in tree_leaves(result) if not isinstance(part, torch.Tensor)]
        kept = tree_leaves(result) + [field for part in parts for field in vars(part).values()]
        kept = {(t.untyped_storage().data_ptr(), t.untyped_storage().nbytes()) for t in kept if torch.is_tensor(t)}
        return max(size for place, size in self.made if (place, size) not in kept)


def largest(compute, grammar, num: int) -> int:
    """Of one call on `num` sentences; tables are made before, by a call on the two longest."""
    tokens, lengths = grammar.sample(num, sampling="iid", return_lengths=True)
    tokens = torch.as_tensor(tokens.astype(np.int64))
    mask = torch.rand(tokens.shape, generator=torch.Generator().manual_seed(0)) < 0.5
    mask &= torch.arange(tokens.shape[1]) < torch.as_tensor(lengths)[:, None]
    longest = torch.as_tensor(lengths).topk(2).indices
    compute(grammar, tokens[longest], mask[longest])
    with Largest(num) as found:
        result = compute(grammar, tokens, mask)
    return found.bytes_but_for(result)


def next_token(grammar, tokens, mask):
    return next_token_probs(grammar, tokens)


def masked(grammar, tokens, mask):
    return posteriors(grammar, tokens, mask)


def prefixes(grammar, tokens, mask):
    return prefix_probs(grammar, tokens)


def sliding(grammar, tokens, mask):
    return next_token_probs(grammar, tokens, context_length=3)


def of_prefixes(grammar, tokens, mask):
    return causal_posteriors(grammar, tokens)


def in_blocks(grammar, tokens, mask):
    return block_posteriors(grammar, tokens, mask, range(grammar.depth))


def drawn(grammar, tokens, mask):
    return sample_posterior(grammar, tokens, mask, generator=torch.Generator().manual_seed(0))


def probabilities(grammar, tokens, mask):
    return log_prob(grammar, tokens)


BUDGET, TOKENS = 2**14, 2**8  # bytes and tokens of a chunk


@pytest.fixture
def small_budgets(monkeypatch):
    """A few hundredths of the real ones."""
    for module in (token_laws, messages, slot_beliefs, slot_next_token, span_rows, ambiguous_laws):
        monkeypatch.setattr(module, "CHUNK_BYTES", {"cpu": BUDGET})
    monkeypatch.setattr(beliefs, "CHUNK_TOKENS", {"cpu": TOKENS})
    monkeypatch.setattr(tree_laws, "CHUNK_TOKENS", {"cpu": TOKENS})
    monkeypatch.setattr(tree_laws, "BUDGET_BYTES", {"cpu": 4 * BUDGET})


def of_messages(grammar) -> int:
    """Messages of all nodes of a chunk and of every symbol, and the weights of all rules of some."""
    widest = max(grammar.num_symbols_at(level) for level in range(grammar.depth + 1))
    return max(BUDGET, 8 * widest * (widest + TOKENS))


def of_chains(grammar) -> int:
    """Besides, Z^2 numbers a sentence."""
    return max(of_messages(grammar), 8 * grammar.num_states**2 * TOKENS)


@pytest.mark.parametrize(
    ("name", "compute", "formula"),
    [
        ("v8-m4-s2-L4", next_token, lambda grammar: BUDGET),
        ("v8-m4-s2-L4", masked, of_messages),
        ("v8-m4-s2-L4-cut2", next_token, of_messages),
        ("v8-m4-s2-L4-cut2", masked, of_messages),
        ("hmm-v8-h6-m2-d16-p0.5", masked, of_messages),
        ("v8-m4-s2-L2-sparse1", next_token, lambda grammar: BUDGET),
        ("v8-m4-s2-L2-sparse1", masked, lambda grammar: BUDGET),
        ("trees-v6-s2m2-s3m4-L3", prefixes, lambda grammar: 4 * BUDGET),
        ("v8-m4-s2-L4", sliding, lambda grammar: BUDGET),
        ("v8-m4-s2-L4", of_prefixes, lambda grammar: BUDGET),
        ("v8-m4-s2-L4", in_blocks, of_messages),
        ("v8-m4-s2-L4", drawn, of_messages),
        ("hmm-v8-h6-m2-d16-p0.5", next_token, of_messages),
        ("trees-v6-s2m2-s3m4-L3", masked, lambda grammar: 4 * BUDGET),
        ("ambiguous-v6-m3-s2-L4", next_token, lambda grammar: BUDGET),
        ("ambiguous-v6-m3-s2-L4", masked, lambda grammar: BUDGET),
        ("ambiguous-v6-m3-s2-L4", probabilities, lambda grammar: BUDGET),
        ("ising-rho0.8-s2-L5", masked, lambda grammar: BUDGET),
        ("colouring-q5-s2-L4", next_token, lambda grammar: BUDGET),
        ("ambiguous-v6-m3-s2-L4", of_prefixes, lambda grammar: BUDGET),
        ("trees-v6-s2m2-s3m4-L3", of_prefixes, lambda grammar: 4 * BUDGET),
        ("v8-m4-s2-L4-cut2", of_prefixes, of_messages),
        ("hmm-v8-h6-m2-d16-p0.5", of_prefixes, of_chains),
        ("v8-m4-s2-L2-sparse1", of_prefixes, lambda grammar: BUDGET),
    ],
)
@pytest.mark.usefixtures("small_budgets")
def test_tensors_are_no_larger_than_documented_and_do_not_grow_with_the_sentences(name, compute, formula):
    grammar = Grammar.from_name(name)
    few, many = (largest(compute, grammar, num) for num in (FEW, MANY))
    assert 0 < few <= formula(grammar)
    assert 0 < many <= formula(grammar)


@pytest.mark.usefixtures("small_budgets")
def test_a_larger_budget_is_used(monkeypatch):
    """The tensors that are watched are those that the budget holds."""
    monkeypatch.setattr(token_laws, "CHUNK_BYTES", {"cpu": 2 * BUDGET})
    assert BUDGET < largest(next_token, Grammar.from_name("v8-m4-s2-L4"), MANY) <= 2 * BUDGET


@pytest.mark.parametrize("name", ["pcfg-dyck2", "pcfg-arithmetic", "pcfg-palindromes", "pcfg-v3-m2-s2.3-L4"])
def test_a_chart_of_a_general_grammar_takes_the_documented_bytes(name):
    """Item by item, and its space is at most doubled when it is full."""
    grammar = PCFG.from_name(name)
    rows, lengths = grammar.sample(64, sampling="iid", return_lengths=True)
    longest = int(lengths.argmax())
    length = int(lengths[longest])
    _, chart, _ = grammar.sweeps.chart(rows[longest, :length].astype(np.int64))
    symbols, capacity = grammar.binary.num_symbols, len(chart.item_symbols)
    cells = (length + 1) * (length + 2) // 2 + 1
    total = sum(array.nbytes for array in chart)
    assert total == (16 + 36) * capacity + 8 * cells + 36 * (length + 1) * symbols + 16 * (length + 1) + 24
