"""context_loss: exact laws of grammars, Markov models that saturate at their order, plain loops, bad input."""

import json
import math
import pydoc_data.topics

import numpy as np
import pytest
import torch
from scipy.optimize import isotonic_regression
from transformers import (
    BertConfig,
    BertForMaskedLM,
    Gemma2Config,
    Gemma2ForCausalLM,
    GPT2Config,
    GPT2LMHeadModel,
    PretrainedConfig,
    PreTrainedModel,
)
from transformers.modeling_outputs import CausalLMOutput

from rhm_hf import Grammar, NGramForCausalLM, RHMForCausalLM, RHMForMaskedLM, char_corpus, load_metric
from rhm_hf.grammar.enumeration import enumerate_sentences
from rhm_hf.inference import position_entropies
from rhm_hf.metrics.context_loss import fit_decay, log_spaced, loss_by_context, saturation
from rhm_hf.metrics.context_loss import reader as reader_module
from rhm_hf.metrics.context_loss.reader import Reader
from rhm_hf.metrics.context_loss.saturation import _places


SYMBOLS, BOS = 3, 3


@pytest.fixture(autouse=True)
def one_thread():
    """These models are tiny: threads would only wait for each other."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


class MarkovConfig(PretrainedConfig):
    model_type = "markov_of_a_test"


class MarkovForCausalLM(PreTrainedModel):
    """The exact law of a stationary Markov chain of order k given the last min(n, k) tokens after BOS.

    `laws[n]` has shape `(symbols,) * n + (symbols,)`. Its loss saturates at k, exactly.
    """

    config_class = MarkovConfig
    base_model_prefix = ""

    def __init__(self, laws):
        super().__init__(MarkovConfig(vocab_size=SYMBOLS + 1, bos_token_id=BOS, max_position_embeddings=512))
        self.anchor = torch.nn.Parameter(torch.zeros(()))
        self.laws = laws

    def get_output_embeddings(self):
        return None

    def forward(self, input_ids, attention_mask=None):
        tokens = input_ids[:, 1:] if (input_ids[:, 0] == BOS).all() else input_ids
        shift = input_ids.shape[1] - tokens.shape[1]
        logits = torch.full((*input_ids.shape, SYMBOLS + 1), -math.inf, dtype=torch.float64)
        for i in range(input_ids.shape[1]):
            seen = i + 1 - shift
            n = min(seen, len(self.laws) - 1)
            law = self.laws[n][tuple(tokens[:, seen - n : seen].T)] if n else self.laws[0].expand(len(tokens), -1)
            logits[:, i, :SYMBOLS] = law.log()
        return CausalLMOutput(logits=logits)


def markov(order: int, seed: int = 0):
    """A model, its exact conditional entropies H_0 .. H_order, and a sampler of documents."""
    rng = np.random.default_rng(seed)
    kernel = rng.dirichlet(np.full(SYMBOLS, 0.5), size=(SYMBOLS,) * order)
    joint = np.full((SYMBOLS,) * order, SYMBOLS**-order)  # stationary law of `order` tokens in a row
    for _ in range(5000):
        joint = (joint[..., None] * kernel).sum(0)
    joint = joint[..., None] * kernel  # of order + 1 tokens in a row
    laws, entropies = [], []
    for n in range(order + 1):
        context = joint.sum(tuple(range(order - n)))
        law = context / context.sum(-1, keepdims=True)
        laws.append(torch.from_numpy(law))
        entropies.append(float(-(context * np.log(law)).sum()))

    def sample(documents: int, length: int) -> np.ndarray:
        flat = joint.sum(-1).ravel()
        state = np.stack(np.unravel_index(rng.choice(len(flat), documents, p=flat), (SYMBOLS,) * order), 1)
        tokens = np.empty((documents, length), dtype=np.int64)
        tokens[:, :order] = state
        for i in range(order, length):
            law = kernel[tuple(tokens[:, i - order : i].T)]
            tokens[:, i] = (rng.random((documents, 1)) > law.cumsum(1)[:, :-1]).sum(1)
        return tokens

    return MarkovForCausalLM(laws), entropies, sample


def gpt2(vocab_size=20, bos=None, positions=64, seed=0, scale=4.0, **kwargs):
    torch.manual_seed(seed)
    bos = vocab_size - 1 if bos is None else bos
    config = GPT2Config(
        vocab_size=vocab_size, n_positions=positions, n_embd=16, n_layer=2, n_head=2, bos_token_id=bos, **kwargs
    )
    model = GPT2LMHeadModel(config).eval()
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.mul_(scale)
    return model


def bert(vocab_size=20, seed=0, **kwargs):
    torch.manual_seed(seed)
    config = BertConfig(
        vocab_size=vocab_size,
        hidden_size=16,
        num_hidden_layers=2,
        num_attention_heads=2,
        intermediate_size=32,
        max_position_embeddings=32,
        **kwargs,
    )
    return BertForMaskedLM(config).eval()


def documents_of_tokens(count=6, low=30, high=60, ids=10, seed=0):
    rng = np.random.default_rng(seed)
    return [rng.integers(ids, size=rng.integers(low, high)) for _ in range(count)]


@pytest.mark.parametrize("order", [1, 2, 3])
@pytest.mark.parametrize("paired", [True, False])
def test_a_markov_model_saturates_at_its_order_with_its_entropies(order, paired):
    model, entropies, sample = markov(order, seed=order)
    result = loss_by_context(model, sample(64, 200), max_context=12, paired=paired, num_windows=3000)
    for n, loss, stderr in zip(result["context_lengths"], result["loss"], result["loss_stderr"], strict=True):
        assert 0 < stderr < 0.05
        assert abs(loss - entropies[min(n, order)]) < 5 * stderr
    assert entropies[order - 1] - entropies[order] > 0.03  # saturation is there to be seen
    low, high = result["n_sat_interval"]
    assert low <= order <= high
    assert result["n_sat_estimate"] in result["context_lengths"]
    if paired:
        assert (result["n_sat"], result["n_sat_status"], result["n_sat_windows"]) == (order, "decided", None)
        assert (low, high) == (order, order)
    assert result["mode"] == ("paired" if paired else "one pass")
    assert result["num_rows"] == result["num_documents"] == 64
    if paired:
        after = result["context_lengths"].index(order)
        assert result["delta"][after:] == [0.0] * len(result["delta"][after:])


def test_paired_differences_are_sharper_than_those_of_one_pass():
    model, _, sample = markov(2, seed=2)
    tokens = sample(64, 200)
    kwargs = {"max_context": 12, "num_windows": 2000}
    paired, fast = (loss_by_context(model, tokens, paired=p, **kwargs) for p in (True, False))
    for n in range(3):
        difference = paired["delta"][n] - fast["delta"][n]
        assert abs(difference) < 5 * math.hypot(paired["delta_stderr"][n], fast["delta_stderr"][n])
        assert paired["delta_stderr"][n] < fast["delta_stderr"][n]


def plain_losses(model, windows, prefix, lengths, paired=True) -> np.ndarray:
    """Losses (windows, lengths), one call of the model for each."""
    losses = np.empty((len(windows), len(lengths)))
    for i, window in enumerate(windows):
        for j, n in enumerate(lengths):
            visible = window[len(window) - 1 - n : -1] if paired else window[:n]
            target = window[-1] if paired else window[n]
            with torch.no_grad():
                logits = model(input_ids=torch.tensor([[*prefix, *visible]])).logits[0, -1].double()
            losses[i, j] = -logits.log_softmax(-1)[target]
    return losses


@pytest.mark.parametrize("paired", [True, False])
@pytest.mark.parametrize("bos", ["auto", False, 15])
def test_all_windows_against_plain_loops(paired, bos):
    model, documents = gpt2(), documents_of_tokens(3, 8, 12)
    result = loss_by_context(model, documents, max_context=6, paired=paired, bos=bos, num_windows=10**6, batch_size=4)
    windows = [d[i : i + 7] for d in documents for i in range(len(d) - 6)]
    prefix = {"auto": [19], False: [], 15: [15]}[bos]
    assert result["context_lengths"] == [0, 1, 2, 3, 4, 6][0 if prefix else 1 :]
    assert result["num_windows"] == len(windows)
    expected = plain_losses(model, windows, prefix, result["context_lengths"], paired)
    assert np.allclose(result["loss"], expected.mean(0), rtol=1e-5)
    assert np.allclose(result["delta"], (expected - expected[:, -1:]).mean(0), atol=1e-5)


@pytest.mark.parametrize("targets", [2, 4, 8])
@pytest.mark.parametrize("bos", ["auto", False])
def test_targets_in_a_row_against_plain_loops(targets, bos):
    """Every target of a window, read by itself with the tokens that its pass lets it see."""
    model, documents, longest = gpt2(positions=160), documents_of_tokens(2, 142, 145), 130
    options = {"max_context": longest, "targets_per_window": targets, "bos": bos, "per": "token"}
    result = loss_by_context(model, documents, num_windows=10**6, **options)
    width, prefix = longest + targets, [] if bos is False else [19]
    windows = [d[i : i + width] for d in documents for i in range(len(d) - width + 1)]
    assert result["num_windows"] == len(windows)
    assert result["targets_per_window"] == targets
    expected = np.zeros((len(windows), len(result["context_lengths"])))
    for j, n in enumerate(result["context_lengths"]):
        served = max(k for k in (1, 2, 4, 8) if k <= targets and k <= max(1, n // 16))
        for t in range(targets):
            seen = n - served // 2 + t % served
            assert abs(seen - n) <= n / 32
            alone = [window[longest + t - seen : longest + t + 1] for window in windows]
            expected[:, j] += plain_losses(model, alone, prefix, [seen])[:, 0] / targets
    assert np.allclose(result["loss"], expected.mean(0), rtol=1e-5)
    assert np.allclose(result["delta"], (expected - expected[:, -1:]).mean(0), atol=1e-5)


def test_several_targets_are_the_same_estimate_from_fewer_passes(monkeypatch):
    """The exact entropies within errors, and errors of differences as small as those of as many single targets."""
    model, entropies, sample = markov(2, seed=2)
    tokens, read, shown = sample(64, 400), Reader.truncated, []
    monkeypatch.setattr(
        Reader, "truncated", lambda self, tokens, n: shown.append(tokens.numel()) or read(self, tokens, n)
    )
    found, cost = {}, {}
    for windows, targets in ((512, 1), (64, 8)):
        shown.clear()
        found[targets] = loss_by_context(
            model,
            tokens,
            max_context=200,
            num_windows=windows,
            targets_per_window=targets,
            context_lengths=[0, 1, 200],
        )
        cost[targets] = sum(shown)
    for n, entropy in enumerate(entropies[:2]):
        result = found[8]
        assert abs(result["loss"][n] - entropy) < 4 * result["loss_stderr"][n]
        assert 0.6 < result["delta_stderr"][n] / found[1]["delta_stderr"][n] < 1.6
    assert cost[8] < cost[1] / 5


def test_masked_models_against_plain_loops():
    model, documents = bert(), documents_of_tokens(3, 8, 12)
    result = loss_by_context(model, documents, max_context=5, mask_token_id=18, num_windows=10**6)
    windows = [d[i : i + 6] for d in documents for i in range(len(d) - 5)]
    assert result["context_lengths"] == [0, 1, 2, 3, 4, 5]
    assert result["bos"] is None
    for j, n in enumerate(result["context_lengths"]):
        losses = []
        for window in windows:
            with torch.no_grad():
                logits = model(input_ids=torch.tensor([[*window[5 - n : -1], 18]])).logits[0, -1].double()
            losses.append(-logits.log_softmax(-1)[window[-1]].item())
        assert result["loss"][j] == pytest.approx(np.mean(losses), rel=1e-5)


@pytest.mark.parametrize("name", ["v4-m2-s2-L2", "v3-m2-s3-L2"])
def test_the_masked_oracle_gives_the_exact_entropies_of_the_last_token(name):
    grammar = Grammar.from_name(name, rules_seed=1)
    tokens, probs = enumerate_sentences(grammar)
    assert np.ptp(probs) < 1e-15  # all sentences, each once, are the law
    result = loss_by_context(
        RHMForMaskedLM.from_grammar(grammar), tokens, windows="rows", context_lengths=range(tokens.shape[1])
    )
    for n, loss in zip(result["context_lengths"], result["loss"], strict=True):
        _, inverse = np.unique(tokens[:, tokens.shape[1] - 1 - n : -1], axis=0, return_inverse=True)
        joint = np.bincount(inverse * grammar.vocab_size + tokens[:, -1], probs)
        context = np.bincount(inverse, probs)
        entropy = (context * np.log(context)).sum() - (joint[joint > 0] * np.log(joint[joint > 0])).sum()
        assert loss == pytest.approx(entropy, abs=1e-12)
    assert result["mode"] == "paired"
    assert result["num_rows"] == len(tokens)


@pytest.mark.parametrize("window", [None, 1, 2])
def test_the_causal_oracle_gives_the_exact_entropies_of_every_position(window):
    grammar = Grammar.from_name("v4-m2-s2-L2", rules_seed=1)
    tokens, probs = enumerate_sentences(grammar)
    oracle = RHMForCausalLM.from_grammar(grammar, context_length=window)
    result = loss_by_context(oracle, tokens, windows="rows", context_lengths=range(4))
    for i, loss in enumerate(result["loss"]):
        _, inverse = np.unique(tokens[:, max(0, i - (window or i)) : i], axis=0, return_inverse=True)
        joint = np.bincount(inverse * 4 + tokens[:, i], probs)
        context = np.bincount(inverse, probs)
        entropy = (context * np.log(context)).sum() - (joint[joint > 0] * np.log(joint[joint > 0])).sum()
        assert loss == pytest.approx(entropy, abs=1e-12)
    if window is None:
        assert np.allclose(result["loss"], position_entropies(grammar, 2), atol=1e-12)
    assert result["n_sat"] is None  # each place has targets of its own
    assert result["gamma"] is None


def test_rows_of_an_rhm_dataset_are_judged_as_they_are(tmp_path):
    from datasets import DatasetDict, load_dataset

    sizes = {"train_size": 0, "validation_size": 0, "test_size": 50}
    rows = load_dataset("rhm", "v16-m4-s2-L3", cache_dir=tmp_path, **sizes)["test"]
    model = gpt2(19, bos=16, positions=9)
    result = load_metric("context_loss").compute(input_ids=rows["input_ids"], model=model, windows="rows")
    assert result["context_lengths"] == [0, 1, 2, 3, 4, 6, 7]
    expected = plain_losses(model, np.array(rows["input_ids"]), [16], result["context_lengths"], paired=False)
    assert np.allclose(result["loss"], expected.mean(0), rtol=1e-5)
    assert load_metric("context_loss").compute(input_ids=rows, model=model, windows="rows") == result
    for wrong, what in ((DatasetDict({"test": rows}), "several splits"), (rows.to_iterable_dataset(), "streaming")):
        with pytest.raises(ValueError, match=f"input_ids is a .*{what}"):
            load_metric("context_loss").compute(input_ids=wrong, model=model, windows="rows")


def test_tokens_hidden_in_place_do_not_matter_and_the_others_keep_their_positions():
    model, rng = gpt2(), np.random.default_rng(0)
    rows = rng.integers(10, size=(40, 9))
    kwargs = {"windows": "rows", "paired": True, "context_lengths": [0, 2, 8]}
    result = loss_by_context(model, rows, **kwargs)
    others = rows.copy()
    others[:, :6] = rng.integers(10, size=(40, 6))
    changed = loss_by_context(model, others, **kwargs)
    assert np.allclose(changed["loss"][:2], result["loss"][:2], rtol=1e-5)  # n = 0 and 2 see the last two at most
    assert abs(changed["loss"][2] - result["loss"][2]) > 1e-3
    assert result["loss"][2] == pytest.approx(plain_losses(model, rows, [19], [8]).mean(), rel=1e-5)
    out_of_place = plain_losses(model, rows, [19], [2]).mean()  # at positions 1 and 2 instead of 7 and 8
    assert abs(result["loss"][1] - out_of_place) > 1e-3
    assert np.isfinite(loss_by_context(model, rows, bos=False, **kwargs | {"context_lengths": [1, 8]})["loss"]).all()


def test_the_head_in_chunks_or_as_a_whole_changes_nothing(monkeypatch):
    model, documents = gpt2(), documents_of_tokens()
    options = {"max_context": 20, "num_windows": 40, "paired": False}
    whole = loss_by_context(model, documents, **options)
    heads = []
    model.lm_head.register_forward_hook(lambda module, inputs, logits: heads.append(logits.numel()))
    monkeypatch.setattr(reader_module, "LOGITS_CHUNK", 60)  # 3 positions of 20 ids
    chunked = loss_by_context(model, documents, **options, batch_size=7)
    first = 6  # calls that find out what the model is, and compare the ways
    assert max(heads[first:]) == 60
    assert len(heads) == first + sum(-(-min(7, 40 - i) * 21 // 3) for i in range(0, 40, 7))
    assert np.allclose(chunked["loss"], whole["loss"], rtol=1e-6)
    monkeypatch.setattr(reader_module, "_splits", lambda *args: False)
    unsplit = loss_by_context(model, documents, **options)
    assert np.allclose(unsplit["loss"], whole["loss"], rtol=1e-6)


def test_models_that_cap_their_logits_are_read_through_their_own_forward():
    torch.manual_seed(0)
    config = Gemma2Config(
        vocab_size=20,
        hidden_size=16,
        intermediate_size=32,
        num_hidden_layers=1,
        num_attention_heads=2,
        num_key_value_heads=2,
        head_dim=8,
        max_position_embeddings=64,
        final_logit_softcapping=2.0,
        bos_token_id=19,
    )
    model = Gemma2ForCausalLM(config).eval()
    with torch.no_grad():
        model.lm_head.weight.mul_(50)
    documents = documents_of_tokens(2, 8, 10)
    windows = [d[i : i + 7] for d in documents for i in range(len(d) - 6)]
    for paired in (True, False):
        result = loss_by_context(model, documents, max_context=6, paired=paired, num_windows=10**6)
        expected = plain_losses(model, windows, [19], result["context_lengths"], paired)
        assert np.allclose(result["loss"], expected.mean(0), rtol=1e-5)


def test_half_precision_models_are_judged_in_single_precision():
    model, documents = gpt2(scale=1.0).bfloat16(), documents_of_tokens(2, 12, 14)
    result = loss_by_context(model, documents, max_context=8, num_windows=50)
    windows = [d[i : i + 9] for d in documents for i in range(len(d) - 8)]
    exact = loss_by_context(gpt2(scale=1.0), documents, max_context=8, num_windows=50)
    assert np.allclose(result["loss"], exact["loss"], atol=0.01)
    everything = loss_by_context(model, documents, max_context=8, num_windows=10**6, paired=True)
    assert np.allclose(everything["loss"], plain_losses(model, windows, [19], everything["context_lengths"]).mean(0))


def char_model():
    corpus = char_corpus_of_topics()
    v = corpus.num_symbols
    return gpt2(v + 3, bos=v), corpus


def char_corpus_of_topics():
    import datasets

    texts = [text[:400] for text in list(pydoc_data.topics.topics.values())[:40]]
    return char_corpus(datasets.Dataset.from_dict({"text": texts}))


def test_characters_as_texts_and_as_ids_give_the_same():
    model, corpus = char_model()
    texts = [corpus.tokenizer.decode(d) for d in corpus.splits["train"].documents]
    kwargs = {"max_context": 16, "num_windows": 60}
    by_ids = loss_by_context(model, corpus.splits["train"], **kwargs)
    by_text = loss_by_context(model, texts=texts, tokenizer=corpus.tokenizer, **kwargs)
    assert by_ids == by_text
    assert by_ids["characters_per_token"] == 1
    per_character = loss_by_context(model, corpus.splits["train"], per="character", **kwargs)
    assert per_character["loss"] == by_ids["loss"]


def words_tokenizer(texts):
    from tokenizers import Tokenizer, decoders
    from tokenizers.models import BPE
    from tokenizers.pre_tokenizers import ByteLevel
    from tokenizers.trainers import BpeTrainer
    from transformers import PreTrainedTokenizerFast

    backend = Tokenizer(BPE())
    backend.pre_tokenizer = ByteLevel(add_prefix_space=False)
    backend.decoder = decoders.ByteLevel()
    trainer = BpeTrainer(
        vocab_size=400, special_tokens=["<s>"], initial_alphabet=ByteLevel.alphabet(), show_progress=False
    )
    backend.train_from_iterator(texts, trainer)
    return PreTrainedTokenizerFast(tokenizer_object=backend, bos_token="<s>")


def test_losses_per_character_are_those_per_token_over_the_characters_of_the_targets():
    texts = [text[:250] + " naïve \U0001f600" for text in list(pydoc_data.topics.topics.values())[:10]]
    tokenizer = words_tokenizer(texts)
    model = gpt2(len(tokenizer), bos=tokenizer.bos_token_id, scale=1.0)
    kwargs = {"texts": texts, "tokenizer": tokenizer, "max_context": 8, "num_windows": 10**6}
    per_token, per_character = (
        loss_by_context(model, per=per, paired=True, **kwargs) for per in ("token", "character")
    )
    kept = [len(tokenizer(text)["input_ids"]) for text in texts]
    assert per_token["characters_per_token"] == pytest.approx(sum(map(len, texts)) / sum(kept))
    assert 1.5 < per_token["characters_per_token"] < 6
    characters = 0
    for text in texts:
        ids = tokenizer(text)["input_ids"]
        characters += len(text) - len(tokenizer.decode(ids[:8]))  # of all targets: those after the first 8 tokens
    ratio = characters / per_token["num_windows"]
    assert np.allclose(np.array(per_token["loss"]) / ratio, per_character["loss"], rtol=1e-9)
    fast = loss_by_context(model, per="character", paired=False, **kwargs)
    assert np.allclose(fast["loss"], per_character["loss"], rtol=0.1)  # other targets: all but the last few


@pytest.mark.parametrize("order", [2, 3])
def test_an_ngram_model_of_english_saturates_one_before_its_order(order):
    corpus = char_corpus_of_topics()
    train = NGramForCausalLM.fit(corpus.splits["train"].documents, order, tied=True, num_symbols=corpus.num_symbols)
    arguments = {"max_context": 12, "num_windows": 1000}
    result = loss_by_context(train, corpus.splits["train"], paired=True, **arguments)
    assert result["n_sat"] == result["n_sat_relative"] == order - 1
    assert result["delta"][order - 1 :] == [0] * len(result["delta"][order - 1 :])
    fast = loss_by_context(train, corpus.splits["train"], paired=False, **arguments)
    low, high = fast["n_sat_relative_interval"]
    assert low <= order - 1 <= high
    beyond = zip(fast["delta"][order - 1 :], fast["delta_stderr"][order - 1 :], strict=True)
    assert all(abs(delta) <= 4.5 * error for delta, error in beyond)


def test_few_documents_are_cut_into_blocks_and_their_errors_are_right():
    """The spread of the estimate over fresh texts is what the standard error says."""
    model, _, sample = markov(1, seed=5)
    results = [
        loss_by_context(model, sample(1, 4000)[0], max_context=4, num_windows=300, context_lengths=[1], seed=i)
        for i in range(30)
    ]
    assert all(30 < r["num_rows"] <= 64 and r["num_documents"] == 1 for r in results)
    spread = np.std([r["loss"][0] for r in results], ddof=1)
    assert 0.6 < np.mean([r["loss_stderr"][0] for r in results]) / spread < 1.6


class _Share:
    """One process of an accelerator; `reduce` collects what it is given."""

    def __init__(self, index, of, collected):
        self.process_index, self.num_processes, self.collected = index, of, collected

    def unwrap_model(self, model):
        return model

    def reduce(self, tensor, reduction):
        assert reduction == "sum"
        self.collected.append(tensor.clone())
        return tensor + 1e-9  # a row that no window of this process fell into must not divide by 0 here


def test_the_shares_of_several_processes_add_up_to_the_whole():
    model, documents = gpt2(), documents_of_tokens()
    whole = loss_by_context(model, documents, max_context=8, num_windows=41)
    parts = []
    for index in range(3):
        collected = []
        loss_by_context(model, documents, max_context=8, num_windows=41, accelerator=_Share(index, 3, collected))
        parts.append(collected)
    sums, counts = (sum(part[i] for part in parts) for i in range(2))
    assert counts.sum() == 41
    assert np.allclose(sums.sum(0) / counts.sum(), whole["loss"], rtol=1e-6)


@pytest.mark.parametrize("gamma", [0.3, 1.0, 2.5])
def test_the_exponent_of_a_power_law_is_found_with_its_interval(gamma):
    lengths = [n for n in log_spaced(128) if n >= 1]
    rng = np.random.default_rng(0)
    exact = 1.2 + 0.8 * np.array(lengths) ** -gamma
    noise = rng.normal(size=(200, 1)) + 0.05 * rng.normal(size=(200, len(lengths)))  # mostly common to all n
    counts = torch.from_numpy(rng.integers(1, 9, size=200).astype(float))
    sums = torch.from_numpy(exact + 0.3 * noise) * counts[:, None]
    fit = fit_decay(lengths, sums, counts)
    low, high = fit["gamma_interval"]
    assert low < gamma < high
    assert np.ptp(fit["gamma_statistical_interval"]) < 0.5 * gamma
    assert low < fit["gamma"] < high
    noiseless = fit_decay(lengths, torch.from_numpy(exact) * counts[:, None], counts)
    assert noiseless["gamma"] == pytest.approx(gamma, rel=2e-3)
    assert noiseless["loss_inf"] == pytest.approx(1.2, abs=2e-3)


def test_what_is_no_power_law_has_no_exponent():
    lengths, ones = [1, 2, 4, 8, 16], torch.ones(20, dtype=torch.float64)
    rising = torch.tensor([1.0, 1.1, 1.3, 1.4, 1.5], dtype=torch.float64).expand(20, -1)
    abrupt = torch.tensor([2.0, 1.0, 1.0, 1.0, 1.0], dtype=torch.float64).expand(20, -1)
    for sums in (rising, abrupt, torch.full((20, 5), math.inf, dtype=torch.float64)):
        assert fit_decay(lengths, sums, ones)["gamma"] is None
    falling = 1 / torch.tensor(lengths, dtype=torch.float64).expand(20, -1)
    assert fit_decay(lengths, falling, ones)["gamma"] == pytest.approx(1, rel=2e-3)
    assert fit_decay(lengths[:3], falling[:, :3], ones)["gamma"] is None
    assert fit_decay(lengths, falling[:5], ones[:5])["gamma"] is None


GRID = [0, 1, 2, 3, 4, 6, 8, 11, 16, 23, 32, 45, 64]


def noisy_rows(losses, rows, noise, seed=0, lengths=GRID):
    """Rows of losses whose differences have more noise the more their lengths differ."""
    steps = noise * np.random.default_rng(seed).normal(size=(rows, len(lengths)))
    common = np.random.default_rng(seed + 1).normal(size=(rows, 1))
    sums = np.asarray(losses) + steps[:, ::-1].cumsum(1)[:, ::-1] + common
    return torch.from_numpy(sums), torch.ones(rows, dtype=torch.float64)


EXPONENTIAL = 1 + 2 * np.exp(-np.array(GRID) / 3.0)  # within .01 of its end from 16 on, within 5 % of 2 from 11 on


def test_saturation_of_exact_losses_is_read_off_them():
    sums, counts = noisy_rows(EXPONENTIAL, 20, 0.0)
    found = saturation(GRID, sums, counts, 20)
    assert (found.value, found.interval, found.status, found.windows) == (16, (16, 16), "decided", None)
    assert saturation(GRID, sums, counts, 20, tolerance=0.05, relative=True).value == 11
    assert saturation(GRID, sums, counts, 20, tolerance=10).value == 0
    for scale in (7.0, 1.0):  # losses per character: both are divided by the same
        assert saturation(GRID, sums / scale, counts, 20, tolerance=0.05, relative=True).value == 11


def test_intervals_of_saturation_cover_the_truth_at_any_number_of_rows():
    for rows, noise in ((8, 0.05), (64, 0.2), (64, 0.02), (400, 0.2)):
        covered = 0
        for seed in range(40):
            found = saturation(GRID, *noisy_rows(EXPONENTIAL, rows, noise, 2 * seed), rows, seed=seed)
            covered += found.interval[0] <= 16 <= found.interval[1]
            assert found.interval[0] <= found.estimate <= found.interval[1]
            if found.status == "decided":
                assert found.interval[1] <= 2 * found.interval[0]
        assert covered >= 34  # of 40, at 95 %


def test_less_data_gives_a_wider_interval_and_never_an_earlier_answer_by_it():
    wide = saturation(GRID, *noisy_rows(EXPONENTIAL, 40, 0.2), 40)
    sharp = saturation(GRID, *noisy_rows(EXPONENTIAL, 4000, 0.2), 4000)
    assert (wide.value, wide.status) == (None, "undecided")
    assert wide.interval[0] <= sharp.interval[0] <= sharp.interval[1] <= wide.interval[1]
    assert sharp.value == 16
    enough = saturation(GRID, *noisy_rows(EXPONENTIAL, wide.windows, 0.2), wide.windows)
    assert enough.status == "decided" or enough.windows <= wide.windows


def test_what_is_not_decided_says_why():
    falling = 2 - 0.02 * np.array(GRID)
    found = saturation(GRID, *noisy_rows(falling, 50, 0.01), 50)
    assert (found.value, found.status, found.windows) == (None, "context", None)
    assert found.estimate == 64
    rising = np.where(np.array(GRID) < 32, EXPONENTIAL, EXPONENTIAL + 0.5)
    assert saturation(GRID, *noisy_rows(rising, 50, 0.01), 50).status == "rises"
    infinite = np.where(np.array(GRID) < 3, np.inf, EXPONENTIAL)
    assert saturation(GRID, *noisy_rows(infinite, 50, 0.01), 50).status == "infinite"
    few = saturation(GRID, *noisy_rows(EXPONENTIAL, 7, 0.0), 7)
    assert (few.value, few.status, few.interval, few.estimate) == (None, "rows", None, 16)
    entries = found.to_dict("n_sat", 3.5)
    assert entries["n_sat_characters"] is None
    assert entries["n_sat_characters_interval"] == (found.interval[0] * 3.5, 64 * 3.5)
    assert "n_sat_characters" not in found.to_dict("n_sat")
    for bad in ({"tolerance": math.nan}, {"tolerance": -1}, {"num_windows": 0}):
        with pytest.raises(ValueError, match=next(iter(bad))):
            saturation(GRID, *noisy_rows(falling, 50, 0.01), **({"num_windows": 50} | bad))


def test_gammas_of_text_hold_the_choice_of_range_and_name_a_better_law():
    lengths = [n for n in GRID if n]
    x = np.array(lengths, dtype=float)
    bent = 1 + x**-0.5 - 0.3 * np.exp(-x / 8)
    sums, counts = noisy_rows(bent, 64, 1e-3, lengths=lengths)
    fit = fit_decay(lengths, sums, counts)
    low, high = fit["gamma_range"]
    assert fit["gamma_interval"][0] <= low < fit["gamma"] < high <= fit["gamma_interval"][1]
    assert high - low > 10 * np.ptp(fit["gamma_statistical_interval"])
    assert fit["loss_inf_interval"][0] < fit["loss_inf"] < fit["loss_inf_interval"][1]
    exponential = fit_decay(lengths, *noisy_rows(1 + 2 * np.exp(-x / 10), 64, 1e-3, lengths=lengths))
    if exponential["gamma"] is not None:
        assert exponential["gamma_status"] == "exponential"
        assert exponential["exponential_rms"] < 0.2 * exponential["power_rms"]
    power = fit_decay(lengths, *noisy_rows(1 + 2 * x**-0.7, 64, 1e-3, lengths=lengths))
    assert power["gamma_status"] == "power law"
    assert power["power_rms"] < 0.2 * power["exponential_rms"]


def test_lengths_are_spaced_evenly_in_their_logarithm():
    assert log_spaced(20) == [0, 1, 2, 3, 4, 6, 8, 11, 16, 20]
    assert log_spaced(16)[-2:] == [11, 16]
    assert log_spaced(1) == [0, 1]


@pytest.mark.parametrize("scale", [0.1, 4.0])
def test_lengths_are_refined_where_the_curve_bends_and_nothing_is_measured_twice(scale, monkeypatch):
    """The coarse curve with its refinements is the one of all lengths, where both measured, and answers the same."""
    model, tokens = gpt2(positions=300, scale=scale), [np.random.default_rng(0).integers(0, 10, 3000)]
    read, passed = Reader.truncated, []
    monkeypatch.setattr(
        Reader, "truncated", lambda self, tokens, n: passed.extend(len(tokens) * [n]) or read(self, tokens, n)
    )
    found = loss_by_context(model, tokens, num_windows=24, max_context=299)
    lengths = found["context_lengths"]
    assert sorted(passed) == sorted(24 * lengths)
    everything = loss_by_context(model, tokens, num_windows=24, max_context=299, context_lengths=log_spaced(299))
    assert set(lengths) >= {n for n in everything["context_lengths"] if n <= 64 or n in (128, 299)}
    columns = [everything["context_lengths"].index(n) for n in lengths]
    for name in ("loss", "loss_stderr", "delta", "delta_stderr"):
        np.testing.assert_allclose(found[name], np.array(everything[name])[columns], rtol=0, atol=1e-12)
    for name in ("n_sat", "n_sat_relative") if scale > 1 else ():  # else a curve of noise, which bends nowhere
        for part in ("", "_estimate", "_interval", "_status", "_windows"):
            assert found[name + part] == everything[name + part]


def test_evaluate_loads_the_metric_by_name_with_models_from_directories(tmp_path):
    import evaluate

    metric = evaluate.load("context_loss")
    model, corpus = char_model()
    texts = [corpus.tokenizer.decode(d) for d in corpus.splits["train"].documents]
    expected = loss_by_context(model, corpus.splits["train"], max_context=8, num_windows=50)
    model.save_pretrained(tmp_path)
    with pytest.raises(ValueError, match=r"tokenizer=None.*pass tokenizer="):
        metric.compute(texts=texts, model=gpt2())
    corpus.tokenizer.save_pretrained(tmp_path)
    kwargs = {"max_context": 8, "num_windows": 50}
    assert metric.compute(texts=texts, model=str(tmp_path), **kwargs) == expected
    assert metric.compute(texts=texts, model=tmp_path, tokenizer=str(tmp_path), **kwargs) == expected
    ids = [d.tolist() for d in corpus.splits["train"].documents]
    given = metric.compute(input_ids=ids, model=model, **kwargs)
    of_text = ("n_sat_characters", "n_sat_relative_characters")
    without = {name: value for name, value in expected.items() if not name.startswith(of_text)}
    assert given == without | {"characters_per_token": None}
    metric.add_batch(input_ids=ids[:10])
    metric.add_batch(input_ids=ids[10:])
    assert metric.compute(model=model, **kwargs) == given
    assert load_metric("context_loss").compute(input_ids=corpus.splits["train"], model=model, **kwargs) == expected
    json.dumps(given)
    with pytest.raises(ValueError, match="model=None"):
        metric.compute(input_ids=ids)


def test_cls_and_sep_of_a_masked_models_tokenizer_stand_around_what_it_sees():
    from tokenizers import Tokenizer
    from tokenizers.models import WordLevel
    from tokenizers.pre_tokenizers import WhitespaceSplit
    from transformers import PreTrainedTokenizerFast

    words = [*map(str, range(10)), "[CLS]", "[SEP]", "[MASK]"]
    backend = Tokenizer(WordLevel({word: i for i, word in enumerate(words)}))
    backend.pre_tokenizer = WhitespaceSplit()
    tokenizer = PreTrainedTokenizerFast(
        tokenizer_object=backend, cls_token="[CLS]", sep_token="[SEP]", mask_token="[MASK]", model_max_length=9
    )
    model, inputs = bert(13), []
    model.register_forward_pre_hook(lambda module, args, kwargs: inputs.append(kwargs["input_ids"]), with_kwargs=True)
    text = " ".join(str(i % 10) for i in range(60))
    result = loss_by_context(model, texts=text, tokenizer=tokenizer, num_windows=1)
    assert result["context_lengths"][-1] == 6  # of 9 places, 3 are special
    assert inputs[2].tolist() == [[10, 12, 11]]  # after two calls that find out what the model is
    last = inputs[-1][0].tolist()
    assert (last[0], last[-2:], len(last)) == (10, [12, 11], 9)
    assert (np.diff(last[1:7]) % 10 == 1).all()


def nan_model():
    model = gpt2()
    with torch.no_grad():
        model.transformer.wpe.weight[7] = math.nan
    return model


TOKENS = [np.arange(40) % 10]


@pytest.mark.parametrize(
    ("kwargs", "match"),
    [
        ({"input_ids": []}, "the text is empty|input_ids"),
        ({"input_ids": [[], []]}, "input_ids is empty"),
        ({"input_ids": None}, "give one of input_ids= "),
        ({"input_ids": TOKENS, "texts": ["a"]}, "give one of input_ids= "),
        ({"input_ids": None, "texts": ["a"]}, "texts= needs tokenizer="),
        ({"input_ids": [[3] * 50]}, r"one distinct token \(3\)"),
        ({"input_ids": [[0.5, 1.0] * 9]}, "input_ids has dtype float64: ids must be integers"),
        ({"input_ids": [[[0, 1]]]}, "input_ids has 3 dimensions: it must hold ids, or rows of ids"),
        ({"input_ids": [np.arange(40)]}, "the id 39 and the model has ids 0 to 19"),
        ({"input_ids": [np.arange(-1, 10)]}, "input_ids holds -1"),
        ({"max_context": 50}, "max_context=50 needs documents of 51 tokens and the longest has 40"),
        ({"max_context": 64, "input_ids": [np.arange(400) % 10]}, "max_context=64.*at most 63 tokens"),
        ({"max_context": 0}, "max_context=0"),
        ({"input_ids": [[1, 2]], "bos": False}, "windows need at least 3 tokens"),
        ({"context_lengths": [0, 50]}, r"context_lengths=\[0, 50\]"),
        ({"context_lengths": [-1]}, "context_lengths=-1"),
        ({"context_lengths": [0, 3], "bos": False}, "without BOS nothing is predicted"),
        ({"windows": "some"}, "windows='some'"),
        ({"windows": "rows", "input_ids": [[1, 2, 3], [1, 2]]}, "have 2 to 3 tokens"),
        ({"windows": "rows", "max_context": 5}, "max_context=5: with windows='rows'"),
        ({"per": "byte"}, "per='byte'"),
        ({"per": "character"}, "per='character' needs texts="),
        ({"num_windows": 0}, "num_windows=0"),
        ({"targets_per_window": 3}, "targets_per_window=3 must be a power of 2"),
        ({"targets_per_window": 2, "paired": False}, "targets_per_window=2: only passes of a causal model"),
        ({"targets_per_window": 2, "windows": "rows"}, "targets_per_window=2: only"),
        ({"targets_per_window": 2, "model": bert, "mask_token_id": 18}, "targets_per_window=2: only"),
        ({"targets_per_window": 64}, "leaves a context of"),
        ({"batch_size": 0}, "batch_size=0"),
        ({"fit_range": (1, 2)}, "4 are needed"),
        ({"bos": 20}, "bos=20 must be"),
        ({"bos": True}, "bos=True must be"),
        ({"model": lambda: gpt2(bos=3)}, "is 3, a token of the text.*bos=False"),
        ({"model": lambda: gpt2(bos=50256)}, "is 50256, no id of it.*bos=False"),
        ({"model": nan_model, "max_context": 9}, "logits are NaN"),
        ({"model": bert}, "mask_token_id=None"),
        ({"model": bert, "mask_token_id": 3}, "mask_token_id=3"),
        ({"model": bert, "mask_token_id": 18, "paired": False}, "paired=False: a masked model"),
        ({"model": lambda: RHMForCausalLM.from_grammar(Grammar.from_name("v16-m4-s2-L3"))}, "windows='rows'"),
        (
            {
                "model": lambda: RHMForCausalLM.from_grammar(Grammar.from_name("v10-m4-s2-L3")),
                "windows": "rows",
                "paired": True,
            },
            "takes no position_ids",
        ),
    ],
)
def test_bad_input_is_refused_with_the_argument_named(kwargs, match):
    kwargs = {"model": gpt2, "input_ids": TOKENS} | kwargs
    with pytest.raises(ValueError, match=match):
        loss_by_context(kwargs.pop("model")(), **kwargs)


def test_texts_that_are_none_are_refused():
    _, corpus = char_model()
    for texts in ("", [], ["", ""]):
        with pytest.raises(ValueError, match="texts is empty"):
            loss_by_context(gpt2(), texts=texts, tokenizer=corpus.tokenizer)
    with pytest.raises(ValueError, match="every document must be a string"):
        loss_by_context(gpt2(), texts=[["a"]], tokenizer=corpus.tokenizer)


def test_by_default_the_last_position_predicts_nothing():
    result = loss_by_context(gpt2(positions=9), [np.arange(400) % 10], num_windows=4)
    assert result["context_lengths"][-1] == 7  # BOS and 7 tokens: 8 of 9 positions
    assert loss_by_context(gpt2(positions=9), [np.arange(400) % 10], max_context=8, num_windows=4)["bos"] == 19
    assert loss_by_context(bert(), [np.arange(400) % 10], mask_token_id=18)["context_lengths"][-1] == 31
    short = [np.arange(12) % 10] * 9 + [np.arange(5)] * 20  # 12-token documents hold half of all tokens
    result = loss_by_context(gpt2(), short, num_windows=10**6)
    assert (result["context_lengths"][-1], result["num_documents"], result["num_too_short"]) == (11, 9, 20)
    few = loss_by_context(gpt2(), [np.arange(80) % 10], num_windows=4)
    assert few["context_lengths"][-1] == 9  # 8 windows of 10 tokens
    markov_model, _, sample = markov(1)
    del markov_model.config.max_position_embeddings
    endless = loss_by_context(markov_model, sample(1, 20_000), num_windows=2, context_lengths=[1])
    assert endless["context_lengths"][-1] == 1024


def test_infinite_losses_are_infinite_and_saturate_nowhere():
    other = RHMForMaskedLM.from_grammar(Grammar.from_name("v4-m2-s2-L2", rules_seed=7))
    tokens, _ = enumerate_sentences(Grammar.from_name("v4-m2-s2-L2", rules_seed=1))
    result = loss_by_context(other, tokens, windows="rows")
    assert math.inf in result["loss"]
    assert result["n_sat"] is None
    assert result["gamma"] is None
    numbers = [x for key in ("loss", "loss_stderr", "delta", "delta_stderr") for x in result[key] if x is not None]
    assert not any(map(math.isnan, numbers))
    assert result["delta"][-1] is None  # inf - inf


def test_a_training_model_stays_in_training_mode():
    model = gpt2().train()
    loss_by_context(model, TOKENS, max_context=4, num_windows=2)
    assert model.training


@pytest.mark.parametrize(("tolerance", "relative"), [(0.01, False), (0.05, True), (1.0, True)])
def test_places_are_those_of_the_isotonic_fit(tolerance, relative):
    rng = np.random.default_rng(0)
    for num_lengths in (1, 2, 3, 8, 33):
        noise = rng.choice([1e-3, 0.03, 1.0], size=(200, 1)) * rng.normal(size=(200, num_lengths))
        losses = 2 + np.exp(-rng.random((200, 1)) * np.arange(num_lengths)) + noise
        fitted = np.stack([isotonic_regression(row, increasing=False).x for row in losses])
        fall = fitted - fitted[:, -1:]
        eps = tolerance * fall[:, :1] if relative else tolerance
        assert _places(losses, tolerance, relative).tolist() == np.argmax(fall <= eps, 1).tolist()


def test_places_of_losses_that_are_equal():
    """Sums that are equal but for rounding are: a loss is within eps of the last if it is exactly eps above it."""
    losses = np.array([[0.3, 0.1, 0.2, 0.1, 0.2, 0.1, 0.2], [2.0, 1.3, 0.8, 0.2, 0.1, 0.0, 0.0], [0.1] * 7])
    assert _places(losses, 0.0, False).tolist() == [1, 5, 0]
    assert _places(losses, 0.1, True).tolist() == [1, 3, 0]  # 0.2 = 0.1 of the whole fall of 2
