"""What dry runs of recipes share."""

import pytest
import torch

from rhm_hf import plots


@pytest.fixture(autouse=True)
def quick_pictures(request, monkeypatch):
    """Places for panels are computed where pictures are looked at, in the dry runs: that is half of drawing."""
    if "dry_run" not in request.fixturenames:
        figure = plots._figure

        def without_layout(width, height):
            made = figure(width, height)
            made.set_layout_engine("none")
            return made

        monkeypatch.setattr(plots, "_figure", without_layout)


@pytest.fixture
def dry_run(monkeypatch):
    """Runs at toy size are judged on few drawn sentences, where longer ones take all of a grammar's thousands."""
    monkeypatch.setattr("rhm_hf.tasks.next_token.ALL_SENTENCES_LIMIT", 2**7)
    threads = torch.get_num_threads()
    yield
    torch.set_num_threads(threads)
