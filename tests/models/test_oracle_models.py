"""The oracle models against enumeration, through the interface of transformers."""

import math

import numpy as np
import pytest
import torch
from small_grammars import all_sentences, skewed_grammar
from transformers import AutoConfig, AutoModelForCausalLM, AutoModelForMaskedLM, AutoModelForSequenceClassification

import rhm_hf
from rhm_hf import Grammar, RHMForCausalLM, RHMForMaskedLM, RHMForSequenceClassification
from rhm_hf.grammar.enumeration import enumerate_sentences


def with_bos(grammar, tokens):
    return torch.cat([torch.full((len(tokens), 1), grammar.vocab_size), tokens], 1)


def enumerated_law(tokens, probs, position, known: dict[int, int], vocab_size) -> torch.Tensor:
    """P(x_position = . | x_j = known[j]) by summing over all sentences."""
    fits = torch.ones(len(tokens), dtype=torch.bool)
    for where, symbol in known.items():
        fits &= tokens[:, where] == symbol
    law = torch.zeros(vocab_size, dtype=torch.float64).index_add(0, tokens[fits, position], probs[fits])
    return law / law.sum()


def test_causal_rows_are_the_enumerated_conditionals(small_grammar):
    tokens, probs = all_sentences(small_grammar)
    d, v = small_grammar.sentence_length, small_grammar.vocab_size
    chosen = tokens[:: max(1, len(tokens) // 20)]
    logits = RHMForCausalLM.from_grammar(small_grammar)(with_bos(small_grammar, chosen)).logits
    assert logits.shape == (len(chosen), d + 1, v + 3)
    assert logits.dtype == torch.float64
    for row, sentence in enumerate(chosen.tolist()):
        for i in range(d):
            law = enumerated_law(tokens, probs, i, dict(enumerate(sentence[:i])), v)
            assert (logits[row, i, :v].exp() - law).abs().max() < 1e-12
    assert (logits[:, :d, v:] == -math.inf).all()
    assert (logits[:, d].argmax(-1) == v).all()  # EOS, with all the mass
    assert (logits[:, d, v] == 0).all()


def test_a_shorter_context_is_the_enumerated_law_of_the_aligned_block(small_grammar):
    tokens, probs = all_sentences(small_grammar)
    block, v = small_grammar.block_length(1), small_grammar.vocab_size
    oracle = RHMForCausalLM.from_grammar(small_grammar, context_level=1)
    chosen = tokens[:: max(1, len(tokens) // 10)]
    laws = oracle(with_bos(small_grammar, chosen)).logits.exp()
    for row, sentence in enumerate(chosen.tolist()):
        for i in range(small_grammar.sentence_length):
            known = {j: sentence[j] for j in range(i - i % block, i)}
            assert (laws[row, i, :v] - enumerated_law(tokens, probs, i, known, v)).abs().max() < 1e-12


def test_a_sliding_window_is_the_enumerated_law_of_its_tokens(small_grammar):
    tokens, probs = all_sentences(small_grammar)
    v = small_grammar.vocab_size
    oracle = RHMForCausalLM.from_grammar(small_grammar, context_length=2)
    chosen = tokens[:: max(1, len(tokens) // 10)]
    laws = oracle(with_bos(small_grammar, chosen)).logits.exp()
    for row, sentence in enumerate(chosen.tolist()):
        for i in range(small_grammar.sentence_length):
            known = {j: sentence[j] for j in range(max(0, i - 2), i)}
            assert (laws[row, i, :v] - enumerated_law(tokens, probs, i, known, v)).abs().max() < 1e-12


def test_bos_and_left_padding_change_nothing_else():
    grammar = Grammar.from_name("v5-m3-s2-L2-c3")
    oracle = RHMForCausalLM.from_grammar(grammar)
    tokens = torch.from_numpy(grammar.sample(6, sampling="iid").astype(np.int64))
    rows = oracle(with_bos(grammar, tokens)).logits
    assert torch.equal(oracle(tokens).logits, rows[:, 1:])
    padding = torch.full((6, 2), oracle.config.pad_token_id)
    padded = torch.cat([padding, with_bos(grammar, tokens)], 1)
    assert torch.equal(oracle(padded).logits[:, 2:], rows)
    ragged = torch.where(torch.arange(6)[:, None] < 3, padded, torch.cat([with_bos(grammar, tokens), padding], 1))
    logits = oracle(ragged).logits
    assert torch.equal(logits[:3, 2:], rows[:3])
    assert torch.equal(logits[3:, :5], rows[3:])
    assert not logits.isnan().any()


def test_shorter_inputs_give_the_same_rows():
    grammar = Grammar.from_name("v3-m2-s3-L2", rules_seed=1)
    oracle = RHMForCausalLM.from_grammar(grammar)
    ids = with_bos(grammar, torch.from_numpy(grammar.sample(5, sampling="iid").astype(np.int64)))
    rows = oracle(ids).logits
    for length in range(1, ids.shape[1] + 1):
        assert torch.allclose(oracle(ids[:, :length]).logits, rows[:, :length], atol=1e-13)


def test_impossible_prefixes_and_special_ids_give_uniform_rows_never_nan(small_grammar):
    oracle, v = RHMForCausalLM.from_grammar(small_grammar), small_grammar.vocab_size
    tokens, _ = all_sentences(small_grammar)
    everything = torch.cartesian_prod(*[torch.arange(v)] * small_grammar.sentence_length)[:20000:7]
    possible = {tuple(s) for s in tokens.tolist()}
    wrong = torch.tensor([s for s in everything.tolist() if tuple(s) not in possible][:50])
    prefixes = [{tuple(s[:i]) for s in possible} for i in range(small_grammar.sentence_length)]
    logits = oracle(with_bos(small_grammar, wrong)).logits
    assert not logits.isnan().any()
    seen_uniform = 0
    for row, sentence in enumerate(wrong.tolist()):
        for i in range(small_grammar.sentence_length):
            if tuple(sentence[:i]) not in prefixes[i]:
                seen_uniform += 1
                assert torch.allclose(logits[row, i, :v].exp(), torch.full((v,), 1 / v, dtype=torch.float64))
    assert seen_uniform > 0
    ids = with_bos(small_grammar, tokens[:1])
    ids[0, 2] = oracle.config.mask_token_id
    assert torch.allclose(oracle(ids).logits[0, 2, :v].exp(), torch.full((v,), 1 / v, dtype=torch.float64))


def test_the_loss_is_the_exact_cross_entropy():
    grammar = Grammar.from_name("v4-m2-s2-L2")
    ids = with_bos(grammar, torch.from_numpy(grammar.sample(32, sampling="iid").astype(np.int64)))
    out = RHMForCausalLM.from_grammar(grammar)(ids, labels=ids)
    assert out.loss.item() == pytest.approx(grammar.entropy / 4)  # all sentences have the same probability


def chi_squared(counts: np.ndarray, probs: np.ndarray) -> float:
    """Pearson's statistic in standard deviations from its mean."""
    expected = counts.sum() * probs
    cells = len(probs) - 1
    return float((((counts - expected) ** 2 / expected).sum() - cells) / math.sqrt(2 * cells))


@pytest.mark.parametrize("name", ["v3-m2-s2-L2", "v64-m1-s2-L2"])
def test_generate_with_saved_defaults_has_the_law_of_the_grammar(name, tmp_path):
    grammar = Grammar.from_name(name, rules_seed=2)
    RHMForCausalLM.from_grammar(grammar).save_pretrained(tmp_path)
    oracle = AutoModelForCausalLM.from_pretrained(tmp_path)
    torch.manual_seed(0)
    ids = torch.full((3200, 1), oracle.config.bos_token_id)
    out = oracle.generate(ids)
    assert out.shape == (3200, 1 + grammar.sentence_length)
    index = [grammar.index(sentence) for sentence in out[:, 1:].numpy()]
    counts = np.bincount(index, minlength=grammar.num_sentences)
    assert abs(chi_squared(counts, np.full(len(counts), 1 / len(counts)))) < 5


def test_generate_of_a_skewed_grammar_ends_with_eos_when_asked_for_more():
    grammar = skewed_grammar()
    oracle = RHMForCausalLM.from_grammar(grammar)
    torch.manual_seed(1)
    out = oracle.generate(torch.full((4000, 1), 3), max_new_tokens=grammar.sentence_length + 3)
    assert (out[:, grammar.sentence_length + 1] == oracle.config.eos_token_id).all()
    _, probs = enumerate_sentences(grammar)
    index = [grammar.index(s) for s in out[:, 1 : 1 + grammar.sentence_length].numpy()]
    assert abs(chi_squared(np.bincount(index, minlength=len(probs)), probs)) < 5


@pytest.mark.parametrize("dtype", [None, "auto", torch.float32, torch.bfloat16, torch.float64])
def test_saving_and_loading_is_bit_exact_whatever_the_dtype(small_grammar, tmp_path, dtype):
    oracle = RHMForCausalLM.from_grammar(small_grammar, context_level=1)
    oracle.save_pretrained(tmp_path)
    assert AutoConfig.from_pretrained(tmp_path).context_level == 1
    loaded = AutoModelForCausalLM.from_pretrained(tmp_path, **({} if dtype is None else {"dtype": dtype}))
    assert loaded.grammar == small_grammar
    assert Grammar.from_pretrained(tmp_path) == small_grammar
    ids = with_bos(small_grammar, all_sentences(small_grammar)[0][:5])
    single = dtype in (torch.float32, torch.bfloat16)
    assert loaded(ids).logits.dtype == (torch.float32 if single else torch.float64)
    tolerance = 1e-5 if single else 0
    assert (loaded(ids).logits.exp() - oracle(ids).logits.exp()).abs().max() <= tolerance


@pytest.mark.parametrize("convert", ["half", "float", "bfloat16", "double"])
def test_converting_an_oracle_does_not_round_its_law(small_grammar, convert):
    oracle = RHMForCausalLM.from_grammar(small_grammar)
    getattr(oracle, convert)()
    assert oracle.grammar == small_grammar


def test_masked_rows_are_the_enumerated_posteriors(small_grammar):
    tokens, probs = all_sentences(small_grammar)
    d, v = small_grammar.sentence_length, small_grammar.vocab_size
    oracle = RHMForMaskedLM.from_grammar(small_grammar)
    chosen = tokens[:: max(1, len(tokens) // 15)]
    hidden = torch.rand(chosen.shape, generator=torch.Generator().manual_seed(0)) < 0.5
    ids = torch.where(hidden, oracle.config.mask_token_id, chosen)
    logits = oracle(ids).logits
    assert logits.shape == (len(chosen), d, v + 3)
    for row, sentence in enumerate(chosen.tolist()):
        known = {j: sentence[j] for j in range(d) if not hidden[row, j]}
        for i in range(d):
            law = enumerated_law(tokens, probs, i, known, v)
            assert (logits[row, i, :v].exp() - law).abs().max() < 1e-12
    shifted = oracle(with_bos(small_grammar, ids)).logits
    assert torch.equal(shifted[:, 1:], logits)
    labels = torch.where(hidden, chosen, -100)
    expected = -logits.gather(2, chosen[..., None])[..., 0][hidden].mean()
    assert torch.allclose(oracle(ids, labels=labels).loss, expected)


def test_soft_evidence_is_the_enumerated_posterior(small_grammar):
    tokens, probs = all_sentences(small_grammar)
    d, v = small_grammar.sentence_length, small_grammar.vocab_size
    evidence = torch.rand(3, d, v, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    logits = RHMForMaskedLM.from_grammar(small_grammar)(evidence=evidence).logits
    for row in range(3):
        weights = probs * evidence[row].gather(1, tokens.T).prod(0)
        for i in range(d):
            law = torch.zeros(v, dtype=torch.float64).index_add(0, tokens[:, i], weights) / weights.sum()
            assert (logits[row, i, :v].exp() - law).abs().max() < 1e-12


def test_classes_are_the_enumerated_posterior_of_the_root(small_grammar):
    tokens, probs = all_sentences(small_grammar)
    oracle = RHMForSequenceClassification.from_grammar(small_grammar)
    roots = torch.from_numpy(small_grammar.parse(tokens.numpy())[-1][:, 0].astype(np.int64))
    assert (oracle(tokens).logits.argmax(-1) == roots).all()
    assert oracle(tokens, labels=roots).loss.abs() < 1e-12
    ids = tokens[:: max(1, len(tokens) // 10)].clone()
    ids[:, 1:] = oracle.config.mask_token_id
    logits = oracle(ids).logits
    for row, first in enumerate(ids[:, 0].tolist()):
        fits = tokens[:, 0] == first
        law = torch.zeros(small_grammar.num_classes, dtype=torch.float64).index_add(0, roots[fits], probs[fits])
        assert (logits[row].exp() - law / law.sum()).abs().max() < 1e-12


def test_impossible_evidence_gives_uniform_rows(small_grammar):
    v = small_grammar.vocab_size
    possible = {tuple(s) for s in all_sentences(small_grammar)[0].tolist()}
    wrong = next(
        s
        for s in torch.cartesian_prod(*[torch.arange(v)] * small_grammar.sentence_length).tolist()
        if tuple(s) not in possible
    )
    ids = torch.tensor([wrong, list(next(iter(possible)))])
    classes = RHMForSequenceClassification.from_grammar(small_grammar)(ids).logits.exp()
    assert torch.allclose(classes[0], torch.full_like(classes[0], 1 / small_grammar.num_classes))
    assert classes[1].max() == 1
    laws = RHMForMaskedLM.from_grammar(small_grammar)(ids).logits.exp()
    assert torch.allclose(laws[0, :, :v], torch.full_like(laws[0, :, :v], 1 / v))


@pytest.mark.parametrize(
    ("model", "auto"),
    [
        (RHMForMaskedLM, AutoModelForMaskedLM),
        (RHMForSequenceClassification, AutoModelForSequenceClassification),
    ],
)
def test_bidirectional_oracles_save_load_and_keep_their_law(model, auto, small_grammar, tmp_path):
    oracle = model.from_grammar(small_grammar)
    oracle.save_pretrained(tmp_path)
    loaded = auto.from_pretrained(tmp_path)
    assert type(loaded) is model
    assert loaded.config.num_labels == small_grammar.num_classes
    ids = all_sentences(small_grammar)[0][:4]
    assert torch.equal(loaded(ids).logits, oracle(ids).logits)


def test_return_dict_false_gives_tuples():
    grammar = Grammar.from_name("v4-m2-s2-L2")
    ids = torch.from_numpy(grammar.sample(2).astype(np.int64))
    for model in (RHMForCausalLM, RHMForMaskedLM, RHMForSequenceClassification):
        (logits,) = model.from_grammar(grammar)(ids, return_dict=False)
        assert torch.equal(logits, model.from_grammar(grammar)(ids).logits)


def test_bad_input_is_refused_with_the_argument_named():
    grammar = Grammar.from_name("v4-m2-s2-L2")
    with pytest.raises(ValueError, match=r"context_level=1.*only RHMForCausalLM"):
        RHMForMaskedLM.from_grammar(grammar, context_level=1)
    with pytest.raises(ValueError, match=r"input_ids has shape \(1, 3\).*4 tokens"):
        RHMForMaskedLM.from_grammar(grammar)(torch.zeros(1, 3, dtype=torch.long))
    with pytest.raises(ValueError, match="context_level=7"):
        RHMForCausalLM.from_grammar(grammar, context_level=7)
    with pytest.raises(ValueError, match=r"context_level.*context_length"):
        RHMForCausalLM.from_grammar(grammar, context_level=1, context_length=2)
    with pytest.raises(ValueError, match="context_length=-1"):
        RHMForCausalLM.from_grammar(grammar, context_length=-1)


def test_the_package_exports_the_models():
    assert rhm_hf.RHMConfig.model_type == "rhm"
    assert {"RHMForCausalLM", "RHMForMaskedLM", "RHMForSequenceClassification"} <= set(dir(rhm_hf))
