"""Columns of symbols as arrays and checksums, in the type they are stored in."""

import hashlib

import numpy as np
import pytest
from datasets import Dataset, DatasetDict, Features, List, Value

from rhm_hf.data import checksum, tokens_of


def test_checksums_are_of_rows_in_order_and_little_endian():
    tokens = np.array([[1, 2], [300, 4]])
    split = Dataset.from_dict({"input_ids": tokens}, features=Features(input_ids=List(Value("uint16"), length=2)))
    assert checksum(split) == hashlib.sha256(bytes([1, 0, 2, 0, 44, 1, 4, 0])).hexdigest()
    assert checksum(split.select([1, 0])) == hashlib.sha256(bytes([44, 1, 4, 0, 1, 0, 2, 0])).hexdigest()
    np.testing.assert_array_equal(tokens_of(split.select([1])), [[300, 4]])


def test_rows_are_read_in_the_datasets_order_and_type():
    tokens = np.arange(12, dtype=np.uint8).reshape(4, 3)
    split = Dataset.from_dict({"x": [0] * 4, "level_1": tokens}, Features(x=Value("int8"), level_1=LISTS))
    np.testing.assert_array_equal(tokens_of(split, "level_1"), tokens)
    assert tokens_of(split.with_format("torch"), "level_1").dtype == np.uint8
    order = [3, 0, 2]
    np.testing.assert_array_equal(tokens_of(split.select(order), "level_1"), tokens[order])
    assert tokens_of(split.select([]), "level_1").shape == (0, 3)


LISTS = List(Value("uint8"), length=3)


def test_what_holds_no_rows_of_symbols_is_refused():
    split = Dataset.from_dict({"input_ids": [[1, 2], [3]]})
    with pytest.raises(ValueError, match=r"holds list<.*not lists of one length: cast it to List"):
        tokens_of(split)
    with pytest.raises(ValueError, match="column='level_1' is missing: the dataset has input_ids"):
        checksum(split, "level_1")
    with pytest.raises(ValueError, match="dataset is a DatasetDict: pass one split"):
        tokens_of(DatasetDict(train=split))
