"""Characters: exact round trips, the alphabet, splits, windows, and every source, each against plain Python."""

import pydoc_data.topics
from collections import Counter

import datasets
import numpy as np
import pytest
from transformers import AutoTokenizer

import rhm_hf.data.text as text_module
from rhm_hf import char_corpus
from rhm_hf.data import CharEncoder, char_tokenizer, tokens_of


ENGLISH = list(pydoc_data.topics.topics.values())[:40]
ODD = "a\r\nb\n\n  \t<s></s><mask>é\U0001f600\u2028\x00\ufffdE\u0301 x"


def corpus_of(*texts, **kwargs):
    return char_corpus(datasets.Dataset.from_dict({"text": list(texts)}), **kwargs)


@pytest.mark.parametrize("text", [ODD, "".join(ENGLISH), "aab"])
def test_the_tokenizer_and_the_look_up_agree_and_go_back_to_the_text(text, tmp_path):
    corpus = corpus_of(text)
    corpus.tokenizer.save_pretrained(tmp_path)
    for tokenizer in (corpus.tokenizer, AutoTokenizer.from_pretrained(tmp_path)):
        ids = CharEncoder(tokenizer)(text)
        assert tokenizer(text)["input_ids"] == ids.tolist() == corpus.splits["train"].ids.tolist()
        assert tokenizer.decode(ids) == text
        assert ids.dtype == np.uint8
    v = corpus.num_symbols
    special = (corpus.tokenizer.unk_token_id, *(getattr(tokenizer, f"{n}_token_id") for n in ("bos", "eos", "pad")))
    assert (*special, tokenizer.mask_token_id) == (v - 1, v, v, v + 1, v + 2)
    assert len(tokenizer) == v + 3


def test_the_alphabet_is_ordered_by_frequency_and_the_rest_is_unknown():
    corpus = corpus_of("cabbccc", "ddcb\U0001f600", max_vocab_size=3)
    assert corpus.tokenizer.convert_ids_to_tokens(range(4)) == [
        "c",
        "b",
        "d",
        "\ufffd",
    ]
    assert corpus.splits["train"].ids.tolist() == [0, 3, 1, 1, 0, 0, 0, 2, 2, 0, 1, 3]
    assert corpus.tokenizer.decode(corpus.splits["train"].ids[:3]) == "c\ufffdb"
    assert corpus_of("cabbccc", "ddcb", min_count=3).tokenizer.convert_ids_to_tokens(range(3)) == ["c", "b", "\ufffd"]
    tied = corpus_of("zyx")
    assert tied.tokenizer.convert_ids_to_tokens(range(3)) == ["x", "y", "z"]
    with pytest.raises(ValueError, match="min_count=9 keeps none"):
        corpus_of("abc", min_count=9)


def test_counts_are_those_of_plain_python():
    corpus = corpus_of(*ENGLISH)
    counts = Counter("".join(ENGLISH))
    order = sorted(counts, key=lambda c: (-counts[c], ord(c)))
    assert corpus.tokenizer.convert_ids_to_tokens(range(len(order))) == order
    assert np.bincount(corpus.splits["train"].ids).tolist() == [counts[c] for c in order]
    assert [corpus.tokenizer.decode(ids) for ids in corpus.splits["train"].documents] == ENGLISH


def test_many_characters_need_wider_types():
    hanzi = "".join(map(chr, range(0x4E00, 0x4E00 + 300)))
    assert corpus_of(hanzi).splits["train"].ids.dtype == np.uint16
    assert CharEncoder(char_tokenizer(hanzi))(hanzi).tolist() == list(range(300))
    everything = "".join(map(chr, [*range(32, 0xD800), *range(0xE000, 0x14000)]))  # surrogates left out
    corpus = corpus_of(everything)
    assert corpus.splits["train"].ids.dtype == np.int32
    assert corpus.tokenizer.decode(corpus.splits["train"].ids[60_000:60_050]) == everything[60_000:60_050]


def test_lone_surrogates_are_unknown():
    tokenizer = char_tokenizer("ab")
    assert CharEncoder(tokenizer)("a\ud800b").tolist() == [0, 2, 1]


def test_windows_are_those_of_plain_loops():
    texts = ["abcdefgh", "ij", "", "klmnop"]
    corpus = corpus_of(*texts)
    for t, stride in ((2, None), (2, 1), (3, 2), (7, 5)):
        rows = corpus.windows(t, stride)["train"]
        assert rows.features["input_ids"] == datasets.List(datasets.Value("uint8"), length=t + 1)
        expected = [text[start : start + t + 1] for text in texts for start in range(0, len(text) - t, stride or t)]
        assert corpus.tokenizer.batch_decode(list(rows["input_ids"])) == expected
    with pytest.raises(
        ValueError, match="context_length=8 needs documents of 9 characters: the longest of train has 8"
    ):
        corpus.windows(8)
    for bad in (0, -1, 2.5, True):
        with pytest.raises(ValueError, match="context_length="):
            corpus.windows(bad)
    with pytest.raises(ValueError, match="stride=0"):
        corpus.windows(2, 0)


def test_large_numbers_of_windows_come_in_tables(monkeypatch):
    corpus = corpus_of(*ENGLISH)
    whole = tokens_of(corpus.windows(20, 3)["train"])
    monkeypatch.setattr(text_module, "BATCH", 1000)
    assert np.array_equal(tokens_of(corpus_of(*ENGLISH).windows(20, 3)["train"]), whole)


def test_a_text_is_split_by_offset_or_by_document():
    texts = ["abcd", "efg", "hi", "jklmn"]
    by_offset = corpus_of(*texts, train_characters=6)
    decoded = {
        name: ["".join(by_offset.tokenizer.convert_ids_to_tokens(d.tolist())) for d in split.documents]
        for name, split in by_offset.splits.items()
    }
    assert decoded == {"train": ["abcd", "ef"], "test": ["g", "hi", "jklmn"]}
    at_boundary = corpus_of(*texts, train_characters=7)
    assert [len(d) for d in at_boundary.splits["train"].documents] == [4, 3]
    assert [len(d) for d in at_boundary.splits["test"].documents] == [2, 5]
    by_document = corpus_of(*texts, test_fraction=0.5)
    assert [len(d) for d in by_document.splits["train"].documents] == [4, 2]
    assert [len(d) for d in by_document.splits["test"].documents] == [3, 5]
    assert np.array_equal(by_document.splits["test"].ids, np.concatenate(by_document.splits["test"].documents))


def test_a_stream_gives_the_same_as_a_dataset_and_splits_are_kept():
    rows = datasets.Dataset.from_dict({"body": ENGLISH, "n": list(range(len(ENGLISH)))})
    parts = rows.train_test_split(0.25, seed=0)
    corpus = char_corpus(parts, text_column="body")
    assert list(corpus.splits) == ["train", "test"]
    streams = datasets.IterableDatasetDict({name: part.to_iterable_dataset(2) for name, part in parts.items()})
    streamed = char_corpus(streams, text_column="body")
    assert streamed.tokenizer.get_vocab() == corpus.tokenizer.get_vocab()
    for name in corpus.splits:
        assert np.array_equal(streamed.splits[name].ids, corpus.splits[name].ids)
        assert np.array_equal(streamed.splits[name].offsets, corpus.splits[name].offsets)


def test_files_keep_their_line_ends(tmp_path):
    first, second = tmp_path / "a.txt", tmp_path / "b.txt"
    first.write_bytes(ODD.encode())
    second.write_bytes(b"second\r\n")
    corpus = char_corpus(text_file=[first, str(second)])
    assert [corpus.tokenizer.decode(d) for d in corpus.splits["train"].documents] == [ODD, "second\r\n"]
    named = char_corpus(text_file={"train": first, "test": [second]})
    assert named.tokenizer.decode(named.splits["test"].ids) == "second\r\n"


def test_an_earlier_tokenizer_is_taken_as_it_is():
    tokenizer = corpus_of("abc").tokenizer
    corpus = corpus_of("cabd", tokenizer=tokenizer)
    assert corpus.splits["train"].ids.tolist() == [2, 0, 1, 3]
    assert corpus.tokenizer is tokenizer
    with pytest.raises(ValueError, match="drop max_vocab_size"):
        corpus_of("abc", tokenizer=tokenizer, max_vocab_size=2)


def test_wikitext_comes_from_the_hub_as_articles(monkeypatch):
    """The rows of the Hub's dataset are lines, blank ones empty; the raw file has " \\n" there."""
    lines = [
        "",
        " = Dogs = \n",
        "",
        " Dogs bark . \n",
        " = = Legs = = \n",
        " x = 4 \n",
        " = y = \n",
        " in a text is no title , nor is \n",
        "",
        " = z = \n",
        " before one . \n",
        " = w = \n",
        "",
        " = Cats = \n",
        "",
        " Mew \n",
    ]
    asked = []

    def load(path, name):
        asked.append((path, name))
        rows = datasets.Dataset.from_dict({"text": lines})
        return datasets.DatasetDict({"test": rows, "train": rows, "validation": rows})

    monkeypatch.setattr(text_module.datasets, "load_dataset", load)
    corpus = char_corpus("wikitext-103")
    assert asked == [("Salesforce/wikitext", "wikitext-103-raw-v1")]
    assert list(corpus.splits) == ["test", "train", "validation"]
    documents = [corpus.tokenizer.decode(d) for d in corpus.splits["train"].documents]
    assert documents == [
        " \n = Dogs = \n \n Dogs bark . \n = = Legs = = \n x = 4 \n = y = \n in a text is no title , nor is \n \n"
        " = z = \n before one . \n = w = \n \n",
        " = Cats = \n \n Mew \n",
    ]
    char_corpus("wikitext-2")
    assert asked[-1] == ("Salesforce/wikitext", "wikitext-2-raw-v1")


def test_shakespeare_is_split_where_it_was_published(monkeypatch, tmp_path):
    """The stand-in is a local file read by the same loader of datasets: one document, line ends kept."""
    stand_in = tmp_path / "input.txt"
    stand_in.write_text("First Citizen:\nBefore we proceed\n\n" * 20_000)
    assert text_module.SHAKESPEARE_URL.startswith("https://")
    monkeypatch.setattr(text_module, "SHAKESPEARE_URL", str(stand_in))
    monkeypatch.setattr(datasets.config, "HF_DATASETS_CACHE", tmp_path / "cache")
    corpus = char_corpus("shakespeare")
    assert {name: len(split.ids) for name, split in corpus.splits.items()} == {
        "train": 558_338,
        "test": 34 * 20_000 - 558_338,
    }
    joined = np.concatenate([split.ids for split in corpus.splits.values()])
    assert corpus.tokenizer.decode(joined) == stand_in.read_text()
    assert len(char_corpus("shakespeare", train_characters=100).splits["train"].ids) == 100


@pytest.mark.parametrize(
    ("args", "kwargs", "match"),
    [
        ([], {}, "give one of the two"),
        (["wikitext-2"], {"text_file": "a.txt"}, "give one of the two"),
        (["wikitext"], {}, "source='wikitext' is none of wikitext-2, wikitext-103, shakespeare"),
        ([["a", "b"]], {}, "source holds a list"),
        ([datasets.Dataset.from_dict({"body": ["a"]})], {}, "text_column='text' is missing: train has body"),
        ([datasets.Dataset.from_dict({"text": ["a", None]})], {}, "every row must be a string"),
        ([datasets.Dataset.from_dict({"text": ["", ""]})], {}, "the text of train is empty: it has 2 documents"),
        ([datasets.Dataset.from_dict({"text": ["ab"]})], {"min_count": 0}, "min_count=0"),
        ([datasets.Dataset.from_dict({"text": ["ab"]})], {"max_vocab_size": 0}, "max_vocab_size=0"),
        ([datasets.Dataset.from_dict({"text": ["ab"]})], {"train_characters": 2}, "train_characters=2 leaves nothing"),
        ([datasets.Dataset.from_dict({"text": ["ab"]})], {"test_fraction": 0.5}, "test_fraction=0.5 must be"),
        ([datasets.Dataset.from_dict({"text": ["ab", "c"]})], {"test_fraction": 1.5}, "test_fraction=1.5 must be"),
        (["wikitext-2"], {"train_characters": 5, "test_fraction": 0.1}, "give one"),
        (
            [datasets.DatasetDict(dict.fromkeys("ab", datasets.Dataset.from_dict({"text": ["a"]})))],
            {"train_characters": 1},
            "the source has a, b",
        ),
    ],
)
def test_bad_text_is_refused_with_the_argument_named(args, kwargs, match):
    with pytest.raises(ValueError, match=match):
        char_corpus(*args, **kwargs)


def test_files_that_are_no_text_are_refused(tmp_path):
    (tmp_path / "latin.txt").write_bytes("é".encode("latin-1"))
    with pytest.raises(ValueError, match="not UTF-8"):
        char_corpus(text_file=tmp_path / "latin.txt")
    with pytest.raises(ValueError, match="No such file"):
        char_corpus(text_file=tmp_path / "nothing.txt")
    (tmp_path / "empty.txt").write_bytes(b"")
    with pytest.raises(ValueError, match="the text of train is empty"):
        char_corpus(text_file=tmp_path / "empty.txt")


@pytest.mark.parametrize(
    ("characters", "match"),
    [("", "is empty"), (["ab"], "holds 'ab'"), ("aba", "repeats 'a'"), ("a\ufffd", "repeats"), ([1], "holds 1")],
)
def test_bad_alphabets_are_refused(characters, match):
    with pytest.raises(ValueError, match=match):
        char_tokenizer(characters)


def test_a_tokenizer_of_words_is_refused():
    from rhm_hf import rhm_tokenizer

    with pytest.raises(ValueError, match="tokenizer holds '10'"):
        CharEncoder(rhm_tokenizer(16))
