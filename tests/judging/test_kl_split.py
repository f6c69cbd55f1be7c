"""Where the loss sits: the KL of general grammars by the symbol that a token begins, against all derivations."""

import math

import numpy as np
import pytest
import torch
from pcfg_brute_force import FINITE, TEXTS
from transformers import BertConfig, BertForMaskedLM, GPT2Config, GPT2LMHeadModel

from rhm_hf import Grammar, RHMForCausalLM
from rhm_hf.grammar import NotSupported, enumerate_sentences
from rhm_hf.metrics.rhm_kl import kl_divergence


def derivations(grammar):
    """Pairs (P, tokens, what each token begins) of all derivations of a grammar that is not recursive.

    Of a token, the highest symbol whose span begins there and is not empty; else `size`: it stands in a rule.
    """
    r, v = grammar.rules, grammar.vocab_size
    size = len(grammar.symbols)
    rules = [[] for _ in range(size)]
    for left, right, p in zip(r.lefts.tolist(), r.right_sides, r.probs.tolist(), strict=True):
        rules[left].append((p, right))

    def below(symbol):
        found = []
        for p, right in rules[symbol]:
            partial = [(p, (), ())]
            for code in right:
                parts = [(1.0, (code,), (size,))] if code < v else below(code - v)
                partial = [(p * q, t + u, o + w) for p, t, o in partial for q, u, w in parts]
            found += [(p, tokens, (symbol, *opens[1:]) if tokens else ()) for p, tokens, opens in partial]
        return found

    return below(0)


def gpt2(v, seed=0):
    torch.manual_seed(seed)
    model = GPT2LMHeadModel(GPT2Config(vocab_size=v + 3, n_positions=32, n_embd=16, n_layer=1, n_head=2))
    model.config.bos_token_id = model.config.eos_token_id = v
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.mul_(4)
    return model.eval()


@pytest.mark.parametrize("name", FINITE)
def test_what_tokens_begin_is_that_of_all_derivations(name):
    grammar = Grammar.from_text(FINITE[name])
    size, every = len(grammar.symbols), derivations(grammar)
    assert math.fsum(p for p, _, _ in every) == pytest.approx(1, abs=1e-12)
    tokens, _ = enumerate_sentences(grammar)
    found, valid = grammar.laws.opened_symbols(tokens)
    for row, n, laws, possible in zip(tokens.tolist(), grammar.lengths_of(tokens), found, valid, strict=True):
        assert possible.tolist() == [i <= n for i in range(len(possible))]
        for i in range(n + 1):
            exact = np.zeros(size + 2)
            for p, sentence, opens in every:
                if sentence[:i] == tuple(row[:i]):
                    exact[size + 1 if len(sentence) == i else opens[i]] += p
            np.testing.assert_allclose(laws[i], exact / exact.sum(), rtol=0, atol=1e-12)
        assert (laws[n + 1 :] == 0).all()


@pytest.mark.parametrize("name", FINITE)
def test_the_kl_by_symbol_is_a_mean_over_derivations_and_sums_to_the_whole(name):
    grammar = Grammar.from_text(FINITE[name])
    v, model = grammar.vocab_size, gpt2(grammar.vocab_size)
    found = kl_divergence(model, grammar, split="symbols")
    assert found["split_groups"] == [*grammar.symbols, "(in a rule)", "(END)"]
    every, size = derivations(grammar), len(grammar.symbols)
    known = {}

    def kl_after(prefix):
        if prefix not in known:
            law = np.zeros(v + 1)
            for p, sentence, _ in every:
                if sentence[: len(prefix)] == prefix:
                    law[sentence[len(prefix)] if len(sentence) > len(prefix) else v] += p
            law /= law.sum()
            with torch.no_grad():
                log_q = model(torch.tensor([[v, *prefix]])).logits[0, -1].double().log_softmax(-1)[: v + 1].numpy()
            known[prefix] = sum(p * (math.log(p) - q) for p, q in zip(law, log_q, strict=True) if p > 0)
        return known[prefix]

    sums, counts = np.zeros(size + 2), np.zeros(size + 2)
    for p, sentence, opens in every:
        for i, group in enumerate([*opens, size + 1]):
            sums[group] += p * kl_after(sentence[:i])
            counts[group] += p
    np.testing.assert_allclose(found["kl_split"], sums / counts.sum(), rtol=0, atol=1e-6)  # float32 logits
    np.testing.assert_allclose(found["split_share"], counts / counts.sum(), rtol=0, atol=1e-12)
    assert sum(found["kl_split"]) == pytest.approx(found["kl"], abs=1e-12)
    assert sum(found["split_share"]) == pytest.approx(1, abs=1e-12)


@pytest.mark.parametrize("name", [*TEXTS, "drawn"])
def test_shares_sum_to_the_whole_on_sampled_sentences(name):
    grammar = Grammar.from_name("pcfg-v3-m2-s2.3-L3") if name == "drawn" else Grammar.from_text(TEXTS[name])
    rows, lengths = grammar.sample(20, return_lengths=True)
    kept = [row[:n].tolist() for row, n in zip(rows, lengths, strict=True) if n < 32]
    found = kl_divergence(gpt2(grammar.vocab_size), grammar, kept, split="symbols", batch_size=3)
    assert sum(found["kl_split"]) == pytest.approx(found["kl"], abs=1e-9)
    assert sum(found["split_share"]) == pytest.approx(1, abs=1e-9)
    assert found["kl"] > 0.1
    same = kl_divergence(gpt2(grammar.vocab_size), grammar, kept, batch_size=20)
    assert found["kl"] == pytest.approx(same["kl"], abs=1e-6)
    assert found["kl_per_position"] == pytest.approx(same["kl_per_position"], abs=1e-5)
    exact = kl_divergence(RHMForCausalLM.from_grammar(grammar), grammar, kept, split="symbols")
    assert max(map(abs, exact["kl_split"])) < 1e-9


def test_on_levels_of_a_fixed_tree_it_is_the_split_by_level():
    """A layered grammar written as text: the symbols of a level together have what the level has."""
    fixed = Grammar.from_name("v4-m2-s2-L3", rules_seed=1)
    lines = [f"S -> {' | '.join(f'n3_{a}' for a in range(4))}"]
    for level in (3, 2, 1):
        for a, rules in enumerate(fixed.rules_at(level).tolist()):
            name = "t{}" if level == 1 else f"n{level - 1}_{{}}"
            lines.append(f"n{level}_{a} -> " + " | ".join(" ".join(name.format(c) for c in rule) for rule in rules))
    grammar = Grammar.from_text("\n".join(lines))
    tokens = fixed.sample(64, sampling="iid")
    rows = np.array([grammar.terminals.index(f"t{k}") for k in range(4)])[tokens]
    levels = torch.tensor([3, 0, 1, 0, 2, 0, 1, 0, 4])  # of the block that a position opens; END

    def of_levels(tokens):
        return torch.nn.functional.one_hot(levels).expand(len(tokens), -1, -1)

    by_level = kl_divergence(gpt2(4), grammar, rows, split=of_levels)
    by_symbol = kl_divergence(gpt2(4), grammar, rows, split="symbols")
    for key in ("kl_split", "split_share"):
        found = dict(zip(by_symbol["split_groups"], by_symbol[key], strict=True))
        for level, value in enumerate(by_level[key]):
            names = {0: ["(in a rule)"], 3: ["S"], 4: ["(END)"]}.get(level, [g for g in found if g[:2] == f"n{level}"])
            assert sum(found[name] for name in names) == pytest.approx(value, abs=1e-9)
    assert by_level["split_share"] == pytest.approx([4 / 9, 2 / 9, 1 / 9, 1 / 9, 1 / 9])


def test_what_has_no_such_split_is_refused():
    grammar = Grammar.from_text("S -> a S | b")
    with pytest.raises(ValueError, match=r"split='tokens' must be 'levels'"):
        kl_divergence(gpt2(2), grammar, [[1]], split="tokens")
    with pytest.raises(NotSupported, match=r'split="symbols"'):
        kl_divergence(gpt2(2), Grammar.from_name("ising-rho0.8-s2-L2"), split="symbols")
    sizes = {"hidden_size": 16, "num_hidden_layers": 1, "num_attention_heads": 2, "intermediate_size": 16}
    bert = BertForMaskedLM(BertConfig(vocab_size=5, max_position_embeddings=16, pad_token_id=3, **sizes)).eval()
    with pytest.raises(ValueError, match="a masked model has no order of tokens"):
        kl_divergence(bert, grammar, [[0, 1]], split="symbols")
