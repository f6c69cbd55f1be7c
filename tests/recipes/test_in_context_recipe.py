"""The recipe in_context: rows of fresh grammars follow the ensemble's law; tables say what the metric says."""

import itertools
import math

import numpy as np
import pytest
import torch
from matplotlib.image import imread
from recipe_scripts import recipe
from scipy import stats
from transformers import GPT2Config, GPT2LMHeadModel

from recipes.in_context.fresh_grammars import FreshGrammars, FreshGrammars64, GrowingPrompts
from rhm_hf import Grammar
from rhm_hf.ensembles import where
from rhm_hf.inference import log_prob
from rhm_hf.metrics.in_context_kl import in_context_kl
from rhm_hf.training.recipe import write_tables


MODULE = recipe("in_context")
GRAMMAR = Grammar.from_name("v4-m2-s2-L2")


def task(name="v4-m2-s2-L2", kind=FreshGrammars):
    grammar = Grammar.from_name(name)
    return kind(grammar.vocab_size, grammar.sentence_length, grammar)


def noise(made, rows, seed=0):
    return torch.rand(rows, made.noise_per_row, generator=torch.Generator().manual_seed(seed))


@pytest.mark.parametrize("name", ["v4-m2-s2-L2", "v3-m2-s3-L2-c2", "v4-m2-s2-L3"])
def test_every_row_is_a_prompt_of_one_grammar_of_the_ensemble(name):
    made = task(name)
    numbers = noise(made, 5)
    p = made.parameters
    drawn, sentences = made.draw(numbers)
    assert sentences.shape == (5, 17, p.tuple_size**p.depth)
    grammars = []
    for rules, rows in zip(drawn.numpy(), sentences, strict=True):
        root = rules[0][: p.num_classes]
        grammar = Grammar.from_rules([root, *rules[1:]])  # refuses rules that two symbols share
        assert grammar.entropy == pytest.approx(made.grammar.entropy)
        assert torch.isfinite(log_prob(grammar, rows)).all()
        grammars.append(grammar)
    assert len(set(grammars)) == 5
    for (i, grammar), (j, rows) in itertools.product(enumerate(grammars), enumerate(sentences)):
        assert i == j or torch.isinf(log_prob(grammar, rows)).any()


def test_rules_and_sentences_follow_the_law_of_the_ensemble():
    made = task()
    numbers = noise(made, 4000)
    rules, sentences = made.draw(numbers)
    codes = rules[..., 0] * 4 + rules[..., 1]  # (rows, level, symbol, rule)
    for level, symbol, rule in itertools.product(range(2), range(4), range(2)):
        counts = np.bincount(codes[:, level, symbol, rule], minlength=16)
        assert stats.chisquare(counts).pvalue > 1e-4
    pairs = np.bincount(codes[:, 0, 0, 0] * 16 + codes[:, 1, 3, 1], minlength=256)  # levels are independent
    assert stats.chisquare(pairs).pvalue > 1e-4
    # All 32 derivations of a row's grammar are equally likely, in every sentence.
    for place in (0, 16):
        found = [derivations(rules[row], sentences[row, place]) for row in range(1000)]
        assert stats.chisquare(np.bincount(found, minlength=32)).pvalue > 1e-4


def derivations(rules, sentence):
    """The number of a sentence's one derivation, 0 .. 31."""
    found = []
    for root, top, left, right in itertools.product(range(4), range(2), range(2), range(2)):
        a, b = rules[0, root, top].tolist()
        written = [*rules[1, a, left].tolist(), *rules[1, b, right].tolist()]
        if written == sentence.tolist():
            found.append(((root * 2 + top) * 2 + left) * 2 + right)
    (number,) = found
    return number


def test_the_batch_is_the_prompt_that_the_metric_reads():
    made = task()
    batch = made.collate(torch.zeros(3, 4), noise(made, 3))
    _, sentences = made.draw(noise(made, 3))
    ids, labels = batch["input_ids"].view(3, 17, 5), batch["labels"].view(3, 17, 5)
    assert (ids[..., 0] == 4).all()
    assert (labels[..., -1] == -100).all()
    assert torch.equal(ids[..., 1:], sentences)
    assert torch.equal(labels[..., :-1], sentences)
    assert made.context_length == 85
    assert task(kind=FreshGrammars64).context_length == 325
    torch.manual_seed(0)
    model = GPT2LMHeadModel(GPT2Config(vocab_size=7, n_positions=85, n_embd=8, n_layer=1, n_head=2, bos_token_id=4))
    logits = model.eval()(batch["input_ids"]).logits.view(3, 17, 5, 7)[..., :-1, :]
    expected = torch.nn.functional.cross_entropy(logits.flatten(0, 2), sentences.flatten())
    assert made.loss(model, batch).item() == pytest.approx(expected.item(), rel=1e-5)
    found = made.judge(model)
    assert set(found) == set(made.columns)
    same = in_context_kl(model, GRAMMAR, num_grammars=32, num_mappings=1, max_examples=16, learners=[])
    assert (found["kl"], found["kl_first"]) == (same["kl"][-1], same["kl"][0])
    half = (same["kl_interval"][-1][1] - same["kl_interval"][-1][0]) / 2
    assert found["kl_stderr"] == pytest.approx(half / stats.t.ppf(0.975, 31))
    assert found["entropy"] == pytest.approx((math.log(4) + 3 * math.log(2)) / 4)


def test_growing_prompts_are_short_and_easy_first():
    """Prompts of 2, 4, 8 and 17 sentences of grammars with one rule a symbol for a fifth of a run; then as ever."""
    made = task(kind=GrowingPrompts)
    numbers = noise(made, 3)
    rows = torch.zeros(3, 4)
    for progress, sentences in ((0, 2), (0.06, 4), (0.11, 8), (0.16, 17)):
        batch = made.training_batch(rows, numbers, progress)
        prompts = 17 // sentences
        ids = batch["input_ids"].view(3 * prompts, sentences, 5)
        assert (ids[..., 0] == 4).all()
        rules, drawn = made.draw(numbers, sentences, 1)
        assert torch.equal(ids[..., 1:], drawn)
        assert rules.shape == (3 * prompts, 2, 4, 1, 2)
        assert len({tuple(own.flatten().tolist()) for own in rules}) == 3 * prompts  # a grammar each
        for own, prompt in zip(rules, drawn, strict=True):
            symbols = {tuple(own[1][own[0, root, 0]].flatten().tolist()) for root in range(4)}  # its four sentences
            assert {tuple(sentence.tolist()) for sentence in prompt} <= symbols
        model = GPT2LMHeadModel(
            GPT2Config(vocab_size=7, n_positions=85, n_embd=8, n_layer=1, n_head=2, bos_token_id=4)
        )
        logits = model.eval()(batch["input_ids"]).logits.view(-1, sentences, 5, 7)[..., :-1, :]
        expected = torch.nn.functional.cross_entropy(logits.flatten(0, 2), drawn.flatten())
        assert made.loss(model, batch).item() == pytest.approx(expected.item(), rel=1e-5)
    plain = made.training_batch(rows, numbers, 0.2)
    assert plain.keys() == made.collate(rows, numbers).keys()
    assert all(torch.equal(plain[name], made.collate(rows, numbers)[name]) for name in plain)
    assert torch.equal(plain["input_ids"].view(3, 17, 5)[..., 1:], made.draw(numbers)[1])


@pytest.mark.parametrize("name", ["v4-m2-s2-L2-zipf1.0", "v4-m2-s2-L2-cut1", "v4-m4-s2-L2-uncorrelated"])
def test_other_ensembles_are_refused(name):
    with pytest.raises(ValueError, match="fresh grammars are drawn of the plain ensemble"):
        task(name)
    with pytest.raises(ValueError, match="plain ensemble"):
        FreshGrammars(4, 4, GRAMMAR.without_parameters())


def test_tables_are_what_the_metric_says_and_draw_alone(tmp_path):
    torch.manual_seed(0)
    sizes = {"n_embd": 8, "n_layer": 1, "n_head": 2, "bos_token_id": 4, "eos_token_id": 4}
    models = {f"model {n}": GPT2LMHeadModel(GPT2Config(vocab_size=7, n_positions=n, **sizes)) for n in (24, 44)}
    options = {"judged_grammars": 3, "judged_mappings": 2, "judged_prompts": 2}
    tables = MODULE.judged(models, ensembles=["v4-m2-s2-L2", "v4-m2-s2-L2-cut1"], **options)
    found = in_context_kl(models["model 44"], GRAMMAR, num_grammars=3, num_mappings=2, num_prompts=2)
    mine = where(tables["models"], data="v4-m2-s2-L2", model="model 44")
    assert [row["num_examples"] for row in mine] == [0, 1, 2, 4, 8] == found["num_examples"]
    assert [row["kl_within"] for row in mine] == found["kl_within"]
    assert [[row["kl_low"], row["kl_high"]] for row in mine] == found["kl_interval"]
    lines = where(tables["lines"], data="v4-m2-s2-L2", line="ngram")
    assert [row["kl"] for row in lines] == found["lines"]["ngram"]["kl"]  # of the longest prompts
    gains = where(tables["gains"], data="v4-m2-s2-L2", line="ngram", model="model 24")
    for gain, row in zip(gains, where(tables["models"], data="v4-m2-s2-L2", model="model 24"), strict=True):
        # Longer prompts begin as shorter ones do, so that every model is judged beside the same line.
        (line,) = where(lines, num_examples=gain["num_examples"])
        assert gain["gain"] == pytest.approx(line["kl"] - row["kl_within"])
    write_tables(tmp_path, "in_context", tables)
    MODULE.draw(tables, tmp_path / "in_context.png")
    image = imread(tmp_path / "in_context.png")
    MODULE.main(["--draw", str(tmp_path)])
    assert np.array_equal(imread(tmp_path / "in_context.png"), image)
