import contextlib
import hashlib
import threading

import numpy as np
import pytest
from exact_law import enumerated_law
from small_grammars import skewed_grammar

from rhm_hf.grammar import Grammar
from rhm_hf.grammar.sentences import sampling
from rhm_hf.grammar.sentences.permutation import Permutation
from rhm_hf.grammar.sentences.sampling import check_split_sizes, resolve_sampling


SPLITS = ("train", "validation", "test", "evaluation")


def zipf_grammar() -> Grammar:
    """Rules and classes of unequal probability, from numbers that no library can change."""
    rules = Grammar.from_name("v9-m5-s2-L3-c4", rules_seed=1).rules
    probs = [np.tile(np.array([60, 30, 20, 15, 0]) / 125, (len(level), 1)) for level in rules]
    return Grammar.from_rules(rules, probs, root_probs=[0.5, 0.25, 0.25, 0])


def grammar_of(name: str) -> Grammar:
    return zipf_grammar() if name == "zipf" else Grammar.from_name(name, rules_seed=1)


def rows(sentences: np.ndarray) -> set[bytes]:
    return {row.tobytes() for row in sentences}


def digest(grammar, num=12, **arguments) -> str:
    tokens = grammar.sample(num, **arguments)
    assert tokens.shape == (num, grammar.sentence_length)
    return hashlib.sha256(tokens.astype("<i4").tobytes()).hexdigest()[:16]


# Sentences may never change: data sets, caches and published results are named by parameters and seeds alone.
FROZEN = {
    ("v4-m2-s2-L2", "iid"): ["8beeeed5107e5354", "1f81c8fe0e29e4d2", "baa9e4e0e79fc45d", "882cad96d5fceeec"],
    ("v4-m2-s2-L2", "unique"): ["40a6d573b65412a5", "7f7ed2912965873d", "7a4917aa0e2f1ea4"],
    ("v32-m8-s2-L4", "iid"): ["aa543d3057d79645", "9a811c4c353ea3ed", "d3404cabd7f6d3d6", "73852d3d55525c7c"],
    ("v32-m8-s2-L4", "unique"): ["bc1882c849a0f96c", "74e3f94427adcd02", "23b7a5fe988a55c6"],
    ("v32-m8-s2-L4", "disjoint"): ["e7fbd67f60160349", "031fbfbc9e72cd50", "c4bbbb4af34be551"],
    ("v32-m11-s2-L4", "iid"): ["75d83e9796bb949b", "bbbc464c306fdd1a", "8728e7fc68486350", "c01a133d3ed03ed7"],
    ("v32-m11-s2-L4", "unique"): ["a0f7e0c65e2b5511", "0b141bb66138e356", "78e9ffbec0a64f1d"],
    ("v5-m3-s3-L3", "iid"): ["4e3c01f6ebd45ae4", "2bf427653cc8ce9f", "b026bcd0eab6b137", "800e202b727fc86e"],
    ("v5-m3-s3-L3", "unique"): ["21dd8a0fd8a596d5", "cdf09874c7ac2511", "27588122121115ba"],
    ("v5-m3-s3-L3", "disjoint"): ["4f06333db6ee073e", "a4268e9064d47908", "883eab5fe5c82612"],
    ("v300-m7-s2-L3", "iid"): ["3132f1f6a4439b9f", "8ef0537948dd39e1", "f65cad008e4321ae", "d77b21847bb21b31"],
    ("v300-m7-s2-L3", "unique"): ["c882a0d12cc7f52f", "1022b0568aacc428", "2b86f7527e23ad65"],
    ("v300-m7-s2-L3", "disjoint"): ["e4cf5c8473d91f8e", "a38e98b196a444d4", "2b81c4aa6eb9166f"],
    ("v16-m4-s2-L6", "iid"): ["a5d312d27fa55f6b", "09f7477ccc94fc3a", "8804f525619f2c62", "3f91501b8abb1002"],
    ("v16-m4-s2-L6", "unique"): ["0a333524112ab9f4", "a72e7d4f61917e96", "3865810a8b14ff5b"],
    ("v8-m5-s2-L5", "iid"): ["bc2adfd80c374d6f", "397c57cc8b76de09", "9383c8b17d0e8a0a", "ad362c19963b7089"],
    ("v8-m5-s2-L5", "unique"): ["3ec50915c3777f3d", "6aaff04ad2db4455", "7df30d907148ae37"],
    ("v12-m3-s11-L2", "iid"): ["262643c291790e07", "f1c42efeac653a34", "3a67793a5ba22339", "c223e721d903e458"],
    ("v12-m3-s11-L2", "unique"): ["90ed6c28db34708b", "20afafc19bc240a8", "c13dc7595cc58712"],
    ("v70000-m2-s2-L2", "iid"): ["3eaa8a4fbb5c2b8e", "a40a41f14a1cc04a", "4d94b10002d6d1ca", "458710d6f7a742e6"],
    ("v70000-m2-s2-L2", "unique"): ["ab8b2035e93fdd9c", "ddc14a3f0cde0e56", "81bbc81b4a283e01"],
    ("zipf", "iid"): ["2efdfbcd7417fe04", "a394df99744355f1", "5f6778d5489723f8", "8631b8006040d561"],
    ("zipf", "disjoint"): ["7ea794eaddf0cfe8", "5e35fd351711825c", "f79377902f2f8634"],
}


@pytest.mark.parametrize(("name", "how"), FROZEN)
def test_frozen_sentences(name, how):
    grammar, disjoint = grammar_of(name), how == "disjoint"
    arguments = {"sampling": "iid" if disjoint else how, "disjoint": disjoint}
    splits = SPLITS if how == "iid" else SPLITS[:3]
    assert [digest(grammar, split=split, **arguments) for split in splits] == FROZEN[name, how]


# From one token table to prefixes of permuted indices, numbers of one digit, redrawn ones, 16 and 32 bits a token.
NAMES = [
    "v4-m2-s2-L2",  # one table
    "v32-m8-s2-L4",
    "v32-m11-s2-L4",
    "v5-m3-s3-L3",  # blocks of nine tokens
    "v300-m7-s2-L3",
    "v16-m4-s2-L6",  # P_max = 2^130
    "v8-m5-s2-L5",  # P_max = 2^75
    "v12-m3-s11-L2",  # more children than fit one unit
    "v70000-m2-s2-L2",
    "zipf",
]


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("mode", ["iid", "unique", "disjoint"])
def test_any_cut_gives_the_same_sentences(name, mode, monkeypatch):
    grammar = grammar_of(name)
    arguments = {"sampling": "unique" if mode == "unique" else "iid", "disjoint": mode == "disjoint", "seed": 3}
    if mode == "unique" and not grammar.is_equiprobable:
        return
    for split in SPLITS[:3]:
        num = 8 if name == "v4-m2-s2-L2" else 61
        whole = grammar.sample(num, split=split, **arguments)
        for start, end in ((0, 1), (1, 2), (3, 8), (num - 1, num), (5, num)):
            part = grammar.sample(end - start, split=split, start=start, **arguments)
            assert (part == whole[start:end]).all()
        monkeypatch.setattr(sampling, "WORKING_BYTES", 1000)
        assert (grammar.sample(num, split=split, **arguments) == whole).all()
        monkeypatch.undo()


def test_large_cuts_give_the_same_sentences():
    grammar = grammar_of("v32-m11-s2-L4")
    for arguments in ({"sampling": "iid"}, {"sampling": "unique"}, {"sampling": "iid", "disjoint": True}):
        whole = grammar.sample(70001, **arguments)
        assert (grammar.sample(40001, start=30000, **arguments) == whole[30000:]).all()


@pytest.mark.parametrize("name", NAMES)
def test_splits_seeds_and_ways_of_sampling_differ_and_repeat(name):
    grammar = grammar_of(name)
    num = 5 if name == "v4-m2-s2-L2" else 20
    ways = [("iid", split) for split in SPLITS] + [("unique", split) for split in SPLITS[:3]]
    seen = set()
    for how, split in ways:
        if how == "unique" and not grammar.is_equiprobable:
            continue
        for seed in (0, 1, 2**63 - 1):
            tokens = grammar.sample(num, seed=seed, split=split, sampling=how)
            assert tokens.dtype == grammar.token_dtype
            assert (tokens == grammar.sample(num, seed=seed, split=split, sampling=how)).all()
            seen.add(tokens.tobytes())
            for row in tokens[:5]:
                grammar.index(row)  # grammatical
    assert len(seen) == (12 if name == "zipf" else 21)


@pytest.mark.parametrize("name", ["v4-m2-s2-L2", "v5-m3-s2-L2-c3", "v3-m2-s3-L2", "v7-m4-s2-L3-c1", "v3-m1-s2-L4-c2"])
def test_unique_sentences_are_all_sentences_once(name):
    grammar = grammar_of(name)
    everything = grammar.sample(grammar.num_sentences, seed=2)
    assert len(rows(everything)) == grammar.num_sentences
    backwards = np.concatenate(
        [grammar.sample(grammar.num_sentences // 2, seed=2, split=split) for split in ("test", "validation")]
    )
    assert rows(backwards) <= rows(everything)
    assert len(rows(backwards)) == len(backwards)


@pytest.mark.parametrize("name", [name for name in NAMES if name not in ("zipf", "v16-m4-s2-L6")])
def test_unique_sentences_are_those_of_the_permuted_indices(name):
    grammar = grammar_of(name)
    layout = grammar.sampling_plan.permuted
    sizes = [int(size) for size in layout.products]
    assert len(sizes) == layout.num_permuted == (1 if grammar.num_sentences <= 2**60 else 2)
    for split, positions in (("train", [3, 4]), ("test", [-7, -9]), ("validation", [-8, -10])):
        tokens = grammar.sample(2, seed=9, split=split, start=3)
        for row, position in zip(tokens, positions, strict=True):
            numbers = np.empty((1, len(sizes)), dtype=np.uint64)
            Permutation(sizes, 9).fill_indices(position % grammar.num_sentences, 1, numbers)
            index = 0
            for number, size in zip(numbers[0].tolist(), sizes, strict=True):
                index = index * size + (number * size >> 64)
            assert (grammar.sentence(index) == row).all()


def test_sentences_of_more_than_124_bits_have_distinct_leading_digits():
    grammar = Grammar.from_name("v32-m8-s2-L10")
    layout = grammar.sampling_plan.permuted
    assert layout.num_permuted == 2
    assert all(2**40 < product <= 2**62 for product in layout.products[:2])
    rest = grammar.num_sentences
    for product in layout.products.tolist():
        rest, remainder = divmod(rest, product)
        assert remainder == 0, "a digit was cut"
    assert rest == 1
    splits = [grammar.sample(3000, split=split) for split in SPLITS[:3]]
    prefix = int(layout.products[0]) * int(layout.products[1])
    for tokens in splits:
        leading = {grammar.index(row) // (grammar.num_sentences // prefix) for row in tokens[:50]}
        assert len(leading) == 50
    assert len(rows(np.concatenate(splits))) == 9000
    # What follows the leading digits is random too: the last token takes all values.
    assert len(set(splits[0][:, -1].tolist())) > 28


@pytest.mark.parametrize("name", ["v32-m8-s2-L4", "v8-m5-s2-L5", "v16-m4-s2-L6", "v5-m3-s2-L2-c3"])
def test_unique_splits_are_disjoint_and_nested(name):
    grammar = grammar_of(name)
    sizes = (40, 20, 15) if name.endswith("c3") else (5000, 2000, 1500)
    check_split_sizes(grammar, *sizes)
    splits = [grammar.sample(size, seed=1, split=split) for size, split in zip(sizes, SPLITS[:3], strict=True)]
    assert len(rows(np.concatenate(splits))) == sum(sizes)
    for split, size, tokens in zip(SPLITS[:3], sizes, splits, strict=True):
        assert (grammar.sample(size // 3, seed=1, split=split) == tokens[: size // 3]).all()


def test_sizes_at_which_splits_meet():
    grammar = grammar_of("v5-m3-s2-L2-c3")  # 81 sentences
    for sizes in ((81, 0, 0), (0, 0, 41), (0, 40, 41), (41, 20, 20), (42, 0, 20), (1, 40, 40), (0, 0, 0)):
        check_split_sizes(grammar, *sizes)
        splits = [grammar.sample(size, split=split) for size, split in zip(sizes, SPLITS[:3], strict=True)]
        assert len(rows(np.concatenate(splits))) == sum(sizes)
    for sizes in ((82, 0, 0), (0, 0, 42), (0, 41, 0), (42, 20, 20), (43, 0, 20), (81, 0, 1), (2, 40, 40)):
        with pytest.raises(ValueError, match=f"train_size={sizes[0]}, .* do not fit: .* has 81 distinct sentences"):
            check_split_sizes(grammar, *sizes)
        check_split_sizes(grammar, *sizes, sampling="iid")
    check_split_sizes(skewed_grammar(), 10**6, 10**6, 10**6)
    with pytest.raises(ValueError, match="validation_size=-1 is out of range"):
        check_split_sizes(grammar, 1, -1, 1)
    with pytest.raises(ValueError, match="sampling='unique' is impossible"):
        check_split_sizes(skewed_grammar(), 1, 1, 1, sampling="unique")


@pytest.mark.parametrize(("split", "most"), [("train", 81), ("test", 41), ("validation", 40)])
def test_more_distinct_sentences_than_exist(split, most):
    grammar = grammar_of("v5-m3-s2-L2-c3")
    assert len(rows(grammar.sample(most, split=split))) == most
    assert len(grammar.sample(1, split=split, start=most - 1)) == 1
    assert grammar.sample(0, split=split, start=most + 5).shape == (0, 4)
    for num, start in ((most + 1, 0), (1, most), (2**30, 0), (1, 2**60)):
        with pytest.raises(ValueError, match=f"asks for more distinct {split} sentences than exist: .* has 81,"):
            grammar.sample(num, split=split, start=start)


def test_defaults():
    grammar, skewed = grammar_of("v8-m5-s2-L5"), skewed_grammar()
    assert (resolve_sampling(grammar), resolve_sampling(skewed)) == ("unique", "iid")
    assert (grammar.sample(9) == grammar.sample(9, 0, "train", "unique", 0)).all()
    assert (skewed.sample(9) == skewed.sample(9, 0, "train", "iid", 0)).all()
    assert (grammar.sample(9, split="evaluation") == grammar.sample(9, split="evaluation", sampling="iid")).all()


@pytest.mark.parametrize("name", ["v4-m3-s2-L3", "v32-m8-s2-L4", "v300-m7-s2-L3", "v3-m2-s3-L2", "zipf"])
def test_disjoint_iid_splits(name):
    grammar = grammar_of(name)
    splits = {split: grammar.sample(3000, seed=7, split=split, sampling="iid", disjoint=True) for split in SPLITS[:3]}
    seen = {split: rows(tokens) for split, tokens in splits.items()}
    assert sum(map(len, seen.values())) == len(set.union(*seen.values()))
    # The regions are cut by sentence and seed: the same sentences in every run, others for another seed.
    longer = grammar.sample(4000, seed=7, split="train", sampling="iid", disjoint=True)
    assert (longer[:3000] == splits["train"]).all()
    other = rows(grammar.sample(3000, seed=8, split="test", sampling="iid", disjoint=True))
    if grammar.num_sentences < 2**12:
        assert other & seen["train"]


def test_the_law_inside_a_region_is_the_grammars():
    grammar = skewed_grammar()
    law = enumerated_law(grammar)
    for split, share in (("train", 0.8), ("test", 0.1)):
        tokens = grammar.sample(40000, split=split, sampling="iid", disjoint=True)
        found, counts = np.unique(tokens, axis=0, return_counts=True)
        expected = np.array([law[tuple(row)] for row in found.tolist()])
        mass = expected.sum()
        assert mass == pytest.approx(share, abs=0.15)
        expected *= len(tokens) / mass
        common = expected > 20
        assert np.abs((counts - expected)[common] / np.sqrt(expected[common])).max() < 5


def test_a_region_without_sentences_is_an_error():
    grammar = Grammar.from_rules([[[[0, 1]], [[1, 0]]]])
    everything = rows(grammar.sample(50, sampling="iid"))
    assert len(everything) == 2
    empty = ["train", "validation", "test"]
    for split in ("train", "validation", "test"):
        with contextlib.suppress(ValueError):
            found = rows(grammar.sample(50, split=split, sampling="iid", disjoint=True))
            assert found <= everything
            everything -= found
            empty.remove(split)
    assert not everything  # each sentence is in one region
    assert empty
    for split in empty:
        with pytest.raises(ValueError, match=rf"disjoint=True leaves split='{split}' \(almost\) without sentences"):
            grammar.sample(1, split=split, sampling="iid", disjoint=True)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"num": -1}, "num=-1 is out of range"),
        ({"num": 1.5}, r"num=1\.5 is not an integer"),
        ({"num": 3, "seed": -1}, "seed=-1 is out of range"),
        ({"num": 3, "seed": 2**63}, "seed=9223372036854775808 is out of range"),
        ({"num": 3, "seed": "0"}, "seed='0' is not an integer"),
        ({"num": 3, "seed": None}, "seed=None is not an integer"),
        ({"num": 3, "start": -1}, "start=-1 is out of range"),
        ({"num": 3, "start": 2**63 - 9, "sampling": "iid"}, "start=9223372036854775799 with num=3 is too large"),
        ({"num": 3, "start": 2**63, "sampling": "iid"}, "start=9223372036854775808 is out of range"),
        ({"num": 2**63, "sampling": "iid"}, "num=9223372036854775808 is out of range"),
        ({"num": 3, "split": "valid"}, "split='valid' is unknown: use one of train, validation, test, evaluation"),
        ({"num": 3, "sampling": "uniq"}, "sampling='uniq' is unknown"),
        ({"num": 3, "split": "evaluation", "sampling": "unique"}, "cannot have sampling='unique'"),
        ({"num": 3, "split": "evaluation", "sampling": "uniq"}, "sampling='uniq' is unknown"),
        ({"num": 3, "split": "evaluation", "disjoint": True}, "cannot have disjoint=True"),
    ],
)
def test_bad_arguments(arguments, message):
    grammar = grammar_of("v8-m5-s2-L5")
    with pytest.raises(ValueError, match=message):
        grammar.sample(**arguments)
    with pytest.raises(ValueError, match=message):
        grammar.derivations(**arguments)


def test_indices_beyond_the_counter():
    with pytest.raises(ValueError, match=r"start=4611686018427387904 with num=1 is too large"):
        Grammar.from_name("v32-m8-s2-L10").sample(1, start=2**62)
    late = Grammar.from_name("v8-m5-s2-L5").sample(2, start=2**60)
    assert len(rows(late)) == 2


def test_unique_is_refused_where_it_would_be_another_law():
    with pytest.raises(ValueError, match=r"not equally probable.*use sampling='iid', with disjoint=True"):
        skewed_grammar().sample(3, sampling="unique")


def test_no_sentences():
    for how in ("iid", "unique"):
        assert grammar_of("v32-m8-s2-L4").sample(0, sampling=how).shape == (0, 16)


def test_threads_give_the_same_sentences():
    grammar = grammar_of("v32-m8-s2-L4")
    whole = grammar.sample(40000, sampling="iid")
    parts = [None] * 4

    def work(k):
        parts[k] = grammar.sample(10000, sampling="iid", start=10000 * k)

    threads = [threading.Thread(target=work, args=(k,)) for k in range(4)]
    [thread.start() for thread in threads], [thread.join() for thread in threads]
    assert (np.concatenate(parts) == whole).all()


def test_memory_stays_under_twice_the_output():
    import tracemalloc

    grammar = grammar_of("v32-m8-s2-L4")
    for arguments in ({"sampling": "iid"}, {"sampling": "unique"}, {"sampling": "iid", "disjoint": True}):
        grammar.sample(10, **arguments)
        tracemalloc.start()
        tokens = grammar.sample(300000, **arguments)
        _, peak = tracemalloc.get_traced_memory()
        tracemalloc.stop()
        assert peak < 2 * tokens.nbytes
