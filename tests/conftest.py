"""Settings of every test: no network, one thread where the order of sums must be fixed, small grammars to share."""

import gc
import os


os.environ["HF_HUB_OFFLINE"] = "1"  # before any library reads it
os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")
os.environ.setdefault("OMP_NUM_THREADS", "1")  # of processes that tests start

import pytest
import torch
from small_grammars import skewed_grammar

from rhm_hf.grammar import Grammar


# Folders whose tests start processes and train come first: what is left for the end is small, workers end together.
LONG = ("training", "bench", "recipes", "data", "cli")

torch.set_num_threads(1)  # sums in a fixed order; and small tensors gain nothing from more


def pytest_collection_modifyitems(items):
    """The order of files, not within them."""
    items.sort(key=lambda item: LONG.index(item.path.parent.name) if item.path.parent.name in LONG else len(LONG))


def pytest_sessionstart():
    """Until all is imported: what is imported stays, half a million objects."""
    gc.disable()


def pytest_collection_finish():
    """No collection of garbage looks at what has been imported again."""
    gc.freeze()
    gc.enable()


@pytest.fixture(params=["v4-m2-s2-L2", "v3-m2-s3-L2", "v5-m3-s2-L2-c3", "v4-m3-s2-L2-zipf0.7@1", "skewed"])
def small_grammar(request) -> Grammar:
    """Grammars with at most a few thousand sentences, for brute-force enumeration."""
    return skewed_grammar() if request.param == "skewed" else Grammar.from_name(request.param, rules_seed=1)
