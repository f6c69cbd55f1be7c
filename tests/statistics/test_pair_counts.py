"""Pair counts against plain loops, however the tokens are given, cut, merged, saved and stored."""

import itertools

import numpy as np
import pytest
import torch

from rhm_hf.statistics import PairCounts, ngram_ids, token_correlations, tuple_ids


V, DISTANCES = 7, (1, 2, 5, 9)


def text(length, seed=0, v=V):
    """Skewed and repetitive, so that the same pair often follows itself."""
    rng = np.random.default_rng(seed)
    return np.repeat(rng.choice(v, length, p=rng.dirichlet(np.ones(v))), rng.integers(1, 4, length))[:length]


def brute_force(documents, t, v=V, only_last=False, left=None, num_left=None):
    """Plain loops over pairs of positions."""
    table = np.zeros((num_left or v, v), np.int64)
    for k, document in enumerate(documents):
        lefts = document if left is None else left[k]
        for r in range(len(document)):
            if r - t >= 0 and (not only_last or r == len(document) - 1) and lefts[r - t] >= 0:
                table[lefts[r - t], document[r]] += 1
    return table


def agrees(counts, documents, **kwargs):
    for t in counts.distances:
        expected = brute_force(documents, t, **kwargs)
        if expected.sum():
            np.testing.assert_array_equal(counts.table(t), expected)


MODES = [{}, {"sparse": True}, {"num_blocks": 1}, {"num_blocks": 3, "block_length": 10}, {"num_threads": 2}]


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("kind", [np.uint8, np.int16, np.uint16, np.int64, "tensor", "list", "reversed", "read-only"])
def test_one_text(mode, kind):
    x = text(500)
    given = {"tensor": torch.as_tensor, "list": np.ndarray.tolist, "reversed": lambda x: x[::-1].copy()[::-1]}
    if kind == "read-only":
        tokens = x.astype(np.uint16)
        tokens.setflags(write=False)
    else:
        tokens = given[kind](x) if kind in given else x.astype(kind)
    agrees(PairCounts(DISTANCES, V, **mode).add(tokens), [x])


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("anchor", ["all", "last"])
@pytest.mark.parametrize("length", [2, 6, 40])
def test_rows(mode, anchor, length):
    rows = text(40 * length, 1).reshape(40, length)
    counts = PairCounts(DISTANCES, V, anchor=anchor, **mode)
    counts.add(rows[:13]).add(torch.as_tensor(rows[13:]))
    agrees(counts, rows, only_last=anchor == "last")
    assert counts.num_tokens == rows.size


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("anchor", ["all", "last"])
def test_windows_never_cross_documents(mode, anchor):
    rng = np.random.default_rng(2)
    documents = [text(n, seed) for seed, n in enumerate(rng.integers(0, 30, 60))]
    counts = PairCounts(DISTANCES, V, anchor=anchor, **mode).add_documents(iter(documents))
    agrees(counts, documents, only_last=anchor == "last")


@pytest.mark.parametrize("mode", MODES)
def test_pairs_reach_back_into_earlier_pieces(mode):
    x = text(600, 3)
    whole = PairCounts(DISTANCES, V, **mode).add(x)
    pieces = PairCounts(DISTANCES, V, **mode)
    for piece in np.split(x, [1, 2, 3, 40, 41, 47, 333]):
        pieces.extend(piece)
    for t in DISTANCES:
        for one, other in zip(pieces.blocks(t)._counts, whole.blocks(t)._counts, strict=True):
            np.testing.assert_array_equal(one, other)  # block by block
    pieces.close().extend(x[:20])  # another document
    agrees(pieces, [x, x[:20]])


def test_large_arrays_are_read_in_pieces(monkeypatch):
    x = text(1000, 4)
    for name in ("PIECE_TOKENS", "SPARSE_PIECE_TOKENS"):
        monkeypatch.setattr(f"rhm_hf.statistics.pairs.pair_counts.{name}", 37)
    monkeypatch.setattr("rhm_hf.statistics.pairs.count_tables.PENDING_ENTRIES", 50)
    for sparse in (False, True):
        agrees(PairCounts(DISTANCES, V, sparse=sparse).add(x), [x])
        agrees(PairCounts(DISTANCES, V, sparse=sparse).add(x.reshape(-1, 10)), x.reshape(-1, 10))
        agrees(PairCounts(DISTANCES, V, sparse=sparse).add_documents(np.split(x, 9 * [0] + [400])), np.split(x, [400]))


def test_files_are_memory_mapped(tmp_path):
    x = text(5000, 5).astype(np.uint8)
    x.tofile(tmp_path / "text.bin")
    mapped = np.memmap(tmp_path / "text.bin", np.uint8, "r")
    agrees(PairCounts(DISTANCES, V).add(mapped), [x])


def test_short_and_long_segments_use_the_same_counts():
    # One token only: every pair has the same key. Blocks long enough for four tables, and one shorter.
    counts = PairCounts([1, 3], 2, num_blocks=4, block_length=1000).add(np.zeros(3210, np.uint8))
    assert counts.blocks(1).pairs_per_block.tolist() == [999, 1000, 1000, 210]
    assert counts.table(3).tolist() == [[3207, 0], [0, 0]]


@pytest.mark.parametrize("mode", MODES)
def test_merging_in_any_order_is_the_whole(mode):
    rows = text(90 * 12, 6).reshape(90, 12)
    settings = {"center": "position"} | mode
    whole = PairCounts(DISTANCES, V, **settings).add(rows)
    cuts = [0, 20, 21, 60, 90]
    parts = [PairCounts(DISTANCES, V, start=12 * a, **settings).add(rows[a:b]) for a, b in itertools.pairwise(cuts)]
    for order in ([0, 1, 2, 3], [3, 1, 0, 2]):
        merged = PairCounts(DISTANCES, V, **settings)
        for k in order:
            merged.merge(parts[k])
        for total in (merged, (parts[order[0]] + parts[order[1]]) + (parts[order[2]] + parts[order[3]])):
            assert total.num_tokens == whole.num_tokens
            for t in DISTANCES:
                weights = np.random.default_rng(0).random(whole.settings["num_blocks"])
                assert total.blocks(t).law(weights).correlation == whole.blocks(t).law(weights).correlation


@pytest.mark.parametrize("sparse", [False, True])
def test_a_saved_count_goes_on_where_it_stopped(tmp_path, sparse):
    x = text(900, 7)
    whole = PairCounts(DISTANCES, V, sparse=sparse, num_blocks=4, block_length=50).add(x)
    part = PairCounts(DISTANCES, V, sparse=sparse, num_blocks=4, block_length=50).extend(x[:333])
    part.save(tmp_path / "counts.safetensors")
    assert [file.name for file in tmp_path.iterdir()] == ["counts.safetensors"]
    resumed = PairCounts.load(tmp_path / "counts.safetensors").extend(x[333:])
    assert resumed.settings == whole.settings
    for t in DISTANCES:
        weights = np.arange(4.0)
        assert resumed.blocks(t).law(weights).correlation == whole.blocks(t).law(weights).correlation
    assert resumed.num_tokens == 900


def test_settings_must_agree_to_merge():
    with pytest.raises(ValueError, match=r"vocab_size=8 of the other counts differs from 7"):
        PairCounts([1], 7).merge(PairCounts([1], 8))
    with pytest.raises(ValueError, match=r"sparse=True of the other"):
        PairCounts([1], 7).merge(PairCounts([1], 7, sparse=True))


def test_a_file_of_another_kind_is_refused(tmp_path):
    from safetensors.numpy import save_file

    save_file({"x": np.zeros(1)}, tmp_path / "other.safetensors")
    with pytest.raises(ValueError, match="has format None"):
        PairCounts.load(tmp_path / "other.safetensors")


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("anchor", ["all", "last"])
def test_other_ids_as_left_members(mode, anchor):
    rng = np.random.default_rng(8)
    rows = text(50 * 11, 9).reshape(50, 11)
    left = rng.integers(-1, 5, rows.shape)
    counts = PairCounts(DISTANCES, V, anchor=anchor, num_left=5, **mode).add(rows, left)
    agrees(counts, rows, only_last=anchor == "last", left=left, num_left=5)
    if anchor == "all":
        stream = PairCounts(DISTANCES, V, num_left=5, **mode)
        for a, b in zip(np.split(rows.ravel(), [100, 103]), np.split(left.ravel(), [100, 103]), strict=True):
            stream.extend(a, b)
        agrees(stream, [rows.ravel()], left=[left.ravel()], num_left=5)


def test_rules_as_ids_of_tuples(small_grammar):
    tokens = small_grammar.sample(50, sampling="iid")
    derivation = small_grammar.parse(tokens)
    for level in range(1, small_grammar.depth + 1):
        block = small_grammar.block_length(level)
        ids = tuple_ids(small_grammar, tokens, level)
        rules, probs = small_grammar.rules_at(level), small_grammar.rule_probs_at(level)
        placed = ids[:, block - 1 :: block]
        assert (np.delete(ids, np.s_[block - 1 :: block], axis=1) == -1).all()
        np.testing.assert_array_equal(placed // rules.shape[1], derivation[level])
        children = rules.reshape(-1, rules.shape[2])[placed].reshape(len(tokens), -1)
        np.testing.assert_array_equal(children, derivation[level - 1])
        assert (probs.ravel()[placed] > 0).all()


def test_tuples_that_are_no_rule_have_no_id():
    from rhm_hf.grammar import Grammar

    grammar = Grammar.from_rules([np.array([[[0, 1]], [[1, 0]]])] * 2)
    ids = tuple_ids(grammar, np.array([[0, 1, 0, 0], [0, 1, 1, 0], [0, 1, 0, 1]]))
    np.testing.assert_array_equal(ids, [[-1, 0, -1, -1], [-1, 0, -1, 1], [-1, 0, -1, 0]])
    above = tuple_ids(grammar, np.array([[0, 1, 0, 0], [0, 1, 1, 0], [0, 1, 0, 1]]), level=2)
    np.testing.assert_array_equal(above[:, 3], [-1, 0, -1])


@pytest.mark.parametrize(("n", "v"), [(1, 5), (3, 5), (4, 2**16)])
def test_ngram_ids_tell_ngrams_apart(n, v):
    rows = np.random.default_rng(0).integers(0, 5, (20, 30)) * (v // 5)
    ids, size = ngram_ids(rows, n, v)
    assert (ids[:, : n - 1] == -1).all()
    windows = np.lib.stride_tricks.sliding_window_view(rows, n, axis=1).reshape(-1, n)
    found = ids[:, n - 1 :].ravel()
    assert 0 <= found.min() <= found.max() < size
    assert size == v**n or size == len(np.unique(windows, axis=0))
    pairs = {(i, tuple(w)) for i, w in zip(found.tolist(), windows.tolist(), strict=True)}
    assert len(pairs) == len({i for i, _ in pairs}) == len({w for _, w in pairs})


def test_large_vocabularies_take_memory_by_what_occurs():
    rng = np.random.default_rng(1)
    tokens = rng.zipf(1.3, 20_000) % 50_257
    counts = PairCounts([1, 4], 50_257, block_length=1000).add(tokens)
    assert counts.is_sparse
    table = counts.blocks(4)
    keys, expected = np.unique(tokens[:-4] * 50_257 + tokens[4:], return_counts=True)
    np.testing.assert_array_equal(table.pattern[0] * 50_257 + table.pattern[1], keys)
    np.testing.assert_allclose(table.law().values * table.law().num_pairs, expected)


@pytest.mark.cuda
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device, this machine has none")
@pytest.mark.parametrize("sparse", [False, True])
@pytest.mark.parametrize("anchor", ["all", "last"])
def test_counts_on_a_gpu_are_those_of_the_cpu(sparse, anchor):
    rows = text(3000, 3).reshape(100, 30)
    counts = PairCounts(DISTANCES, V, anchor=anchor, sparse=sparse, device="cuda", num_blocks=3, block_length=30)
    counts.add(torch.as_tensor(rows).cuda())
    agrees(counts, rows, only_last=anchor == "last")
    assert counts.merge(counts).num_tokens == 6000


def test_the_torch_path_counts_like_the_kernel():
    # What CUDA devices run, here on the CPU: keys and bincount instead of the kernel.
    from rhm_hf.statistics.pairs.count_tables import Layout, Piece

    x, starts = torch.as_tensor(text(200, 3)), torch.tensor([0, 30, 31, 31, 90, 200])
    documents = [x[a:b].numpy() for a, b in itertools.pairwise(starts)]
    for only_last in (False, True):
        layout = Layout((2,), only_last, V, V, 3, 17)
        keys = Piece(x, x, starts, 0, 5).keys(layout, 2)
        table = torch.bincount(keys, minlength=3 * V * V).view(3, V, V).sum(0)
        np.testing.assert_array_equal(table, brute_force(documents, 2, only_last=only_last))


@pytest.mark.parametrize(
    ("call", "match"),
    [
        (lambda: PairCounts([0], 5), r"distances=\[0\]"),
        (lambda: PairCounts([], 5), r"distances=\[\]"),
        (lambda: PairCounts([1.5], 5), r"distances\[0\]=1.5"),
        (lambda: PairCounts([1], 0), "vocab_size=0"),
        (lambda: PairCounts([1], 2.5), "vocab_size=2.5"),
        (lambda: PairCounts([1], 5, num_blocks=0), "num_blocks=0"),
        (lambda: PairCounts([1], 5, anchor="first"), "anchor='first'"),
        (lambda: PairCounts([1], 5, center="mean"), "center='mean'"),
        (lambda: PairCounts([1], 5, center="position", anchor="last"), "center='position' with anchor='last'"),
        (lambda: PairCounts([1], 2**31, num_left=2**31), "exceeds 64 bits"),
        (lambda: PairCounts([1], 5).add([[1, 2], [3]]), "tokens is ragged"),
        (lambda: PairCounts([1], 5).add([1.0, 2.0]), "dtype float64"),
        (lambda: PairCounts([1], 5).add(torch.ones(3)), r"dtype torch.float32"),
        (lambda: PairCounts([1], 5).add([1, 5]), "tokens holds 5, out of range: ids must be 0 to 4"),
        (lambda: PairCounts([1], 5).add([1, -1]), "tokens holds -1"),
        (lambda: PairCounts([1], 5).add(np.zeros((2, 2, 2), int)), r"shape \(2, 2, 2\)"),
        (lambda: PairCounts([1], 5).add([1, 2], [0, 1]), "if and only if num_left"),
        (lambda: PairCounts([1], 5, num_left=2).add([1, 2]), "if and only if num_left"),
        (lambda: PairCounts([1], 5, num_left=2).add([1, 2], [0]), r"left has shape \(1,\)"),
        (lambda: PairCounts([1], 5, num_left=2).add([1, 2], [0, 2]), "left holds 2.*larger num_left"),
        (lambda: PairCounts([1], 5, anchor="last").extend([1, 2]), "anchor='last' needs whole documents"),
        (lambda: PairCounts([1], 5).extend([[1, 2]]), r"shape \(1, 2\)"),
        (lambda: PairCounts([1], 5).add_documents([[[1, 2]]]), r"a document has shape \(1, 2\)"),
        (lambda: PairCounts([1], 5, center="position").extend([1, 2]).extend([1]), "rows of one length"),
        (lambda: PairCounts([1], 5).add([1, 2]).table(2), "distance=2 was not counted"),
        (lambda: PairCounts([1], 5).table(1), "the text is empty"),
        (lambda: PairCounts([3], 5).add_documents([[1, 2], [3, 1, 2]]).table(3), "longest document has 3 tokens"),
        (lambda: ngram_ids([1, 2], 3, 5), "n=3"),
        (lambda: ngram_ids([1, 7], 2, 5), "out of range"),
        (lambda: token_correlations(3, [1]), "tokens is a int"),
    ],
)
def test_bad_input_of_counting_is_named(call, match):
    with pytest.raises(ValueError, match=match):
        call()
