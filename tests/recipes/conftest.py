"""What dry runs of recipes share."""

import pytest
import torch


@pytest.fixture
def dry_run(monkeypatch):
    """Runs at toy size are judged on few drawn sentences, where longer ones take all of a grammar's thousands."""
    monkeypatch.setattr("rhm_hf.tasks.next_token.ALL_SENTENCES_LIMIT", 2**7)
    threads = torch.get_num_threads()
    yield
    torch.set_num_threads(threads)
