"""Two processes on CPUs, launched or forked: they and one give the same trajectory."""

import os
import runpy
import socket
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from forked import apart, exit_code, write_to
from safetensors.torch import load_file

from rhm_hf.training import Arguments, train
from rhm_hf.training.results import read_csv
from rhm_hf.training.strict_yaml import dump_yaml


ROOT = Path(__file__).resolve().parents[2]
COMPARED = ("train_loss", "validation_loss", "test_loss", "kl")
UNET = {"hidden_size": 16, "filter_size": 2, "num_hidden_layers": 3}
CASES = {
    "next_token": ({}, ("kl_last",)),
    # noise and samples are drawn too, and have to be the same on both processes
    "diffusion": (
        {"task": "diffusion", "model_type": "hierarchical_unet", "config_overrides": UNET},
        ("denoiser_kl", "valid", "valid_level_1"),
    ),
}


def launch(arguments, path):
    """`accelerate launch recipes/train.py`, as the README says."""
    path.write_text(dump_yaml(arguments.to_dict()))
    command = [sys.executable, "-m", "accelerate.commands.launch", "--config_file"]
    command += ["recipes/accelerate/two_processes_cpu.yaml", "recipes/train.py", "--config", str(path)]
    environment = os.environ | {"PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"}
    return subprocess.run(
        command, cwd=ROOT, env=environment, capture_output=True, text=True, timeout=3600, check=False
    )


def fork(arguments, folder):
    """What the launcher does, but that both processes are forks that have imported everything."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    processes = [
        apart().Process(target=train_as, args=(rank, port, arguments.to_dict(), folder / f"{rank}.txt"))
        for rank in (0, 1)
    ]
    for process in processes:
        process.start()
    for process in processes:
        process.join()
    return [process.exitcode for process in processes], "".join(p.read_text() for p in folder.glob("?.txt"))


def train_as(rank, port, values, output):
    """One process of two."""
    write_to(output, 2)
    os.environ |= {"RANK": str(rank), "LOCAL_RANK": str(rank), "WORLD_SIZE": "2", "ACCELERATE_USE_CPU": "true"}
    os.environ |= {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(port)}
    train(Arguments.from_dict(values))


@pytest.mark.skipif(not torch.distributed.is_gloo_available(), reason="this torch has no gloo")
@pytest.mark.parametrize("case", CASES)
def test_two_processes_and_accumulation_follow_the_trajectory_of_one(tiny, tmp_path, case):
    settings = {"max_steps": 30, "num_evaluations": 4, "num_validation": 33}  # 33: the processes' shares differ
    settings, compared = settings | CASES[case][0], COMPARED + CASES[case][1]
    one = tiny(output_dir=str(tmp_path / "one"), **settings)
    two = tiny(output_dir=str(tmp_path / "two"), gradient_accumulation_steps=2, num_processes=2, **settings)
    if case == "next_token":
        result = launch(two, tmp_path / "run.yaml")
        assert result.returncode == 0, result.stderr
    else:
        codes, errors = fork(two, tmp_path)
        assert codes == [0, 0], errors
    rows, found = train(one), read_csv(tmp_path / "two" / "results.csv")
    assert '"processes": 2' in (tmp_path / "two" / "log.jsonl").read_text()
    assert [row["step"] for row in found] == [row["step"] for row in rows]
    for row, other in zip(rows, found, strict=True):
        assert [other[name] for name in compared] == pytest.approx([row[name] for name in compared], rel=1e-5)
    ours, theirs = (load_file(tmp_path / name / "model" / "model.safetensors") for name in ("one", "two"))
    assert all(torch.allclose(theirs[name], ours[name], atol=1e-5) for name in ours)


def alone(path, output):
    """The one process of a launcher that starts no more."""
    write_to(output, 2)
    os.environ["ACCELERATE_USE_CPU"] = "true"
    sys.argv = ["recipes/train.py", "--config", str(path), "--num_processes", "2"]
    runpy.run_path(str(ROOT / "recipes/train.py"), run_name="__main__")


def test_a_launcher_that_starts_one_process_where_two_were_asked_is_caught(tiny, tmp_path):
    """`accelerate launch --cpu --num_processes 2` starts one, and tells nobody."""
    (tmp_path / "run.yaml").write_text(dump_yaml(tiny().to_dict()))
    assert exit_code(alone, tmp_path / "run.yaml", tmp_path / "errors.txt") == 1
    errors = (tmp_path / "errors.txt").read_text()
    assert "num_processes=2 was asked for and 1 run" in errors
    assert "Traceback" not in errors.split("rhm train:")[0]
