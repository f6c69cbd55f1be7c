"""The KL by the rule that a token decides, and by level: against all derivations, and against the whole."""

import numpy as np
import pytest
import torch
from pcfg_brute_force import FINITE, TEXTS
from transformers import GPT2Config, GPT2LMHeadModel

from rhm_hf import Grammar, RHMForCausalLM
from rhm_hf.grammar import NotSupported, enumerate_sentences
from rhm_hf.grammar.general_form import general_form
from rhm_hf.inference import log_prob
from rhm_hf.metrics.rhm_kl import kl_divergence


SMALL = FINITE | {
    "beginnings": """
        S -> A x B y [0.3] | A x B x [0.2] | A x y [0.1] | T x B y [0.4]
        T -> A [0.6] | x [0.4]
        A -> x | x y | [0.2]
        B -> y | A
    """.replace("x | x y |", "x [0.5] | x y [0.3] |"),
}


def gpt2(v, seed=0):
    torch.manual_seed(seed)
    model = GPT2LMHeadModel(GPT2Config(vocab_size=v + 3, n_positions=32, n_embd=16, n_layer=1, n_head=2))
    model.config.bos_token_id = model.config.eos_token_id = v
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.mul_(4)
    return model.double().eval()


def derivations(grammar):
    """Triples (P, tokens, the rule that each token decides) of all derivations of a grammar that is not recursive."""
    r, v = grammar.rules, grammar.vocab_size
    rules = [[] for _ in range(r.num_symbols)]
    for k, (left, right, p) in enumerate(zip(r.lefts.tolist(), r.right_sides, r.probs.tolist(), strict=True)):
        rules[left].append((k, p, right))

    def below(symbol):
        found = []
        for k, p, right in rules[symbol]:
            partial = [(p, (), ())]
            for code in right:
                parts = [(1.0, (code,), (k,))] if code < v else below(code - v)
                partial = [(p * q, t + u, d + e) for p, t, d in partial for q, u, e in parts]
            # What begins with the first token is the whole of this rule; the others are decided below, or inside.
            found += [(p, tokens, (k, *decided[1:])) for p, tokens, decided in partial]
        return [(p, tokens, decided if tokens else ()) for p, tokens, decided in found]

    return below(0)


def exact_split(grammar, model, every, ratio_of):
    """Sums over derivations of P log(p / q) at the tokens that decide every rule, END last; and shares."""
    num = grammar.rules.num_rules
    sums, counts = np.zeros(num + 1), np.zeros(num + 1)
    for p, sentence, decided in every:
        for i, rule in enumerate([*decided, num]):
            outcome = sentence[i] if i < len(sentence) else grammar.vocab_size
            sums[rule] += p * ratio_of(sentence[:i], outcome)
            counts[rule] += p
    return sums / counts.sum(), counts / counts.sum()


def ratios(grammar, model, every):
    """log(p / q) of an outcome after a prefix, by all derivations and a call of the model."""
    known, v = {}, grammar.vocab_size

    def of(prefix, outcome):
        if prefix not in known:
            law = np.zeros(v + 1)
            for p, sentence, _ in every:
                if sentence[: len(prefix)] == prefix:
                    law[sentence[len(prefix)] if len(sentence) > len(prefix) else v] += p
            with torch.no_grad():
                log_q = model(torch.tensor([[v, *prefix]])).logits[0, -1].log_softmax(-1)[: v + 1].numpy()
            with np.errstate(divide="ignore"):
                known[prefix] = np.log(law / law.sum()) - log_q
        return known[prefix][outcome]

    return of


@pytest.mark.parametrize("name", SMALL)
def test_every_rule_has_what_all_derivations_say(name):
    grammar = Grammar.from_text(SMALL[name])
    model, every = gpt2(grammar.vocab_size), derivations(grammar)
    assert sum(p for p, _, _ in every) == pytest.approx(1, abs=1e-12)
    found = kl_divergence(model, grammar, split="rules")
    sums, shares = exact_split(grammar, model, every, ratios(grammar, model, every))
    np.testing.assert_allclose(found["kl_split"], sums, rtol=0, atol=1e-10)
    np.testing.assert_allclose(found["split_share"], shares, rtol=0, atol=1e-12)
    assert len(found["split_groups"]) == grammar.rules.num_rules + 1
    assert sum(found["kl_split"]) == pytest.approx(found["kl"], abs=1e-9)


@pytest.mark.parametrize("name", [*TEXTS, "pcfg-dyck2", "pcfg-arithmetic", "pcfg-toy_english", "pcfg-v3-m2-s2.3-L3"])
@pytest.mark.parametrize("split", ["rules", "symbols"])
def test_parts_sum_to_the_whole(name, split):
    grammar = Grammar.from_text(TEXTS[name]) if name in TEXTS else Grammar.from_name(name)
    rows, lengths = grammar.sample(40, return_lengths=True)
    kept = [row[:n].tolist() for row, n in zip(rows, lengths, strict=True) if n < 30]
    found = kl_divergence(gpt2(grammar.vocab_size), grammar, kept, split=split, batch_size=7)
    assert found["kl"] > 0.1
    assert sum(found["kl_split"]) == pytest.approx(found["kl"], abs=1e-9)
    assert sum(found["split_share"]) == pytest.approx(1, abs=1e-9)
    exact = kl_divergence(RHMForCausalLM.from_grammar(grammar), grammar, kept, split=split)
    assert max(map(abs, exact["kl_split"])) < 1e-9


LEVELLED = [
    "v4-m2-s2-L3",
    "v3-m2-s3-L2-zipf1.0",
    "v3-m2-s2-L2-sparse1",
    "ambiguous-v3-m2-s2-L3",
    "trees-v4-s2m2-s3m3-L2",
]


@pytest.mark.parametrize("name", LEVELLED)
@pytest.mark.parametrize("split", ["rules", "levels", "symbols"])
def test_layered_grammars(name, split):
    source = Grammar.from_name(name, rules_seed=1)
    model = gpt2(source.vocab_size)
    tokens, lengths = source.sample(50, sampling="iid", return_lengths=True)
    rows = [row[:n].tolist() for row, n in zip(tokens, lengths, strict=True)]
    found = kl_divergence(model, source, rows, split=split, batch_size=16)
    assert found["kl"] > 0.1
    assert sum(found["kl_split"]) == pytest.approx(found["kl"], abs=1e-9)
    assert sum(found["split_share"]) == pytest.approx(1, abs=1e-9)
    if split == "levels":
        assert found["split_groups"] == [*(f"level {k}" for k in range(source.depth + 1)), "(END)"]
        if source.has_blocks:
            np.testing.assert_allclose(found["kl_split"][:-1], found["kl_by_level"], rtol=0, atol=1e-9)
            assert found["kl_split"][-1] == 0
    if split == "rules":
        rules = [(level, found["split_groups"][k]) for k, level in enumerate(general_form(source, "").rule_levels)]
        assert all(name.startswith(f"{level}.") for level, name in rules)
        assert found["split_groups"][-1] == "(END)"


@pytest.mark.parametrize("name", LEVELLED)
def test_the_general_form_has_the_same_law(name):
    source = Grammar.from_name(name, rules_seed=1)
    form, (tokens, probs) = general_form(source, "a test"), enumerate_sentences(source)
    logs = form.grammar.laws.log_prob(form.token_ids[tokens.astype(np.int64)])
    np.testing.assert_allclose(logs.exp(), probs, rtol=1e-10)
    torch.testing.assert_close(logs, log_prob(source, tokens), rtol=0, atol=1e-10)
    assert form.grammar.num_derivations == source.num_derivations


def test_rules_of_trees_are_those_of_all_derivations():
    source = Grammar.from_name("trees-v3-s2m2-s3m2-L2", rules_seed=1)
    form = general_form(source, "a test")
    model, every = gpt2(source.vocab_size), derivations(form.grammar)
    back = {int(g): t for t, g in enumerate(form.token_ids[:-2].tolist())}
    every = [(p, tuple(back[x] for x in sentence), decided) for p, sentence, decided in every]
    sums, shares = exact_split(form.grammar, model, every, ratios(source, model, every))
    found = kl_divergence(model, source, split="rules")
    np.testing.assert_allclose(found["kl_split"], sums, rtol=0, atol=1e-10)
    np.testing.assert_allclose(found["split_share"], shares, rtol=0, atol=1e-12)


def test_what_a_model_excludes_is_infinite_for_the_rules_that_need_it():
    grammar = Grammar.from_text("S -> A y [0.5] | z [0.5]\nA -> x [0.5] | w [0.5]")
    model = gpt2(grammar.vocab_size)
    with torch.no_grad():
        bias = torch.zeros(grammar.vocab_size + 3, dtype=torch.float64)
        bias[grammar.terminals.index("z")] = -torch.inf
    plain = model.forward
    model.forward = lambda *args, **kwargs: _with(plain(*args, **kwargs), bias)
    found = kl_divergence(model, grammar, split="rules")
    parts = dict(zip(found["split_groups"], found["kl_split"], strict=True))
    assert found["kl"] == np.inf
    assert [name for name, value in parts.items() if value == np.inf] == ["S -> 'z'"]


def _with(output, bias):
    output.logits = output.logits + bias
    return output


@pytest.mark.parametrize("name", ["v3-m2-s2-L2-cut1", "hmm-v3-h2-m2-d4-p0.5", "ising-rho0.8-s2-L2"])
def test_families_without_rules_are_refused(name):
    source = Grammar.from_name(name)
    with pytest.raises(NotSupported, match='split="rules"'):
        kl_divergence(gpt2(source.vocab_size), source, split="rules")


def test_general_grammars_have_no_levels():
    with pytest.raises(NotSupported, match="no levels"):
        kl_divergence(gpt2(2), Grammar.from_text("S -> a S | b"), [[1]], split="levels")
