"""Batches are a pure function of (seed, step, rank)."""

import pytest
import torch

from rhm_hf.training.batches import Batches


ROWS = torch.arange(50).reshape(25, 2)


def test_any_step_can_be_asked_for_at_any_time():
    one, other = Batches(ROWS, 4, seed=3), Batches(ROWS, 4, seed=3)
    forwards = [one(step)[0] for step in range(40)]
    for step in reversed(range(40)):
        assert torch.equal(other(step)[0], forwards[step])


@pytest.mark.parametrize("batch_size", [4, 5, 25, 60])
def test_every_row_is_seen_once_before_any_is_seen_again(batch_size):
    batches = Batches(ROWS, batch_size, seed=0)
    stream = torch.cat([batches.indices(step) for step in range(60)])[: 3 * 25].reshape(3, 25)
    assert all(torch.equal(epoch.sort().values, torch.arange(25)) for epoch in stream)
    assert not torch.equal(stream[0], stream[1])


@pytest.mark.parametrize(("num_processes", "micro_batches"), [(1, 1), (2, 1), (1, 3), (2, 3), (6, 2)])
def test_processes_and_micro_batches_share_out_one_global_batch(num_processes, micro_batches):
    whole = Batches(ROWS, 12, seed=1)
    shares = [Batches(ROWS, 12, 1, micro_batches, rank, num_processes) for rank in range(num_processes)]
    for step in range(5):
        parts = [part for share in shares for part in share(step)]
        assert len(parts) == num_processes * micro_batches
        assert {len(part) for part in parts} == {12 // len(parts)}
        assert torch.equal(torch.cat(parts)[:, 0].sort().values, whole(step)[0][:, 0].sort().values)


def test_seeds_give_different_orders_and_frozen_values():
    assert not torch.equal(Batches(ROWS, 25, seed=0).indices(0), Batches(ROWS, 25, seed=1).indices(0))
    assert Batches(ROWS, 8, seed=0).indices(0).tolist() == [1, 3, 0, 8, 14, 7, 19, 13]
    assert Batches(ROWS, 8, seed=0).indices(3).tolist() == [24, 14, 11, 1, 7, 13, 2, 12]  # straddles two epochs


def test_uneven_batches_are_refused():
    with pytest.raises(ValueError, match=r"batch_size=10 must be a multiple of .*\(2\) .*=3"):
        Batches(ROWS, 10, 0, micro_batches=3, num_processes=2)


@pytest.mark.cuda
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
def test_batches_on_the_device_are_those_on_the_cpu(monkeypatch):
    cpu = Batches(ROWS, 10, seed=0)
    resident = Batches(ROWS, 10, seed=0, device="cuda")
    monkeypatch.setattr("rhm_hf.training.batches.RESIDENT_SHARE", 0)
    streamed = Batches(ROWS, 10, seed=0, device="cuda")
    assert resident.rows.is_cuda
    assert not streamed.rows.is_cuda
    for step in range(8):
        assert torch.equal(resident(step)[0].cpu(), cpu(step)[0])
        assert torch.equal(streamed(step)[0].cpu(), cpu(step)[0])
