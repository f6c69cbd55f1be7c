"""The one judge: its KL, its sentences, its ids, its loop over rows and processes."""

import math

import numpy as np
import pytest
import torch
from datasets import Dataset
from transformers import GPT2Config, GPT2LMHeadModel

from rhm_hf import Grammar
from rhm_hf.grammar.laws.block_laws import block_posteriors_by_hiding
from rhm_hf.grammar.layered.laws import block_beliefs
from rhm_hf.inference import block_posteriors, posteriors
from rhm_hf.judging import (
    ModelIds,
    Sentences,
    Targets,
    accumulate,
    compare,
    divergence,
    divergence_terms,
    given_sentences,
    judged_sentences,
    read_rows,
)
from rhm_hf.judging.sentences import ALL_SENTENCES_LIMIT, KEPT_SENTENCES_LIMIT, derivations_of
from rhm_hf.tasks import TASKS, LastToken, Masked


FAMILIES = [
    "v4-m2-s2-L3",
    "v3-m2-s3-L2-zipf0.7@1",
    "layered-c3-v4.5-m2.2-s3.2",
    "v4-m3-s2-L3-cut2",
    "v4-m3-s2-L2-cut1",
    "hmm-v4-h3-m2-d5-p0.5",
    "v2-m2-s2-L2-sparse1",
]


def gpt2(vocab_size=7, **kwargs):
    torch.manual_seed(0)
    sizes = {"n_positions": 16, "n_embd": 16, "n_layer": 1, "n_head": 2}
    return GPT2LMHeadModel(GPT2Config(vocab_size=vocab_size, bos_token_id=4, eos_token_id=4, **sizes, **kwargs)).eval()


def test_divergence_is_the_sum_and_terms_without_probability_are_nothing():
    rng = np.random.default_rng(0)
    p, q = torch.from_numpy(rng.dirichlet(np.ones(5), (3, 4))), torch.from_numpy(rng.dirichlet(np.ones(5), (3, 4)))
    p[0, 0] = torch.tensor([0.5, 0.5, 0, 0, 0])
    q[0, 0] = torch.tensor([0.25, 0.75, 0, 0, 0])
    expected = torch.where(p > 0, p * (p / q).log(), 0).sum(-1)
    torch.testing.assert_close(divergence(p, q.log()), expected, rtol=0, atol=1e-15)
    torch.testing.assert_close(divergence(p, q.log(), p.log()), expected, rtol=0, atol=1e-15)
    q[0, 0] = torch.tensor([0, 1.0, 0, 0, 0])
    assert divergence(p, q.log())[0, 0] == math.inf
    leaky = 0.8 * q[1:]  # a fifth of the mass lies outside
    terms = divergence_terms(p[1:], leaky.log())
    torch.testing.assert_close(terms["kl_within"], divergence(p[1:], q[1:].log()))
    torch.testing.assert_close(terms["leak_cost"], torch.full((2, 4), -math.log(0.8), dtype=torch.float64))
    torch.testing.assert_close(terms["leaked_mass"], torch.full((2, 4), 0.2, dtype=torch.float64))
    torch.testing.assert_close(terms["kl"], terms["kl_within"] + terms["leak_cost"])
    torch.testing.assert_close(terms["entropy"], -torch.xlogy(p[1:], p[1:]).sum(-1))


def test_all_sentences_are_judged_up_to_the_limit_and_fresh_ones_beyond():
    grammar = Grammar.from_name("v4-m2-s2-L3")  # 512 sentences
    assert (ALL_SENTENCES_LIMIT, KEPT_SENTENCES_LIMIT) == (2**16, 2**13)
    everything = judged_sentences(grammar, 10, limit=512)
    assert everything.exhaustive
    assert len(everything) == 512
    assert everything.weights.sum() == pytest.approx(1)
    fresh = judged_sentences(grammar, 512, seed=3, limit=511)
    assert not fresh.exhaustive
    assert fresh.weights.eq(1).all()
    assert np.array_equal(fresh.tokens, grammar.sample(512, seed=3, split="evaluation", sampling="iid"))
    long = Grammar.from_rules([np.array([[[0, 0]]])] * 22, vocab_size=1)  # one sentence of 2^22 tokens
    assert judged_sentences(long, 1).exhaustive
    longer = Grammar.from_rules([np.array([[[0, 0]]])] * 23, vocab_size=1)
    assert not judged_sentences(longer, 1).exhaustive  # too many tokens to list
    for bad in (0, 1.5, True, "4"):
        with pytest.raises(ValueError, match="num_sentences="):
            judged_sentences(grammar, bad)


def test_rows_are_read_from_whatever_holds_them():
    grammar = Grammar.from_name("v4-m2-s2-L2")
    tokens = grammar.sample(6)
    dataset = Dataset.from_dict({"input_ids": tokens.tolist()})
    forms = [tokens, tokens.tolist(), [tuple(row) for row in tokens.tolist()], torch.from_numpy(tokens), list(tokens)]
    forms += [tokens.astype(kind) for kind in ("int8", "uint16", "int32", "uint64", ">i4")]
    forms += [dataset, dataset["input_ids"], dataset.with_format("torch"), (row for row in tokens)]
    for form in forms:
        found = read_rows("input_ids", form, grammar)
        assert found.dtype == np.int64
        assert np.array_equal(found, tokens)


@pytest.mark.parametrize(
    ("rows", "match"),
    [
        ([[0, 1, 2]], r"input_ids has shape \(1, 3\): give sentences as \(n, 4\) symbols"),
        ([], r"input_ids has shape \(0,\)"),
        ([[0, 1, 2, 3], [0, 1]], "input_ids has rows of different lengths"),
        ([[0.0, 1.0, 2.0, 3.0]], "input_ids has dtype float64: symbols must be integers"),
        ([[True, False, True, True]], "input_ids has dtype bool"),
        (torch.zeros(1, 4, dtype=torch.bfloat16), "input_ids has dtype float32"),
        (np.full((1, 4), 2**63, dtype=np.uint64), "input_ids holds 9223372036854775808"),
        ({"input_ids": [[0, 1, 2, 3]]}, "input_ids is a dict"),
        ("0123", "input_ids is a str"),
        (7, "input_ids=7"),
        ([["a", "b", "c", "d"]], "input_ids has dtype <U1"),
        ([[0, 1, 2, -1]], "-1, out of range"),
        (np.array([[0, 1, 2, 255]], dtype=np.uint8), "255, out of range"),
    ],
)
def test_rows_that_are_no_sentences_are_named(rows, match):
    with pytest.raises(ValueError, match=match):
        given_sentences(Grammar.from_name("v4-m2-s2-L2"), rows)


@pytest.mark.parametrize(
    ("token_ids", "match"),
    [
        ({0: 3, 1: 2, 2: 1, 3: 0}, "token_ids is a dict, which has no order of its own"),
        ({3, 2, 1, 0}, "token_ids is a set"),
        ("0123", "token_ids is a str"),
        (4, "token_ids=4: give the model's 4 ids"),
        ([0.0, 1.0, 2.0, 3.0], "token_ids holds 0.0"),
        ([True, 2, 3, 4], "token_ids holds True"),
        (np.array([0.5, 1, 2, 3]), "token_ids holds 0.5"),
        ([0, 1, 2, 3, 4], "token_ids has 5 entries"),  # END is for sentences of different lengths
    ],
)
def test_token_ids_are_integers_in_an_order(token_ids, match):
    with pytest.raises(ValueError, match=match):
        ModelIds.of(gpt2(), Grammar.from_name("v4-m2-s2-L2"), masked=False, token_ids=token_ids)
    for good in (range(4), np.arange(4), torch.arange(4), (0, 1, np.int64(2), 3)):
        ids = ModelIds.of(gpt2(), Grammar.from_name("v4-m2-s2-L2"), masked=False, token_ids=good)
        assert ids.symbols.tolist() == [0, 1, 2, 3]


class Share:
    """One process of an accelerator; what it reduces is kept."""

    def __init__(self, index, of):
        self.process_index, self.num_processes, self.states = index, of, []

    def reduce(self, tensor, reduction):
        self.states.append(tensor.clone())
        return tensor


def test_every_process_measures_its_share_once():
    seen = []

    def measure(part):
        rows = torch.arange(part.start, part.stop, dtype=torch.float64)
        seen.extend(rows.tolist())
        return {"row": (rows, 1.0, 1.0)}

    shares = [Share(index, 3) for index in range(3)]
    for share in shares:
        accumulate(101, {"row": ()}, measure, accelerator=share, batch_size=7)
    assert seen == list(range(101))
    whole = accumulate(101, {"row": ()}, measure)["row"]
    assert torch.equal(sum(share.states[0] for share in shares), whole.state)
    assert whole.mean == 50


def test_exact_laws_are_computed_once_lazily_and_each_process_its_own():
    asked = []

    def exact(rows):
        asked.append((rows.start, rows.stop))
        return torch.full((2, rows.stop - rows.start, 1, 2), 0.5, dtype=torch.float64)

    class Coin(torch.nn.Module):
        device = torch.device("cpu")

    sentences = Sentences(torch.zeros(10, 1, dtype=torch.int64), torch.ones(10, dtype=torch.int64), torch.ones(10))
    targets = Targets(sentences, exact, ("kl_level_0",), torch.ones(10, 1, dtype=torch.bool))
    assert asked == []

    def log_probs(rows, noise):
        return torch.tensor([0.25, 0.75]).log().expand(len(rows), 1, 2)

    found = compare(Coin(), targets, log_probs, batch_size=3)
    assert asked == [(0, 10)]
    expected = -0.5 * math.log(0.25 * 0.75 * 4)
    assert found["kl"] == found["kl_level_0"] == pytest.approx(expected, abs=1e-7)
    assert compare(Coin(), targets, log_probs) == pytest.approx(found, abs=1e-15)
    assert asked == [(0, 10)]
    for index, rows in enumerate([(0, 3), (3, 6), (6, 10)]):
        compare(Coin(), targets, log_probs, Share(index, 3))
        assert asked[-1] == rows
    with pytest.raises(ValueError, match=r"the model \(Coin\) has no law at judged tokens"):
        compare(Coin(), targets, lambda rows, noise: torch.full((len(rows), 1, 2), math.nan))


@pytest.mark.parametrize("name", ["v16-m4-s2-L4", "v32-m8-s2-L6", *FAMILIES])
def test_making_a_task_computes_no_law(name, monkeypatch):
    grammar = Grammar.from_name(name)
    laws = type(grammar.laws)
    for method in ("token_laws", "posteriors", "block_posteriors", "log_prob"):
        monkeypatch.setattr(laws, method, lambda *args, **kwargs: pytest.fail("a law was computed"))
    monkeypatch.setattr(type(grammar), "sample", lambda *args, **kwargs: pytest.fail("sentences were drawn"))
    monkeypatch.setattr(type(grammar), "list_sentences", lambda self: pytest.fail("sentences were listed"))
    for task in TASKS.values():
        made = task(grammar.vocab_size, grammar.sentence_length, grammar)
        assert made.columns[:3] == ("kl", "kl_stderr", "entropy")
        assert made.targets_per_row > 0


@pytest.mark.parametrize("name", FAMILIES)
def test_columns_are_the_keys_of_what_is_judged(name):
    grammar = Grammar.from_name(name, rules_seed=1)
    v, d = grammar.vocab_size, grammar.sentence_length
    for task in (LastToken(v, d, grammar, "AutoModelForCausalLM"), Masked(v, d, grammar)):
        names = task.judged.names
        assert task.columns[5:] == names
        assert len(task.judged.laws_of(range(2))) == len(names) + 1


@pytest.mark.parametrize("name", FAMILIES)
def test_posteriors_of_blocks_of_all_levels_hide_the_rest(name):
    grammar = Grammar.from_name(name, rules_seed=1)
    tokens = torch.from_numpy(grammar.sample(30, sampling="iid").astype(np.int64))
    for share in (0.0, 0.4, 1.0):
        hidden = torch.rand(tokens.shape, generator=torch.Generator().manual_seed(1)) < share
        laws = block_posteriors(grammar, tokens, hidden)
        assert len(laws) == grammar.depth + 1
        for level in range(grammar.depth + 1):
            size = grammar.block_length(level)
            for start in range(0, grammar.sentence_length, size):
                block = slice(start, start + size)
                mask = torch.ones_like(hidden)
                if level:
                    mask[:, block] = hidden[:, block]
                expected = posteriors(grammar, tokens, mask)[0][:, block]
                torch.testing.assert_close(laws[level][:, block], expected, rtol=0, atol=1e-12)
    some = block_posteriors(grammar, tokens, hidden, [grammar.depth, 0])
    assert torch.equal(some, laws[[grammar.depth, 0]])
    single = block_posteriors(grammar, tokens, hidden, dtype=torch.float32)
    torch.testing.assert_close(single.double(), laws, rtol=0, atol=1e-5)
    by_hiding = block_posteriors_by_hiding(grammar.laws, tokens, hidden, [1], torch.float64)
    torch.testing.assert_close(by_hiding[0], laws[1], rtol=0, atol=1e-12)


def test_blocks_of_all_levels_cost_one_pass_up(monkeypatch):
    grammar, calls = Grammar.from_name("v4-m2-s2-L4"), []
    original = block_beliefs.upward
    monkeypatch.setattr(block_beliefs, "upward", lambda *args: calls.append(1) or original(*args))
    tokens = torch.from_numpy(grammar.sample(20, sampling="iid").astype(np.int64))
    block_posteriors(grammar, tokens, torch.zeros_like(tokens, dtype=torch.bool))
    assert len(calls) == 1
    impossible = tokens.clone()
    impossible[3] = 0
    assert grammar.laws.log_prob(impossible, torch.float64)[3] == -math.inf
    with pytest.raises(ValueError, match="evidence of row 3 is impossible"):
        block_posteriors(grammar, impossible, torch.zeros_like(tokens, dtype=torch.bool))
    with pytest.raises(ValueError, match="level=5 is out of range"):
        block_posteriors(grammar, tokens, torch.zeros_like(tokens, dtype=torch.bool), [5])


@pytest.mark.parametrize("name", ["v4-m3-s2-L2-cut1", "hmm-v4-h3-m2-d5-p0.5"])
def test_hidden_states_of_given_sentences_have_their_posterior(name):
    grammar = Grammar.from_name(name, rules_seed=1)
    sentence = given_sentences(grammar, np.repeat(grammar.sample(1, seed=5), 4000, 0))
    levels = derivations_of(grammar, sentence, seed=2)
    assert len(levels) == grammar.depth + 1
    for found, parsed in zip(levels, grammar.parse(sentence.tokens.numpy()), strict=False):
        assert np.array_equal(found, parsed)
    laws = posteriors(grammar, sentence.tokens[:1])
    for level in range(grammar.parsed_depth + 1, grammar.depth + 1):
        drawn = np.eye(grammar.num_symbols_at(level))[levels[level]].mean(0)
        law = laws[level][0].numpy()
        assert np.abs(drawn - law).max() < 4.5 * 0.5 / math.sqrt(4000)
        assert law.max() < 0.99  # it is not known
