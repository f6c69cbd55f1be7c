"""N-gram models against dictionaries of counts, the exact truncated laws and themselves on other roads."""

import math
from collections import Counter, defaultdict

import numpy as np
import pytest
import torch
from datasets import Dataset, DatasetDict
from transformers import AutoConfig, AutoModelForCausalLM

from rhm_hf import (
    Grammar,
    HierarchicalNGramConfig,
    HierarchicalNGramForCausalLM,
    NGramConfig,
    NGramForCausalLM,
    RHMForCausalLM,
    load_metric,
    theory,
)
from rhm_hf.grammar.enumeration import enumerate_sentences
from rhm_hf.inference import next_token_probs, position_entropies


def sentences(grammar, num, seed=0) -> np.ndarray:
    return grammar.sample(num, seed=seed, sampling="iid").astype(np.int64)


def with_bos(tokens, num_symbols) -> torch.Tensor:
    return torch.from_numpy(np.pad(np.asarray(tokens), ((0, 0), (1, 0)), constant_values=num_symbols))


def symbol_laws(model, tokens) -> torch.Tensor:
    """P(x_i = . | x_<i) over the symbols for i = 0 .. t, as the model's logits have them."""
    return model(with_bos(tokens, model.config.num_symbols)).logits[..., : model.config.num_symbols].exp()


class DictionaryNGram:
    """The plain way: dictionaries of counts by context, written from the definitions of the two smoothings.

    A context is (group, nearest symbol, next nearest, ..).
    """

    def __init__(self, documents, order, num_symbols, context_of):
        self.v, self.order, self.context_of = num_symbols, order, context_of
        self.counts = defaultdict(Counter)
        for document in documents:
            for i, symbol in enumerate(document):
                context = context_of(document, i)
                for length in range(min(order - 1, len(context) - 1) + 1):
                    self.counts[context[: length + 1]][symbol] += 1

    def add_k(self, document, i, k):
        context = self.context_of(document, i)[: self.order]
        while context not in self.counts:
            context = context[:-1]
        counts = self.counts[context]
        return [(counts[x] + k) / (counts.total() + k * self.v) for x in range(self.v)]

    def adjusted(self, context):
        """Counts, or numbers of different longer contexts where there are any."""
        longer = [c for c in self.counts if len(c) == len(context) + 1 and c[:-1] == context]
        if not longer:
            return self.counts[context]
        return Counter(x for c in longer for x in self.counts[c])

    def discount(self, context):
        """D of the context's length and group."""
        alike = [c for c in self.counts if len(c) == len(context) and c[0] == context[0]]
        values = Counter(a for c in alike for a in self.adjusted(c).values())
        return values[1] / (values[1] + 2 * values[2]) if values[1] else 0.5

    def kneser_ney(self, document, i, discount=None):
        context = self.context_of(document, i)[: self.order]
        law = [1 / self.v] * self.v
        for length in range(1, len(context) + 1):
            if context[:length] not in self.counts:
                break
            counts = self.adjusted(context[:length])
            d = self.discount(context[:length]) if discount is None else discount
            left = sum(min(a, d) for a in counts.values()) / counts.total()
            law = [max(counts[x] - d, 0) / counts.total() + left * law[x] for x in range(self.v)]
        return law


def by_position(document, i):
    return (i, *reversed(document[:i]))


def tied(num_symbols):
    return lambda document, i: (0, *reversed(document[:i]), num_symbols)


SMOOTHINGS = [{"smoothing": "add_k", "add_k": 0.3}, {"smoothing": "kneser_ney"}, {"discount": 0.7}]


def reference_laws(reference, documents, smoothing):
    if smoothing.get("smoothing") == "add_k":
        return [[reference.add_k(s, i, smoothing["add_k"]) for i in range(len(s))] for s in documents]
    d = smoothing.get("discount")
    return [[reference.kneser_ney(s, i, d) for i in range(len(s))] for s in documents]


@pytest.mark.parametrize("smoothing", SMOOTHINGS)
@pytest.mark.parametrize("order", [1, 2, 3, 5])
@pytest.mark.parametrize("is_tied", [False, True])
def test_laws_are_those_of_dictionaries_of_counts(order, is_tied, smoothing):
    rng = np.random.default_rng(order)
    train = rng.choice(4, (30, 4), p=[0.5, 0.3, 0.15, 0.05])
    judged = rng.integers(0, 4, (25, 4))  # with contexts that did not occur
    model = NGramForCausalLM.fit(train, order, num_symbols=4, tied=is_tied, **smoothing)
    reference = DictionaryNGram(train.tolist(), order, 4, tied(4) if is_tied else by_position)
    expected = torch.tensor(reference_laws(reference, judged.tolist(), smoothing), dtype=torch.float64)
    laws = symbol_laws(model, judged)
    assert (laws[:, :4] - expected).abs().max() < 1e-13
    assert (laws[:, :4].sum(-1) - 1).abs().max() < 1e-13


def test_documents_of_different_lengths_and_one_text():
    rng = np.random.default_rng(5)
    text = rng.choice(5, 300, p=[0.4, 0.3, 0.2, 0.05, 0.05]).tolist()
    documents = [text[:7], text[7:8], text[8:120], text[120:]]
    judged = rng.integers(0, 5, (10, 12))
    for corpus, parts in ((documents, documents), (Dataset.from_dict({"input_ids": documents}), documents)):
        model = NGramForCausalLM.fit(corpus, 3, tied=True)
        reference = DictionaryNGram(parts, 3, 5, tied(5))
        expected = torch.tensor(reference_laws(reference, judged.tolist(), {}), dtype=torch.float64)
        assert (symbol_laws(model, judged)[:, :-1] - expected).abs().max() < 1e-13
    one = NGramForCausalLM.fit(torch.tensor(text), 3, tied=True)
    assert torch.equal(symbol_laws(one, judged), symbol_laws(NGramForCausalLM.fit([text], 3, tied=True), judged))
    assert (symbol_laws(one, judged).sum(-1) - 1).abs().max() < 1e-13  # no end: the row after the last token too


def test_long_contexts_of_a_large_vocabulary_do_not_overflow():
    tokens = np.random.default_rng(0).integers(0, 60000, (4, 40))
    tokens[1, :39] = tokens[0, :39]  # the last token of two sentences follows the same 39 tokens
    model = NGramForCausalLM.fit(tokens, 40, num_symbols=60000, smoothing="add_k", add_k=0)
    law = symbol_laws(model, tokens[:1])[0, 39]
    assert law[tokens[0, 39]] == law[tokens[1, 39]] == 0.5
    assert symbol_laws(model, tokens[2:3])[0, 39, tokens[2, 39]] == 1


def test_weighted_counts_of_all_sentences_are_the_exact_laws(small_grammar):
    tokens, probs = enumerate_sentences(small_grammar)
    exact = {"smoothing": "add_k", "add_k": 0, "weights": probs}
    judged = tokens[:: max(1, len(tokens) // 200)].astype(np.int64)
    d = small_grammar.sentence_length
    model = NGramForCausalLM.fit(tokens, d, **exact)
    assert (symbol_laws(model, judged)[:, :d] - next_token_probs(small_grammar, judged)).abs().max() < 1e-12
    for level in range(small_grammar.depth + 1):
        model = HierarchicalNGramForCausalLM.fit(tokens, small_grammar, level, **exact)
        laws = next_token_probs(small_grammar, judged, context_level=level)
        assert (symbol_laws(model, judged)[:, :d] - laws).abs().max() < 1e-12
    window = NGramForCausalLM.fit(tokens, 2, **exact)
    laws = next_token_probs(small_grammar, judged, context_length=1)
    assert (symbol_laws(window, judged)[:, :d] - laws).abs().max() < 1e-12


def test_the_hierarchical_context_is_the_parsed_left_siblings(small_grammar):
    """Counted by hand, from the derivation alone."""
    train = sentences(small_grammar, 60)
    levels = small_grammar.parse(train)

    def chain(row, i):
        found = [i]
        for level in range(small_grammar.depth):
            node, size = i // small_grammar.block_length(level), small_grammar.tuple_size_at(level + 1)
            found += [(level, int(levels[level][row, node - k])) for k in range(1, node % size + 1)]
        return tuple(found)

    rows = {tuple(s): row for row, s in enumerate(train.tolist())}
    longest = 1 + max(len(chain(0, i)) for i in range(small_grammar.sentence_length))
    reference = DictionaryNGram(
        train.tolist(), longest, small_grammar.vocab_size, lambda s, i: chain(rows[tuple(s)], i)
    )
    model = HierarchicalNGramForCausalLM.fit(train, small_grammar)
    judged = train[:10]
    expected = torch.tensor(reference_laws(reference, judged.tolist(), {}), dtype=torch.float64)
    assert (symbol_laws(model, judged)[:, :-1] - expected).abs().max() < 1e-13


def test_bos_padding_and_batches_change_nothing():
    grammar = Grammar.from_name("v5-m3-s2-L2-c3")
    train, ids = sentences(grammar, 200), with_bos(sentences(grammar, 6, seed=1), 5)
    for model in (
        NGramForCausalLM.fit(train, 3, num_symbols=5),
        NGramForCausalLM.fit(train, 3, num_symbols=5, tied=True),
        HierarchicalNGramForCausalLM.fit(train, grammar),
    ):
        rows = model(ids).logits
        assert rows.shape == (6, 5, 8)
        assert rows.dtype == torch.float64
        assert torch.equal(model(ids[:, 1:]).logits, rows[:, 1:])
        padded = torch.cat([torch.full((6, 2), model.config.pad_token_id), ids], 1)
        assert torch.equal(model(padded).logits[:, 2:], rows)
        for length in range(1, 6):
            assert torch.equal(model(ids[:2, :length]).logits, rows[:2, :length])
        assert model(ids, labels=ids).loss.item() == pytest.approx(
            -rows[:, :-1].gather(2, ids[:, 1:, None]).mean().item()
        )
        ends = rows[:, 4].exp()
        assert ends[:, : model.config.num_symbols].sum() == (6 if getattr(model.config, "tied", False) else 0)


def test_special_ids_and_ungrammatical_contexts_back_off_never_nan():
    grammar = Grammar.from_name("v4-m2-s2-L2", rules_seed=1)
    train = sentences(grammar, 100)
    plain, bigram = (NGramForCausalLM.fit(train, order, smoothing="add_k") for order in (4, 2))
    latent = HierarchicalNGramForCausalLM.fit(train, grammar)
    ids = with_bos(train[:1], 4)
    ids[0, 2] = plain.config.mask_token_id
    hidden = plain(ids).logits[0, 3]  # after the third token, the second is hidden: a bigram
    assert torch.equal(hidden, bigram(with_bos(train[:1], 4)).logits[0, 3])
    everything = torch.cartesian_prod(*[torch.arange(4)] * 4).numpy()
    for model in (plain, latent):
        laws = symbol_laws(model, everything)[:, :4]
        assert not laws.isnan().any()
        assert (laws.sum(-1) - 1).abs().max() < 1e-13
    pairs = {tuple(s) for s in train[:, :2].tolist()}
    wrong = np.array([s for s in everything.tolist() if tuple(s[:2]) not in pairs])
    assert len(wrong)
    marginal = symbol_laws(HierarchicalNGramForCausalLM.fit(train, grammar, 0), train[:1])[0, 2]
    only_level_one = symbol_laws(latent, wrong)[:, 2]  # the first tuple has no parent: nothing known at position 2
    expected = symbol_laws(NGramForCausalLM.fit(train[:, 2:3], 1, num_symbols=4), [[0]])[0, 0]
    assert (marginal - expected).abs().max() < 1e-13
    assert torch.equal(only_level_one, only_level_one[:1].expand_as(only_level_one))


@pytest.mark.parametrize("dtype", [None, torch.bfloat16])
def test_saving_and_loading_is_bit_exact(tmp_path, dtype):
    grammar = Grammar.from_name("v4-m2-s2-L3", rules_seed=1)
    train = sentences(grammar, 300)
    ids = with_bos(sentences(grammar, 20, seed=1), 4)
    for name, model in {
        "plain": NGramForCausalLM.fit(train, 4, discount=0.4),
        "tied": NGramForCausalLM.fit(train, 3, tied=True, smoothing="add_k", add_k=0.25),
        "latent": HierarchicalNGramForCausalLM.fit(train, grammar, 2),
    }.items():
        model.save_pretrained(tmp_path / name)
        config = AutoConfig.from_pretrained(tmp_path / name)
        assert (config.smoothing, config.discount) == (model.config.smoothing, model.config.discount)
        loaded = AutoModelForCausalLM.from_pretrained(tmp_path / name, **({} if dtype is None else {"dtype": dtype}))
        assert type(loaded) is type(model)
        for key, buffer in model.named_buffers():
            assert torch.equal(loaded.get_buffer(key), buffer)
        logits = loaded(ids).logits
        assert torch.equal(logits, model(ids).logits.to(logits.dtype)) or dtype is not None
        assert (logits.exp() - model(ids).logits.exp()).abs().max() < (1e-13 if dtype is None else 1e-6)
        assert torch.equal(loaded.half()(ids).logits, logits)
    assert Grammar.from_pretrained(tmp_path / "latent") == grammar
    assert loaded.grammar == grammar


def test_generate_with_saved_defaults_has_the_law_of_the_model(tmp_path):
    grammar = Grammar.from_name("v3-m2-s2-L2", rules_seed=2)
    model = NGramForCausalLM.fit(sentences(grammar, 500), 2, num_symbols=3)  # a bigram: other sentences too
    model.save_pretrained(tmp_path)
    model = AutoModelForCausalLM.from_pretrained(tmp_path)
    torch.manual_seed(0)
    out = model.generate(torch.full((4000, 1), 3))
    assert out.shape == (4000, 5)
    everything = torch.cartesian_prod(*[torch.arange(3)] * 4)
    laws = symbol_laws(model, everything.numpy())[:, :4]
    probs = laws.gather(2, everything[..., None])[..., 0].prod(1).numpy()
    assert probs.sum() == pytest.approx(1)
    counts = np.bincount((out[:, 1:] * torch.tensor([27, 9, 3, 1])).sum(1).numpy(), minlength=81)
    possible = probs > 0
    assert counts[~possible].sum() == 0
    statistic = (((counts - 4000 * probs) ** 2)[possible] / (4000 * probs[possible])).sum()
    cells = possible.sum() - 1
    assert abs(statistic - cells) < 5 * math.sqrt(2 * cells)
    text = NGramForCausalLM.fit(np.arange(1000) % 3, 2, tied=True, smoothing="add_k", add_k=0)
    assert text.generate(torch.tensor([[1]]), max_new_tokens=7).tolist() == [[1, 2, 0, 1, 2, 0, 1, 2]]


def test_rhm_kl_judges_them_like_any_model():
    grammar = Grammar.from_name("v4-m2-s2-L3", rules_seed=0)
    metric = load_metric("rhm_kl")
    tokens, probs = enumerate_sentences(grammar)
    exact = {"smoothing": "add_k", "add_k": 0, "weights": probs}
    perfect = HierarchicalNGramForCausalLM.fit(tokens, grammar, **exact)
    assert abs(metric.compute(model=perfect)["kl"]) < 1e-9  # the grammar is the model's own
    trigram = NGramForCausalLM.fit(tokens, 3, **exact)
    window = metric.compute(model=RHMForCausalLM.from_grammar(grammar, context_length=2))["kl"]
    assert metric.compute(model=trigram, grammar=grammar)["kl"] == pytest.approx(window)
    assert window > 0.05
    few = sentences(grammar, 40)
    smooth = metric.compute(model=NGramForCausalLM.fit(few, 3, num_symbols=4, discount=0.5), grammar=grammar)
    assert 0 < smooth["kl"] < math.inf
    assert smooth["num_infinite"] == 0
    rough = NGramForCausalLM.fit(few, 3, num_symbols=4, smoothing="add_k", add_k=0)
    result = metric.compute(model=rough, grammar=grammar)
    assert result["kl"] == math.inf
    assert result["num_infinite"] > 0


def half_way_points(grammar, fit, sizes) -> list[float]:
    """The P at which the loss at the last token is half way between plateau ℓ-1 and plateau ℓ, for ℓ = 1, 2, .."""
    fresh = sentences(grammar, 4000, seed=1)
    law = next_token_probs(grammar, fresh)[:, -1]
    losses = []
    for size in sizes:
        log_q = symbol_laws(fit(sentences(grammar, size)), fresh)[:, -2].log()
        losses.append(-torch.where(law > 0, law * log_q, 0).sum(1).mean().item())
    plateaus = [position_entropies(grammar, level)[-1].item() for level in range(grammar.depth + 1)]
    middles = [(a + b) / 2 for a, b in zip(plateaus[1:], plateaus[:-1], strict=True)]
    assert losses[0] > middles[0]
    # Losses fall with P, so both are increasing here.
    return np.exp(np.interp(middles, losses[::-1], np.log(sizes)[::-1])).tolist()


def test_half_way_points_of_the_learning_curves_are_those_of_the_theory():
    """v m^ℓ in latent space, v m^((s^ℓ - 1)/(s - 1)) for tokens, within a factor of 3 (measured: 0.9 to 2.8)."""
    grammar = Grammar.from_name("v16-m4-s2-L3", rules_seed=0)
    sizes = [2**k for k in range(4, 14)]
    latent = half_way_points(grammar, lambda train: HierarchicalNGramForCausalLM.fit(train, grammar), sizes)
    for level, measured in enumerate(latent, start=1):
        expected = theory.sample_complexity(grammar.parameters, level, task="hierarchical_ngram")
        assert expected / 1.5 < measured < 3 * expected
    plain = half_way_points(grammar, lambda train: NGramForCausalLM.fit(train, 4, num_symbols=16), sizes)
    for level, measured in enumerate(plain[:2], start=1):
        expected = theory.sample_complexity(grammar.parameters, level, task="ngram")
        assert expected / 1.5 < measured < 3 * expected
    assert plain[1] > 2.5 * latent[1]


def test_datasets_are_corpora():
    grammar = Grammar.from_name("v4-m2-s2-L2")
    train = sentences(grammar, 50)
    dataset = Dataset.from_dict({"input_ids": train.tolist()})
    fixed = dataset.cast_column(
        "input_ids", dataset.features["input_ids"].__class__(dataset.features["input_ids"].feature, length=4)
    )
    for corpus in (dataset, fixed, dataset.select(range(50)), train.tolist(), torch.from_numpy(train)):
        model = NGramForCausalLM.fit(corpus, 3)
        assert torch.equal(symbol_laws(model, train), symbol_laws(NGramForCausalLM.fit(train, 3), train))
    part = NGramForCausalLM.fit(fixed.select(range(10, 30)), 3)
    assert torch.equal(symbol_laws(part, train), symbol_laws(NGramForCausalLM.fit(train[10:30], 3), train))
    latent = HierarchicalNGramForCausalLM.fit(fixed, grammar)
    assert torch.equal(
        symbol_laws(latent, train), symbol_laws(HierarchicalNGramForCausalLM.fit(train, grammar), train)
    )


def test_an_unfitted_model_is_uniform():
    model = AutoModelForCausalLM.from_config(NGramConfig(num_symbols=4, sentence_length=3))
    assert torch.allclose(symbol_laws(model, [[0, 1]]), torch.full((1, 3, 4), 0.25, dtype=torch.float64))


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"order": 0}, "order=0 is out of range: it must be an integer >= 1"),
        ({"order": 2.0}, r"order=2\.0 is not an integer"),
        ({"input_ids": []}, "input_ids is empty"),
        ({"input_ids": [[0.5, 1.0]]}, "dtype float64: symbols must be integers"),
        ({"input_ids": [[0, -1]]}, "holds -1, out of range"),
        ({"num_symbols": 0}, "num_symbols=0 is out of range"),
        ({"num_symbols": 3}, "holds 3, out of range: num_symbols=3"),
        ({"input_ids": np.zeros((2, 2, 2), int)}, r"shape \(2, 2, 2\)"),
        ({"input_ids": [[1, 2], [3]]}, "different lengths.*tied=True"),
        ({"input_ids": [[[1], [2, 3]], [[1]]]}, "input_ids"),
        ({"smoothing": "laplace"}, "smoothing='laplace' is unknown: .*kneser_ney, add_k"),
        ({"add_k": -1}, "add_k=-1 must be a number >= 0"),
        ({"add_k": math.nan}, "add_k=nan"),
        ({"discount": 1.5}, r"discount=1\.5 must be a number from 0 to 1"),
        ({"weights": np.ones(3)}, "weights need smoothing='add_k'"),
        ({"weights": np.ones(2), "smoothing": "add_k"}, r"weights has shape \(2,\): one for each of the 3"),
        ({"weights": [1, -1, 1], "smoothing": "add_k"}, "weights must be finite and >= 0"),
        ({"weights": [0, 0, 0], "smoothing": "add_k"}, "not all 0"),
        ({"input_ids": Dataset.from_dict({"text": ["a"]})}, "no column 'input_ids': it has text"),
        ({"input_ids": Dataset.from_dict({"input_ids": ["a"]})}, "holds string: it must hold lists of ids"),
        ({"input_ids": Dataset.from_dict({"input_ids": [[1, 2]]}).to_iterable_dataset()}, "that is not streamed"),
        (
            {"input_ids": DatasetDict(train=Dataset.from_dict({"input_ids": [[1]]}))},
            "is a DatasetDict: pass one split",
        ),
    ],
)
def test_bad_input_is_refused_with_the_argument_named(change, message):
    with pytest.raises(ValueError, match=message):
        NGramForCausalLM.fit(**{"input_ids": [[0, 1, 2, 3], [3, 2, 1, 0], [0, 0, 0, 0]], "order": 2} | change)


def test_bad_input_of_the_hierarchical_model_and_of_calls():
    grammar = Grammar.from_name("v4-m2-s2-L2", rules_seed=1)
    train = sentences(grammar, 10)
    for bad, message in (
        ({"input_ids": train[:, :3]}, "input_ids must hold sentences of 4 tokens, those of v4-m2-s2-L2"),
        ({"input_ids": np.zeros((1, 4), int) + np.array([[0, 0, 0, 7]])}, "7.*out of range"),
        ({"input_ids": train[:0]}, "input_ids is empty"),
        ({"context_level": 3}, "context_level=3 is out of range"),
        ({"smoothing": "none"}, "smoothing='none'"),
        ({"weights": np.ones(10)}, "weights need smoothing='add_k'"),
    ):
        with pytest.raises(ValueError, match=message):
            HierarchicalNGramForCausalLM.fit(**{"input_ids": train, "grammar": grammar} | bad)
    wrong = next(s for s in np.ndindex(4, 4, 4, 4) if s not in {tuple(t) for t in enumerate_sentences(grammar)[0]})
    with pytest.raises(ValueError, match="ungrammatical"):
        HierarchicalNGramForCausalLM.fit([wrong], grammar)
    with pytest.raises(ValueError, match="context_length=2: hierarchical contexts are cut by level"):
        HierarchicalNGramConfig.from_grammar(grammar, context_length=2)
    model = NGramForCausalLM.fit(train, 2, num_symbols=4)
    with pytest.raises(ValueError, match="input_ids holds -100, out of range: this model has ids 0 to 6"):
        model(torch.tensor([[4, -100]]))
    with pytest.raises(ValueError, match=r"input_ids has shape \(2, 0\)"):
        model(torch.zeros(2, 0, dtype=torch.long))
    assert model(torch.zeros(0, 2, dtype=torch.long)).logits.shape == (0, 2, 7)


@pytest.mark.cuda
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device, this machine has none")
def test_cpu_and_gpu_have_the_same_laws():
    grammar = Grammar.from_name("v16-m4-s2-L3")
    train, ids = sentences(grammar, 2000), with_bos(sentences(grammar, 50, seed=1), 16)
    for model in (NGramForCausalLM.fit(train, 5, num_symbols=16), HierarchicalNGramForCausalLM.fit(train, grammar)):
        expected = model(ids).logits
        found = model.cuda()(ids.cuda()).logits
        assert found.is_cuda
        assert torch.allclose(found.cpu().exp(), expected.exp(), rtol=0, atol=1e-13)
