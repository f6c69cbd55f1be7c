"""Executors: worker processes, GPUs shared, Ray, printed commands; all end in the same bits."""

import json
import os
import shlex
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from forked import ForkedZygote

from rhm_hf.cli import main
from rhm_hf.training.results import read_csv
from rhm_hf.training.strict_yaml import dump_yaml, read_yaml
from rhm_hf.training.sweep import UnfinishedRuns, executors, expand, sweep, workers


ROOT = Path(__file__).resolve().parents[2]
COMPARED = ("run", "num_train", "step", "train_loss", "validation_loss", "test_loss", "kl", "best")


@pytest.fixture
def values(tiny, tmp_path, monkeypatch):
    monkeypatch.setenv("PYTHONPATH", str(ROOT))  # this source tree, wherever the run is started
    return tiny(output_dir=str(tmp_path / "sweep")).to_dict() | {"num_train": [64, 32]}


@pytest.fixture
def expected(values, tmp_path):
    """What the sweep gives in this process."""
    return compared(sweep(values | {"output_dir": str(tmp_path / "here")}))


def compared(rows):
    return [[row[name] for name in COMPARED] for row in rows]


def starts(folder):
    logs = [path.read_text().splitlines() for path in Path(folder).glob("*/log.jsonl")]
    return sum(json.loads(line)["event"] == "start" for log in logs for line in log)


def test_worker_processes_and_what_counts_is_the_folder(values, expected, tmp_path, monkeypatch, capfd):
    """They run no file of the working directory that is called like a library."""
    for name in ("datasets.py", "torch.py", "yaml.py", "numpy.py"):
        (tmp_path / name).write_text("raise SystemExit('a file of the working directory was run')\n")
    monkeypatch.chdir(tmp_path)
    folder = tmp_path / "sweep"
    too_many = {"num_train": [500, 32]}  # of 512 sentences, 64 held out
    with pytest.raises(UnfinishedRuns, match=r"1 of 2 runs .*\n *num_train-500: rhm train: .*do not fit.*output\.txt"):
        sweep(values | too_many, num_workers=2)
    assert "num_train-500 failed: rhm train: " in capfd.readouterr().err
    rows = sweep(values | {"num_train": [32]}, num_workers=2)  # it was trained, and is not again
    assert starts(folder) == 1
    assert compared(rows) == [row for row in expected if row[0] == "num_train-32"]
    assert rows == read_csv(folder / "results.csv")


def kill_itself(step):
    """Source of a plug-in that kills its process at a step, once."""
    return f"""
import os, signal
from pathlib import Path
from rhm_hf.training.run.loop import Run
step_of = Run.train_step
def train_step(self):
    mark = Path({str(step)!r}) / self.folder.name
    if self.step == 5 and self.arguments.data.num_train == 64 and not mark.exists():
        mark.touch()
        os.kill(os.getpid(), signal.SIGKILL)
    step_of(self)
Run.train_step = train_step
"""


def test_a_run_that_is_killed_costs_that_run_only_and_is_taken_up_again(values, expected, tmp_path, monkeypatch):
    (tmp_path / "killing_plugin.py").write_text(kill_itself(tmp_path))
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.setattr("rhm_hf.training.plugins.import_modules", lambda names: None)  # not in this process
    monkeypatch.setenv("PYTHONPATH", f"{tmp_path}{os.pathsep}{ROOT}")
    monkeypatch.setattr(workers, "Zygote", ForkedZygote)
    killing = values | {"imports": "killing_plugin"}
    with pytest.raises(UnfinishedRuns, match=r"1 of 2 runs(.|\n)*num_train-64: ended by the signal SIGKILL"):
        sweep(killing, num_workers=2)
    found = read_csv(tmp_path / "sweep" / "results.csv")
    assert {row["run"] for row in found} == {"num_train-32"}  # written as soon as it had ended
    rows = sweep(killing, num_workers=2)
    assert compared(rows) == expected
    assert starts(tmp_path / "sweep") == 3


def test_the_process_that_forks_has_one_thread_and_is_replaced(values, expected, monkeypatch):
    made, hand_over, zygote_of = [], executors._hand_over, workers.Zygote

    def watched(*given):
        made.append((ForkedZygote if made else zygote_of)(*given))  # the one that is looked at is the real one
        return made[-1]

    def ending_the_first(zygote, run, gpu):
        hand_over(zygote, run, gpu)
        if len(made) == 1 and zygote.process.poll() is None and run.data.num_train == 64:
            while not Path(run.training.output_dir, "log.jsonl").exists():  # its run has begun
                assert not zygote.ended(0.01)
            assert len(os.listdir(f"/proc/{zygote.process.pid}/task")) == 1
            zygote.process.kill()

    monkeypatch.setattr(workers, "Zygote", watched)
    monkeypatch.setattr(executors, "_hand_over", ending_the_first)
    assert compared(sweep(values, num_workers=2)) == expected
    assert len(made) == 2


def test_where_processes_cannot_be_forked_each_run_has_one_of_its_own(values, expected, tmp_path, monkeypatch):
    monkeypatch.setattr(workers, "make", workers.Processes)
    with pytest.raises(UnfinishedRuns, match=r"1 of 2 runs (.|\n)*num_train-500: rhm train: .*do not fit"):
        sweep(values | {"num_train": [500, 32]}, num_workers=2)
    found = read_csv(tmp_path / "sweep" / "results.csv")
    assert compared(found) == [row for row in expected if row[0] == "num_train-32"]


@pytest.fixture
def two_gpus(values, monkeypatch):
    """Two GPUs, as far as torch is concerned."""
    monkeypatch.delenv("ACCELERATE_USE_CPU")
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)


@pytest.mark.usefixtures("two_gpus")
@pytest.mark.parametrize(
    ("visible", "options", "expected"),
    [
        (None, {"num_workers": 3}, ["0", "1", "0"]),
        ("5,GPU-7", {"num_workers": 3}, ["5", "GPU-7", "5"]),
        (None, {"runs_per_gpu": 2}, ["0", "1", "0", "1"]),
    ],
)
def test_workers_share_the_visible_gpus_round_robin(values, monkeypatch, visible, options, expected):
    started, waiting = [], []

    class Recording:
        """Trains nothing; says which GPU it was given."""

        def __init__(self, environment, folder):
            pass

        def start(self, run, config, output, environment):
            started.append(environment["CUDA_VISIBLE_DEVICES"])
            waiting.append(run)

        def ended(self, seconds):
            return [{"run": waiting.pop(0), "status": 0}]

        def close(self):
            pass

    if visible is not None:
        monkeypatch.setenv("CUDA_VISIBLE_DEVICES", visible)
    monkeypatch.setattr(workers, "Zygote", Recording)
    with pytest.raises(UnfinishedRuns, match="4 of 4"):  # nobody trained them
        sweep(values | {"num_train": [8, 16, 32, 64]}, **options)
    assert started[: len(expected)] == expected
    assert len(started) == 4


def test_printed_commands_are_a_slurm_array_and_the_same_command_collects(values, expected, tmp_path, capsys):
    """The array that would be submitted, run task by task as Slurm would, two lines to a task."""
    values["output_dir"] = folder = str(tmp_path / "a sweep's folder")
    config, commands, mark = tmp_path / "sweep.yaml", tmp_path / "commands.txt", tmp_path / "mark"
    config.write_text(dump_yaml(values))
    printing = ["sweep", "--config", str(config), "--executor", "print"]
    assert main(printing) == 0
    printed, said = capsys.readouterr()
    assert said == "0 of 2 runs are finished, 0 evaluations\n"
    assert starts(folder) == 0
    first, second = printed.splitlines()
    words = shlex.split(first)
    assert main(words[words.index("train") :]) == 0  # in this process: it need not import
    capsys.readouterr()
    assert main(printing) == 0
    assert capsys.readouterr().out == second + "\n"

    commands.write_text(f"touch {mark}\n{second}\n")
    environment = os.environ | {"SLURM_ARRAY_TASK_ID": "1", "RUNS_PER_TASK": "2"}
    script = ["bash", str(ROOT / "recipes/slurm/sweep.sbatch"), str(commands)]
    subprocess.run(script, check=True, env=environment, capture_output=True, timeout=3600)
    assert mark.exists()
    assert main(printing) == 0
    assert capsys.readouterr() == ("", "2 of 2 runs are finished, 6 evaluations\n")
    assert compared(read_csv(Path(folder) / "results.csv")) == expected
    beyond = subprocess.run(script, check=False, env=environment | {"SLURM_ARRAY_TASK_ID": "2"}, timeout=3600)
    assert beyond.returncode == 0  # the last task may have fewer runs


def test_the_command_says_which_runs_are_missing(values, tmp_path, capsys):
    config = tmp_path / "sweep.yaml"
    config.write_text(dump_yaml(values | {"num_train": [500, 32]}))
    assert main(["sweep", "--config", str(config)]) == 1
    said = capsys.readouterr().err
    assert "rhm sweep: 1 of 2 runs are not finished; the same command again goes on with them\n  num_train-500" in said
    assert "Traceback" not in said


class FakeRay:
    """A cluster with GPUs, which this machine has not; it runs what it is given at once."""

    exceptions = type("exceptions", (), {"RayError": RuntimeError})

    def __init__(self, gpus):
        self.gpus, self.asked, self.together, self.killed = gpus, [], 0, 0

    def is_initialized(self):
        return True  # somebody else's: not shut down, there is no such method

    def cluster_resources(self):
        return {"CPU": 4.0} | ({"GPU": self.gpus} if self.gpus else {})

    def remote(self, worker):
        def options(**asked):
            self.asked.append(asked)
            train = type("Method", (), {"remote": staticmethod(lambda *given: lambda: given)})
            actor = type("Actor", (), {"train": train})
            return type("Class", (), {"remote": staticmethod(lambda folder: actor)})

        return type("Remote", (), {"options": staticmethod(options)})

    def wait(self, working, timeout):
        self.together = max(self.together, len(working))
        return working[:1], working[1:]

    def get(self, submitted):
        _, config, output, environment = submitted()
        self.environment = environment
        raise RuntimeError(f"the node of {config} was lost, said {output}")

    def kill(self, actor):
        self.killed += 1


@pytest.mark.parametrize(("gpus", "runs_per_gpu", "share"), [(2, 4, 0.25), (2, None, 1), (0, None, 0)])
def test_ray_runs_ask_for_their_part_of_a_gpu(values, monkeypatch, gpus, runs_per_gpu, share):
    ray = FakeRay(gpus)
    monkeypatch.setitem(sys.modules, "ray", ray)
    monkeypatch.delenv("ACCELERATE_USE_CPU")
    with pytest.raises(UnfinishedRuns, match=r"3 of 3(.|\n)*num_train-8: the node of .*arguments.yaml was lost"):
        sweep(
            values | {"num_train": [8, 16, 32], "num_threads": 2},
            executor="ray",
            num_workers=2,
            runs_per_gpu=runs_per_gpu,
        )
    assert [(asked["num_cpus"], asked["num_gpus"]) for asked in ray.asked] == [(2, share)] * 3
    assert ray.together == 2
    assert ray.killed == 3  # an actor whose node was lost is not used again
    hidden = {} if gpus else {"CUDA_VISIBLE_DEVICES": ""}
    assert ray.environment == {"OMP_NUM_THREADS": "2", "MKL_NUM_THREADS": "2"} | hidden


def test_ray_without_gpus_or_without_ray_says_what_to_do(values, monkeypatch):
    monkeypatch.setitem(sys.modules, "ray", FakeRay(0))
    with pytest.raises(ValueError, match="runs_per_gpu=2 and the Ray cluster has no GPU to use"):
        sweep(values, executor="ray", runs_per_gpu=2)
    monkeypatch.setitem(sys.modules, "ray", None)
    with pytest.raises(ValueError, match=r"needs the package ray: pip install 'rhm-hf\[ray\]'"):
        sweep(values, executor="ray")


def test_variants_come_from_the_command_line_too(values, tmp_path, capsys):
    config = tmp_path / "sweep.yaml"
    config.write_text(dump_yaml(values))
    argv = ["sweep", "--config", str(config), "--executor", "print", "--num_workers", "2"]
    assert main([*argv, "--variants", "{slow: {learning_rate: 1e-4}, fast: {learning_rate: 1e-2}}"]) == 0
    assert len(capsys.readouterr().out.splitlines()) == 4
    runs = expand(values | {"variants": {"slow": {"learning_rate": 1e-4}, "fast": {"learning_rate": 1e-2}}})
    for run in runs:
        path = Path(run.training.output_dir) / "arguments.yaml"
        assert read_yaml(path) == run.to_dict()
