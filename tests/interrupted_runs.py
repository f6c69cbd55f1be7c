"""Runs that end in the middle."""

import pytest

from rhm_hf.training import train
from rhm_hf.training.run.loop import Run


def interrupted(arguments, step, monkeypatch):
    """Trains up to `step`, then raises as if interrupted."""
    train_step = Run.train_step

    def stopping(self):
        if self.step == step:
            raise KeyboardInterrupt
        train_step(self)

    with monkeypatch.context() as patch:
        patch.setattr(Run, "train_step", stopping)
        with pytest.raises(KeyboardInterrupt):
            train(arguments)
