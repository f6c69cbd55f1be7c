"""in_context_kl: a model that knows the grammar, models that count as the lines do, intervals, words, and refusals."""

from typing import ClassVar

import evaluate
import numpy as np
import pytest
import torch
from scipy import stats
from tokenizers import Tokenizer, models, pre_tokenizers
from transformers import (
    BertConfig,
    BertForMaskedLM,
    GPT2Config,
    GPT2LMHeadModel,
    PretrainedConfig,
    PreTrainedModel,
    PreTrainedTokenizerFast,
)
from transformers.modeling_outputs import CausalLMOutput

from rhm_hf import Grammar, load_metric
from rhm_hf.grammar import PCFG, NotSupported
from rhm_hf.inference import next_token_probs
from rhm_hf.metrics.in_context_kl import in_context_kl
from rhm_hf.metrics.in_context_kl.learners import (
    hierarchical_law,
    learner_laws,
    ngram_law,
    ngram_orders,
    oracle_laws,
)
from rhm_hf.metrics.in_context_kl.next_sentence import FIRST_RULES_SEED, fresh_grammars
from rhm_hf.metrics.in_context_kl.prompts import word_ids
from rhm_hf.models.ngram.modeling_hierarchical_ngram import HierarchicalNGramForCausalLM, context_columns
from rhm_hf.models.ngram.modeling_ngram import NGramForCausalLM
from rhm_hf.statistics.learner.latents import learn_latents


NAME = "v4-m2-s2-L2"
GRAMMAR = Grammar.from_name(NAME)
COUNTS = {"learners": ["ngram"], "smoothings": ["kneser_ney"]}
SMALL = {"num_grammars": 3, "num_mappings": 2, "num_prompts": 2, "max_examples": 4}


class ByPrompt(PreTrainedModel):
    """Reads a prompt of BOS, sentences and separators; `law(sentences before, prefix)` is that of the next token."""

    config_class = PretrainedConfig
    all_tied_weights_keys: ClassVar = {}

    def __init__(self, law, num_ids, separator, first=None, length=4, leak=0.0, positions=4096):
        first = separator if first is None else first
        sizes = {"vocab_size": num_ids, "max_position_embeddings": positions}
        super().__init__(PretrainedConfig(**sizes, bos_token_id=first, eos_token_id=separator))
        self.law, self.num_ids, self.special, self.leak, self.length = law, num_ids, {separator, first}, leak, length
        self.anchor = torch.nn.Parameter(torch.zeros(()))
        self.read = []

    def forward(self, input_ids, attention_mask=None, **kwargs):
        self.read.append(tuple(input_ids.shape))
        rows = [self._row(row.tolist()) for row in input_ids]
        return CausalLMOutput(logits=torch.stack(rows))

    def _row(self, ids):
        sentences, prefix, found = [], [], []
        for i in ids:
            if i in self.special:
                sentences, prefix = ([*sentences, prefix], []) if len(prefix) == self.length else (sentences, [])
            else:
                prefix = [*prefix, i]
            law = self.law(sentences, prefix) if len(prefix) < self.length else torch.ones(self.num_ids)
            law = law / law.sum() * (1 - self.leak)
            law = torch.cat([law.double(), torch.zeros(self.num_ids - len(law)).double()])
            law[-1] += self.leak  # the last id is no symbol
            found.append(law.log())
        return torch.stack(found)


def counting(order, tied, v=4):
    """The law of the n-gram model of this package, fitted to the sentences before."""
    kept = {}

    def law(sentences, prefix):
        if not sentences or any(i >= v for i in prefix) or any(i >= v for s in sentences for i in s):
            return torch.ones(v)
        key = tuple(map(tuple, sentences))
        if key not in kept:
            kept[key] = NGramForCausalLM.fit(sentences, order, num_symbols=v, tied=tied)
        return kept[key](torch.tensor([[v, *prefix]])).logits[0, -1, :v].exp()

    return law


def gpt2(**sizes):
    torch.manual_seed(0)
    sizes = {"vocab_size": 7, "n_positions": 64, "n_embd": 8, "n_layer": 1, "n_head": 2} | sizes
    return GPT2LMHeadModel(GPT2Config(bos_token_id=4, eos_token_id=4, **sizes))


@pytest.mark.parametrize("name", [NAME, f"{NAME}-cut1", "hmm-v4-h3-m2-d5-p0.5", "v2-m2-s2-L2-sparse1"])
def test_a_model_that_knows_the_grammar_has_no_kl(name):
    grammar = Grammar.from_name(name, rules_seed=3).without_parameters()
    v, d = grammar.vocab_size, grammar.sentence_length
    mapping = torch.randperm(v, generator=torch.Generator().manual_seed(5))  # as the metric draws its first one
    symbol_of = {int(i): symbol for symbol, i in enumerate(mapping)}

    def law(sentences, prefix):
        known = [symbol_of.get(i, 0) for i in prefix]
        rows = torch.tensor([[*known, *[0] * (d - len(known))]])
        return next_token_probs(grammar, rows[:, : len(known) + 1])[0, -1][[symbol_of[i] for i in range(v)]]

    options = {"num_grammars": 1, "num_mappings": 1, "num_prompts": 3, "max_examples": 4, "seed": 5}
    found = in_context_kl(ByPrompt(law, v + 3, v, length=d), grammar, **options)
    np.testing.assert_allclose(found["kl"], 0, atol=1e-12)
    np.testing.assert_allclose(found["leaked_mass"], 0, atol=1e-12)
    assert (found["num_examples"], found["unit"], found["num_units"]) == ([0, 1, 2, 4], "prompt", 3)
    for values in found["lines"].values():
        np.testing.assert_allclose(values["gain"], values["kl"], atol=1e-12)
    # The same model on another grammar.
    other = in_context_kl(
        ByPrompt(law, v + 3, v, length=d), Grammar.from_name(name, rules_seed=4).without_parameters(), **options
    )
    assert min(other["kl"]) > 0


@pytest.mark.parametrize(("order", "tied"), [(1, True), (2, True), (4, True)])
def test_a_model_that_counts_is_its_line(order, tied):
    found = in_context_kl(ByPrompt(counting(order, tied), 7, 4), GRAMMAR, **COUNTS, **SMALL)
    line = found["lines"][f"tied_ngram_{order}"]
    np.testing.assert_allclose(found["kl"], line["kl"], atol=1e-12)
    np.testing.assert_allclose(found["kl_interval"], line["interval"], atol=1e-12)
    np.testing.assert_allclose(found["kl_per_position"], line["per_position"], atol=1e-12)
    np.testing.assert_allclose(line["gain"], 0, atol=1e-12)
    np.testing.assert_allclose(line["gain_interval"], 0, atol=1e-12)
    np.testing.assert_allclose(found["mapping_std"], 0, atol=1e-12)  # counts do not care what symbols are called
    best = found["lines"]["ngram"]
    mine = {name: values["kl"] for name, values in found["lines"].items() if "ngram_" in name}
    np.testing.assert_allclose(best["kl"], np.min(list(mine.values()), 0), atol=1e-15)
    for k, choice in enumerate(best["choice"]):
        name, smoothing = choice.split()
        assert (mine[name][k], smoothing) == (best["kl"][k], "kneser_ney")


def test_tables_by_position_and_words_for_symbols():
    """By position, where two sentences or more were seen; symbols are random ids of many."""
    grammar, kept = Grammar.from_name(NAME, rules_seed=2), {}

    def law(sentences, prefix):
        flat = sorted({i for s in sentences for i in s})
        if len(sentences) < 2:
            return torch.ones(60)
        symbols = {i: k for k, i in enumerate(flat)}
        if not set(prefix) <= set(symbols) or len(flat) < 4:
            return torch.ones(60)
        key = tuple(map(tuple, sentences))
        if key not in kept:
            kept[key] = NGramForCausalLM.fit([[symbols[i] for i in s] for s in sentences], 4, num_symbols=4)
        found = kept[key](torch.tensor([[4, *(symbols[i] for i in prefix)]])).logits[0, -1, :4].exp()
        return torch.zeros(60).double().index_put((torch.tensor(flat),), found)

    options = {"symbols": "ids", "max_examples": 16, "num_grammars": 3, "num_prompts": 2, "num_mappings": 2}
    found = in_context_kl(ByPrompt(law, 60, 58, 59), grammar, **COUNTS, **options)
    assert (found["symbols"], found["separator"], found["bos"]) == ("ids", 58, 59)
    np.testing.assert_allclose(found["kl"][-1], found["lines"]["ngram_4"]["kl"][-1], atol=1e-12)
    assert found["leaked_mass"][0] == pytest.approx(1 - 4 / 60)
    assert found["kl"][0] == pytest.approx(found["kl_within"][0] + np.log(60 / 4))


def test_leaked_mass_is_split_off():
    found = in_context_kl(ByPrompt(counting(2, True), 7, 4, leak=0.25), GRAMMAR, **COUNTS, **SMALL)
    np.testing.assert_allclose(found["leaked_mass"], 0.25, atol=1e-12)
    np.testing.assert_allclose(found["leak_cost"], -np.log(0.75), atol=1e-12)
    np.testing.assert_allclose(found["kl_within"], found["lines"]["tied_ngram_2"]["kl"], atol=1e-12)
    np.testing.assert_allclose(found["kl"], np.add(found["kl_within"], found["leak_cost"]), atol=1e-12)


def test_no_prompt_is_read_twice():
    model = ByPrompt(counting(1, True), 7, 4)
    in_context_kl(model, GRAMMAR, learners=[], batch_size=5, **SMALL)
    width = 5 * 5 - 1  # BOS or separator and 4 tokens, 5 times, without the last token
    rows = [shape[0] for shape in model.read if shape[1] == width and shape[0] > 1]
    assert rows == [5, 5, 2]  # 3 grammars x 2 mappings x 2 prompts


# The learners against the models of this package.


def prompts(name=NAME, num=3, length=9):
    grammars = fresh_grammars(Grammar.from_name(name), num, 7)
    return grammars, np.stack([g.sample(length, seed=k).astype(np.int64) for k, g in enumerate(grammars)])


@pytest.mark.parametrize("tied", [False, True])
@pytest.mark.parametrize("n", [2, 8])
def test_ngrams_of_prompts_are_those_of_the_model(n, tied):
    _, rows = prompts("v3-m2-s2-L3")
    for order in ngram_orders(8):
        laws = ngram_law(rows[:, :n], rows[:, n], order, 3, tied, ["kneser_ney", 0.5, 2.0])
        for row, mine in enumerate(rows):
            for smoothing, options in enumerate(SMOOTHED):
                model = NGramForCausalLM.fit(mine[:n], order, num_symbols=3, tied=tied, **options)
                expected = model(torch.tensor([[3, *mine[n, :-1]]])).logits[0, :, :3].exp()
                torch.testing.assert_close(laws[smoothing, row], expected, rtol=0, atol=1e-12)


SMOOTHED = [{"smoothing": "kneser_ney"}, *({"smoothing": "add_k", "add_k": k} for k in (0.5, 2.0))]


def test_the_best_smoothing_is_shown():
    found = in_context_kl(gpt2(), GRAMMAR, **SMALL)
    every = {
        str(s): in_context_kl(gpt2(), GRAMMAR, smoothings=[s], **SMALL)["lines"] for s in ("kneser_ney", 0.5, 1.0, 2.0)
    }
    for name, line in found["lines"].items():
        alone = np.array([lines[name]["kl"] for lines in every.values()])
        np.testing.assert_allclose(line["kl"], alone.min(0), atol=1e-15)
        for k, choice in enumerate(line.get("choice", [])):
            assert every[choice.split()[-1]][name]["kl"][k] == pytest.approx(line["kl"][k], abs=1e-15)
    assert set(found["lines"]["ngram"]["choice"]) != {"ngram_1 kneser_ney"}


def test_orders():
    assert ngram_orders(2) == [1, 2]
    assert ngram_orders(9) == [1, 2, 3, 4, 8, 9]


@pytest.mark.parametrize("name", [NAME, "v3-m2-s2-L3", "v4-m3-s3-L2"])
def test_hierarchical_learners_are_the_models(name):
    grammars, rows = prompts(name)
    d, v, counts = rows.shape[-1], int(grammars[0].vocab_size), [0, 1, 2, 8]
    laws = learner_laws(grammars, rows, counts, ["hierarchical_ngram", "correlation_learner"], ["kneser_ney", 0.5])
    assert set(laws) == {"hierarchical_ngram", "correlation_learner"}
    for k, n in enumerate(counts):
        for row, grammar in enumerate(grammars):
            if n == 0:
                expected = [torch.full((2, d, v), 1 / v, dtype=torch.float64)] * 2
            else:
                seen, s = rows[row, :n], grammar.tuple_size_at(1)
                learned = learn_latents(seen, v, s, targets="sibling_token", num_symbols=v).grammar()
                read = torch.tensor([[v, *rows[row, n, :-1]]])
                models = [
                    [HierarchicalNGramForCausalLM.fit(seen, known, **options) for options in SMOOTHED[:2]]
                    for known in (grammar, learned)
                ]
                expected = [torch.stack([m(read).logits[0, :, :v].exp() for m in pair]) for pair in models]
            torch.testing.assert_close(laws["hierarchical_ngram"][:, row, k], expected[0], rtol=0, atol=1e-12)
            torch.testing.assert_close(laws["correlation_learner"][:, row, k], expected[1], rtol=0, atol=1e-12)


def test_one_prompt_knows_nothing_of_another():
    grammars, rows = prompts(num=4)
    together = learner_laws(grammars, rows, [8], ["ngram", "hierarchical_ngram"])
    for row, grammar in enumerate(grammars):
        alone = learner_laws([grammar], rows[row : row + 1], [8], ["ngram", "hierarchical_ngram"])
        for name, law in alone.items():
            torch.testing.assert_close(together[name][:, row], law[:, 0], rtol=0, atol=1e-15)


def test_hierarchical_laws_where_nothing_is_known_above():
    """Unknown siblings end a context: the law of the shorter one, as if the level were not there."""
    grammar, rows = prompts(num=1)[0][0], prompts(num=1)[1]
    levels = [level.astype(np.int64)[None] for level in grammar.parse(rows[0])]
    columns = context_columns(grammar)
    blind = [level.copy() for level in levels]
    blind[1][:] = -1
    law = hierarchical_law([b[:, :8] for b in blind], [b[:, 8] for b in blind], columns, 4, 4, ["kneser_ney"])[0]
    model = HierarchicalNGramForCausalLM.fit(rows[0, :8], grammar, 1)
    expected = model(torch.tensor([[4, *rows[0, 8, :-1]]])).logits[:, :, :4].exp()
    torch.testing.assert_close(law, expected, rtol=0, atol=1e-12)


def test_the_exact_lines_are_truncated_laws():
    tokens = GRAMMAR.sample(20).astype(np.int64)
    laws = oracle_laws(GRAMMAR, tokens)
    assert set(laws) == {"previous_token", "block_1"}
    exact = next_token_probs(GRAMMAR, torch.from_numpy(tokens))
    torch.testing.assert_close(laws["block_1"][:, 1], exact[:, 1])
    torch.testing.assert_close(laws["previous_token"][:, 1], exact[:, 1])
    assert (laws["block_1"][:, 2] - exact[:, 2]).abs().max() > 0.01
    found = in_context_kl(gpt2(), GRAMMAR, learners=[], **SMALL)
    assert set(found["lines"]) == {"uniform", "previous_token", "block_1"}
    assert found["lines"]["block_1"]["per_position"][0][1] == pytest.approx(0, abs=1e-12)


# Intervals.


def test_intervals_are_student_s_over_grammars():
    options = SMALL | COUNTS | {"num_grammars": 4}
    model = ByPrompt(counting(3, True), 7, 4)
    together = in_context_kl(model, GRAMMAR, confidence=0.9, **options)

    def interval(values):
        reach = stats.t.ppf(0.95, 3) * stats.sem(values, axis=0)
        return np.stack([values.mean(0) - reach, values.mean(0) + reach], -1)

    alone = [
        in_context_kl(model, GRAMMAR, first_rules_seed=FIRST_RULES_SEED + k, **options | {"num_grammars": 1})
        for k in range(4)
    ]
    values = np.array([found["kl"] for found in alone])
    np.testing.assert_allclose(together["kl"], values.mean(0), atol=1e-12)
    np.testing.assert_allclose(together["kl_interval"], interval(values), atol=1e-12)
    gains = np.array([found["lines"]["ngram_2"]["gain"] for found in alone])
    np.testing.assert_allclose(together["lines"]["ngram_2"]["gain_interval"], interval(gains), atol=1e-12)
    assert (together["unit"], together["num_units"], alone[0]["unit"], alone[0]["num_units"]) == (
        "grammar", 4, "prompt", 2,
    )  # fmt: skip
    single = in_context_kl(model, GRAMMAR, **options | {"num_grammars": 1, "num_prompts": 1})
    assert single["kl_interval"][0] == [-np.inf, np.inf]


def test_mappings_differ_where_the_model_does_and_batches_change_nothing():
    found = in_context_kl(gpt2(), GRAMMAR, learners=["ngram"], **SMALL)
    assert min(found["mapping_std"]) > 0
    again = in_context_kl(gpt2(), GRAMMAR, learners=["ngram"], batch_size=1, **SMALL)
    np.testing.assert_allclose(again["kl"], found["kl"], rtol=1e-6)
    assert in_context_kl(gpt2(), GRAMMAR, learners=[], **SMALL | {"num_mappings": 1})["mapping_std"] is None
    longer = in_context_kl(gpt2(), GRAMMAR, learners=["ngram"], **SMALL | {"max_examples": 8})
    np.testing.assert_allclose(longer["kl"][:4], found["kl"], rtol=1e-5)  # longer prompts begin as shorter ones do
    assert longer["num_examples"] == [0, 1, 2, 4, 8]
    fits = in_context_kl(gpt2(n_positions=24), GRAMMAR, learners=[], num_grammars=2)
    assert fits["num_examples"] == [0, 1, 2, 4]  # 5 x 5 - 1 ids


def test_processes_share_the_prompts():
    from accelerate import Accelerator

    found = [in_context_kl(gpt2(), GRAMMAR, accelerator=a, **SMALL) for a in (None, Accelerator(cpu=True))]
    assert found[0] == found[1]


# Words.


def word_tokenizer(words, extra=(".",)):
    vocab = {word: i for i, word in enumerate(["<unk>", "<s>", *extra, *words])}
    tokenizer = Tokenizer(models.WordLevel(vocab, unk_token="<unk>"))
    tokenizer.pre_tokenizer = pre_tokenizers.Whitespace()
    return PreTrainedTokenizerFast(tokenizer_object=tokenizer, unk_token="<unk>", bos_token="<s>")


def test_words_of_a_tokenizer():
    tokenizer = word_tokenizer(["a", "sun", "moon", "x1", "sea", "tree", "rain"])
    assert [tokenizer.decode([i]) for i in word_ids(tokenizer, 100)] == ["sun", "moon", "sea", "tree", "rain"]
    assert [tokenizer.decode([i]) for i in word_ids(tokenizer, 8)] == ["sun", "moon", "sea"]  # ids of the model
    model = gpt2(vocab_size=len(tokenizer))
    options = {"tokenizer": tokenizer, "bos": 1}
    found = in_context_kl(model, GRAMMAR, learners=[], **options, **SMALL)
    assert (found["symbols"], found["separator"], found["bos"]) == ("words", 2, 1)  # "\n" is no token, "." is
    words = found["prompt"].split()
    assert words[0] == "<s>"
    assert set(words[1:]) <= {"sun", "moon", "sea", "tree", "rain", "."}
    assert words[5::5] == ["."] * 4
    assert tokenizer.encode(" ".join(words)) == tokenizer.convert_tokens_to_ids(words)
    given = in_context_kl(model, GRAMMAR, learners=[], separator=".", **options, **SMALL)
    assert given == found
    with pytest.raises(ValueError, match=r"separator=';': the tokenizer has no single token for it"):
        in_context_kl(model, GRAMMAR, separator=";", **options, **SMALL)
    few = word_tokenizer(["sun", "moon", "sea", "a", "b", "c", "d", "e", "f", "g"])
    with pytest.raises(ValueError, match=r"2 single-token words of the tokenizer .* grammar has 4"):
        in_context_kl(gpt2(vocab_size=20), GRAMMAR, tokenizer=few, **SMALL)


# What is refused.


def test_bad_models_are_refused():
    with pytest.raises(ValueError, match=r"the model reads at most 8 ids .* a prompt of 1 sentences of 4 tokens"):
        in_context_kl(gpt2(n_positions=8), GRAMMAR)
    with pytest.raises(ValueError, match=r"at most 20 ids .* a prompt of 16 sentences"):
        in_context_kl(gpt2(n_positions=20), GRAMMAR, max_examples=16)
    broken = gpt2()
    with torch.no_grad():
        broken.transformer.ln_f.weight[0] = torch.nan
    with pytest.raises(ValueError, match="logits are NaN"):
        in_context_kl(broken, GRAMMAR, **SMALL)
    late = gpt2()  # what the probes do not see
    with torch.no_grad():
        late.transformer.wpe.weight[20:] = torch.nan
    with pytest.raises(ValueError, match="no law at judged tokens: its logits are NaN or infinite"):
        in_context_kl(late, GRAMMAR, **SMALL)
    torch.manual_seed(0)
    bert = BertForMaskedLM(
        BertConfig(vocab_size=7, hidden_size=8, num_hidden_layers=1, num_attention_heads=1, intermediate_size=8)
    )
    with pytest.raises(ValueError, match="both ways"):
        in_context_kl(bert, GRAMMAR, **SMALL)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"symbols": "letters"}, "symbols='letters' is unknown"),
        ({"learners": ["ngram", "oracle"]}, "holds 'oracle'"),
        ({"max_examples": 2**21, "num_grammars": 1}, "reads at most"),
        ({"smoothings": []}, "smoothings is empty"),
        ({"smoothings": [0]}, "smoothings holds 0"),
        ({"smoothings": ["good_turing"]}, "smoothings holds 'good_turing'"),
        ({"confidence": 1.0}, "confidence"),
        ({"separator": 2}, "separator=2 must be an id"),
        ({"separator": "."}, "is a text, and symbols='own' are ids"),
        ({"bos": 99}, "bos=99 must be"),
        ({"num_grammars": 0}, "num_grammars"),
    ],
)
def test_bad_arguments_are_refused(options, message):
    with pytest.raises(ValueError, match=message):
        in_context_kl(gpt2(), GRAMMAR, **{"max_examples": 2} | options)


def test_grammars_that_have_no_ensemble_or_no_length():
    with pytest.raises(ValueError, match="belongs to no ensemble to draw from"):
        in_context_kl(gpt2(), GRAMMAR.without_parameters(), **SMALL)
    with pytest.raises(NotSupported, match="differ in length"):
        in_context_kl(gpt2(), PCFG.from_text("S -> a S b [0.4] | a b [0.6]"), **SMALL)
    with pytest.raises(ValueError, match="6 ids of the model can stand for symbols and the grammar has 8"):
        in_context_kl(gpt2(), Grammar.from_name("v8-m2-s2-L2"), symbols="ids", num_grammars=2)
    with pytest.raises(ValueError, match="symbols='own': the model has 7 ids and the grammar 8 symbols"):
        in_context_kl(gpt2(), Grammar.from_name("v8-m2-s2-L2"), symbols="own", **SMALL)


def test_the_module_loads_computes_and_refuses_sentences(tmp_path):
    gpt2().save_pretrained(tmp_path)
    expected = in_context_kl(gpt2(), GRAMMAR, **SMALL)
    for metric in (load_metric("in_context_kl"), evaluate.load("rhm_hf/metrics/in_context_kl")):
        assert metric.compute(model=str(tmp_path), grammar=GRAMMAR, **SMALL)["kl"] == expected["kl"]
    with pytest.raises(ValueError, match="input_ids is no input of in_context_kl"):
        load_metric("in_context_kl").compute(model=gpt2(), grammar=GRAMMAR, input_ids=[[0, 1, 2, 3]])
