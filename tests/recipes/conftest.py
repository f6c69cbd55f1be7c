"""What dry runs of recipes share."""

import pytest


@pytest.fixture
def few_judged(monkeypatch):
    """Runs at toy size are judged on few drawn sentences, where longer ones take all of a grammar's thousands."""
    monkeypatch.setattr("rhm_hf.tasks.next_token.ALL_SENTENCES_LIMIT", 2**7)
