"""The correlation learner: its parts by hand, grammars recovered, and the P at which it recovers them."""

import itertools

import numpy as np
import pytest

from rhm_hf import Grammar, HierarchicalNGramForCausalLM, RHMForCausalLM, load_metric, theory
from rhm_hf.statistics import learn_latents, synonym_agreement
from rhm_hf.statistics.learner.kmeans import kmeans
from rhm_hf.statistics.learner.latents import TupleGroups, _joint_targets


def sentences(grammar, num, seed=0, split="train"):
    return grammar.sample(num, seed=seed, split=split, sampling="iid")


def agreement(latents, grammar, level, nodes=slice(None), num=4096) -> float:
    """Of inferred and true symbols of a level, on fresh sentences."""
    fresh = sentences(grammar, num, split="evaluation")
    true = grammar.parse(fresh)
    tuples = true[level - 1].reshape(num, -1, grammar.tuple_size_at(level)).astype(np.int64)
    rules = grammar.prefix_tree(level).find(tuples)
    return synonym_agreement(latents.parse(fresh)[level][:, nodes], true[level][:, nodes], rules[:, nodes])


def test_kmeans_finds_separate_clusters_whatever_the_seed():
    rng = np.random.default_rng(0)
    truth = rng.permutation(np.repeat(np.arange(5), 20))
    rows = 10 * np.eye(5)[truth] + rng.normal(size=(100, 5))
    for seed in range(5):
        labels = kmeans(rows, np.ones(100), 5, np.random.default_rng(seed))
        assert len(set(zip(labels.tolist(), truth.tolist(), strict=True))) == 5
        assert set(labels.tolist()) == set(range(5))
        again = kmeans(rows, np.ones(100), 5, np.random.default_rng(seed))
        assert (labels == again).all()


def test_kmeans_is_a_local_minimum_of_the_weighted_distances():
    rng = np.random.default_rng(1)
    rows, weights = rng.normal(size=(40, 3)), rng.uniform(0.1, 5, 40)
    labels = kmeans(rows, weights, 4, rng)
    centres = np.stack([np.average(rows[labels == k], axis=0, weights=weights[labels == k]) for k in range(4)])
    distances = ((rows[:, None] - centres) ** 2).sum(-1)
    assert (distances.argmin(1) == labels).all()


def test_kmeans_of_few_or_equal_rows():
    assert kmeans(np.zeros((3, 2)), np.ones(3), 5, np.random.default_rng(0)).tolist() == [0, 1, 2]
    labels = kmeans(np.repeat([[0.0], [1.0]], 4, axis=0), np.ones(8), 3, np.random.default_rng(0))
    assert set(labels[:4]).isdisjoint(labels[4:])
    assert set(labels.tolist()) == set(range(labels.max() + 1))


def agreement_of_pairs(labels, symbols, rules):
    """Pair by pair."""
    synonyms, strangers = [], []
    for a, b in itertools.permutations(range(len(labels)), 2):
        together = labels[a] == labels[b] != -1
        if symbols[a] != symbols[b]:
            strangers.append(together)
        elif rules[a] != rules[b]:
            synonyms.append(together)
    return np.mean(synonyms) - np.mean(strangers)


def test_agreement_is_counted_over_pairs_and_ignores_names():
    rng = np.random.default_rng(0)
    rules = rng.integers(0, 12, 60)
    symbols, labels = rules // 3, rng.integers(-1, 4, 60)
    expected = agreement_of_pairs(labels, symbols, rules)
    assert synonym_agreement(labels, symbols, rules) == pytest.approx(expected)
    renamed = np.where(labels < 0, -1, np.array([70, 3, 11, 5])[labels])
    assert synonym_agreement(renamed, symbols, rules) == pytest.approx(expected)
    assert synonym_agreement(5 - symbols, symbols, rules) == 1
    assert synonym_agreement(np.zeros(60, int), symbols, rules) == 0
    assert synonym_agreement(np.full(60, -1), symbols, rules) == 0
    for wrong in ((rules, rules, rules), (labels, np.zeros(60, int), rules)):
        with pytest.raises(ValueError, match="two rules of one symbol, and two symbols"):
            synonym_agreement(*wrong)


def test_targets_are_the_last_token_or_the_nearest_of_each_sibling():
    tokens = np.arange(9)[None]
    assert _joint_targets(tokens, tokens, [1], 3, "last_token").tolist() == [[[8]]]
    found = _joint_targets(tokens, tokens, range(3), 3, "sibling_token")
    assert (found % 9).tolist() == [[[3, 6], [2, 6], [2, 5]]]  # first token of a right sibling, last of a left one
    assert len(np.unique(found // 9)) == 6  # a range for every pair of children
    latents = np.array([[5, 4, 7, 6, 0, 1, 2, 3]])
    found = _joint_targets(np.zeros((1, 16), int), latents, range(4), 2, "sibling_latent")
    assert (found % 8)[..., 0].tolist() == [[7, 4, 2, 1]]


def test_groups_become_rules_with_their_frequencies():
    groups = TupleGroups(np.array([[0, 1], [1, 1], [2, 0]]), np.array([1, 0, 1]), np.array([3, 5, 1]), 3)
    rules, probs = groups.as_rules()
    assert rules.tolist() == [[[1, 1], [0, 0]], [[0, 1], [2, 0]]]
    assert probs.tolist() == [[1, 0], [0.75, 0.25]]
    found = groups.find(np.array([[2, 0], [0, 0], [1, 1], [-1, 1]]))
    assert found.tolist() == [1, -1, 0, -1]


@pytest.mark.parametrize("targets", ["sibling_token", "sibling_latent"])
@pytest.mark.parametrize("name", ["v8-m2-s2-L3", "v6-m4-s3-L2"])
def test_a_grammar_is_inferred_from_enough_sentences(name, targets):
    grammar = Grammar.from_name(name, rules_seed=1)
    train = sentences(grammar, 2**14)
    v = grammar.vocab_size
    latents = learn_latents(train, v, grammar.tuple_size_at(1), targets=targets, num_symbols=v)
    for level in range(1, grammar.depth):
        assert agreement(latents, grammar, level) == 1
    inferred = latents.grammar()
    assert inferred.rules_at(1).shape == grammar.rules_at(1).shape
    metric = load_metric("rhm_kl")
    fresh = sentences(grammar, 500, split="evaluation")
    for model in (RHMForCausalLM.from_grammar(inferred), HierarchicalNGramForCausalLM.fit(train, inferred)):
        assert metric.compute(input_ids=fresh, model=model, grammar=grammar)["kl"] < 0.05


def test_synonyms_are_recognised_from_the_sample_complexity_on():
    """Agreement is low at P_ℓ / 8 and high at 8 P_ℓ, for the level-1 nodes that meet the last token at level ℓ."""
    grammar = Grammar.from_name("v16-m4-s2-L3", rules_seed=0)
    nodes = {2: [2], 3: [0, 1]}  # the other level-1 node holds the last token; every node has labels of its own
    for level, of_level in nodes.items():
        threshold = theory.sample_complexity(grammar.parameters, level)
        for factor, low, high in ((1 / 8, -0.1, 0.3), (8, 0.8, 1)):
            latents = learn_latents(sentences(grammar, int(factor * threshold)), 16, 2, num_symbols=16)
            for node in of_level:
                assert low <= agreement(latents, grammar, 1, slice(node, node + 1)) <= high


def test_sharing_over_positions_learns_sooner():
    grammar = Grammar.from_name("v16-m4-s2-L3", rules_seed=1)
    train = sentences(grammar, 4096)
    scores = [
        agreement(learn_latents(train, 16, 2, targets=targets, num_symbols=16), grammar, 2, slice(0, 1))
        for targets in ("last_token", "sibling_token", "sibling_latent")
    ]
    assert scores[0] < 0.1 < scores[1] < scores[2]


def test_learning_is_deterministic_and_unseen_tuples_are_unknown():
    grammar = Grammar.from_name("v8-m2-s2-L3")
    train, fresh = sentences(grammar, 4), sentences(grammar, 500, split="evaluation")
    for targets in ("last_token", "sibling_token"):
        one, two = (learn_latents(train, 8, 2, targets=targets, num_symbols=8).parse(fresh) for _ in range(2))
        for level, (a, b) in enumerate(zip(one, two, strict=True)):
            assert (a == b).all()
            if level:
                below = one[level - 1].reshape(500, -1, 2)
                assert (a[(below < 0).any(-1)] == -1).all()
        seen = {tuple(t) for t in train.reshape(-1, 2).tolist()}
        unseen = np.array([[tuple(t) not in seen for t in row] for row in fresh.reshape(500, -1, 2).tolist()])
        assert unseen.any()
        assert (one[1][unseen] == -1).all()
    latents = learn_latents(train, 8, 2, num_symbols=8)
    assert (latents.parse(train)[1][:, -1] == -1).all()  # above the last token
    assert (latents.parse(train)[1][:, :-1] >= 0).all()
    with pytest.raises(ValueError, match="targets='last_token' learns the groups of every node by itself"):
        latents.grammar()


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"tokens": np.zeros((3, 6), int)}, r"sentences of 6: with tuple_size=2 they have 2\^L, L >= 2"),
        ({"tokens": np.zeros((3, 2), int)}, "sentences of 2"),
        ({"tokens": np.zeros((0, 4), int)}, r"shape \(0, 4\)"),
        ({"tokens": np.zeros((2, 4))}, "dtype float64: give integers"),
        ({"tokens": np.full((2, 4), -1)}, "holds -1, out of range"),
        ({"num_symbols": 2}, "holds 3, out of range: num_symbols=2"),
        ({"num_latents": 0}, "num_latents=0"),
        ({"tuple_size": 1}, "tuple_size=1"),
        ({"targets": "first"}, "targets='first' is unknown"),
    ],
)
def test_bad_input_of_the_learner_is_refused(change, message):
    with pytest.raises(ValueError, match=message):
        learn_latents(**{"tokens": np.array([[0, 1, 2, 3]]), "num_latents": 4, "tuple_size": 2} | change)


def test_parsing_refuses_what_the_latents_do_not_fit():
    latents = learn_latents(np.array([[0, 1, 2, 3]]), 4, 2)
    with pytest.raises(ValueError, match=r"shape \(1, 8\).*\(sentences, 4\)"):
        latents.parse(np.zeros((1, 8), int))
    with pytest.raises(ValueError, match="holds 9, out of range"):
        latents.parse(np.full((1, 4), 9))
