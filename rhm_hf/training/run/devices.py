"""Processes, devices and random numbers: what the loop needs to know of where it runs."""

import contextlib
import hashlib
import os
from collections.abc import Iterator

import torch


def check_processes(running: int, asked: int | None) -> None:
    """Raises a `ValueError` where a launcher silently started another number of processes than was asked for."""
    if asked is not None and asked != running:
        raise ValueError(
            f"num_processes={asked} was asked for and {running} run. On CPUs, `accelerate launch --cpu` starts one "
            "process whatever --num_processes says: use --multi_gpu instead of --cpu, and on a machine with GPUs "
            "ACCELERATE_USE_CPU=true"
        )


def cpu_only() -> bool:
    """Whether to say so to Accelerate, which else starts no process group on CPUs without ACCELERATE_USE_CPU."""
    device = torch.accelerator.current_accelerator(check_available=True)
    return device is None or device.type == "mps"  # Apple's GPUs have no float64, which the exact laws need


def generators(device: torch.device) -> list[torch.Generator]:
    """What random numbers on the host and on the device come from. torch.manual_seed would take 0.1 ms a step."""
    on_device = [torch.cuda.default_generators[device.index or 0]] if device.type == "cuda" else []
    return [torch.default_generator, *on_device]


def uniforms(key: int, shape: tuple[int, ...], device: torch.device) -> torch.Tensor:
    """Uniform numbers in [0, 1), float32, that a key picks: drawn on the CPU, so the same on every device."""
    if 0 in shape:
        return torch.empty(shape, device=device)
    numbers = torch.rand(shape, generator=torch.Generator().manual_seed(key))
    return numbers.pin_memory().to(device, non_blocking=True) if device.type == "cuda" else numbers


def key_of(*numbers: int | str) -> int:
    """64 bits from numbers and words. numpy's SeedSequence would take 0.1 ms, its code being in no cache by then."""
    return int.from_bytes(hashlib.blake2b(repr(numbers).encode(), digest_size=8).digest(), "little")


@contextlib.contextmanager
def caller_left_as_found() -> Iterator[None]:
    """Trains as a process of its own would, and gives the caller back what it had.

    That is torch's random numbers on every device, its number of threads, its default type, whether gradients are
    wanted, the environment, and the precision that Accelerate keeps for a process.
    """
    from accelerate.state import AcceleratorState, GradientState

    threads, dtype, environment = torch.get_num_threads(), torch.get_default_dtype(), dict(os.environ)
    shared = (AcceleratorState._shared_state, GradientState._shared_state)
    states = [dict(state) for state in shared]
    torch.set_default_dtype(torch.float32)
    for state in shared:
        state.clear()
    try:
        with torch.random.fork_rng(_initialised_devices()), torch.inference_mode(False), torch.enable_grad():
            yield
    finally:
        for state, before in zip(shared, states, strict=True):
            state.clear()
            state.update(before)
        torch.set_default_dtype(dtype)
        if torch.get_num_threads() != threads:
            torch.set_num_threads(threads)
        for name in os.environ.keys() - environment.keys():
            del os.environ[name]
        os.environ.update({name: value for name, value in environment.items() if os.environ.get(name) != value})


def _initialised_devices() -> list[int]:
    """The GPUs that the caller uses: asking for the state of another would put a context of this process on it."""
    return list(range(torch.cuda.device_count())) if torch.cuda.is_initialized() else []
