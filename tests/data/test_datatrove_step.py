"""Pair counts by datatrove: the same for any number of tasks, on every executor."""

import gzip
import json
import os
import pydoc_data.topics
import shutil
import stat
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from forked import exit_code
from recipe_scripts import recipe
from tokenizers import Tokenizer, models, pre_tokenizers, trainers
from transformers import AutoTokenizer, PreTrainedTokenizerFast

from rhm_hf.data import char_corpus
from rhm_hf.statistics import PairCounts, TokenCorrelations
from rhm_hf.training.results import read_csv


pytest.importorskip("datatrove")

from rhm_hf.data.pipeline import CountPairs, Encoder, count_keyed, keyed_counts, merge_pairs


ROOT = Path(__file__).resolve().parents[2]
DOCUMENTS = [text[:3000] for text in pydoc_data.topics.topics.values()][:60]
DISTANCES = [1, 2, 5]


@pytest.fixture(scope="module")
def corpus(tmp_path_factory):
    """A folder of five shards, one of them compressed, and a tokenizer of characters."""
    folder = tmp_path_factory.mktemp("corpus")
    for shard in range(5):
        lines = "".join(json.dumps({"text": text}) + "\n" for text in DOCUMENTS[shard * 12 : shard * 12 + 12])
        opened = gzip.open if shard == 4 else open
        with opened(folder / f"{shard}.jsonl{'.gz' if shard == 4 else ''}", "wt") as file:
            file.write(lines)
    whole = folder / "whole.txt"
    whole.write_text("".join(DOCUMENTS), newline="")
    char_corpus(text_file=whole).tokenizer.save_pretrained(folder / "characters")
    backend = Tokenizer(models.BPE())
    backend.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    trainer = trainers.BpeTrainer(vocab_size=300, show_progress=False)
    backend.train_from_iterator(DOCUMENTS[:10], trainer)
    PreTrainedTokenizerFast(tokenizer_object=backend).save_pretrained(folder / "bpe")
    return folder


def at_scale(*argv):
    return recipe("correlations", "at_scale").main([str(part) for part in argv])


def count(corpus, folder, tasks, *argv, tokenizer="characters", distances=5):
    options = ["--tasks", tasks, "--workers", 1, "--max_distance", distances, "--output_dir", folder, *argv]
    at_scale("count", "--input", corpus, "--tokenizer", corpus / tokenizer, *options)


def same(one: PairCounts, other: PairCounts) -> bool:
    assert one.settings == other.settings
    assert one.num_tokens == other.num_tokens
    tables = [[counts.blocks(t) for t in counts.distances] for counts in (one, other)]
    pairs = zip(*tables, strict=True)
    # A sum with other weights for every block is the same where all blocks are.
    weights = np.random.default_rng(0).integers(1, 2**20, (3, one.settings["num_blocks"])).astype(float)
    return all(
        np.array_equal(a.pairs_per_block, b.pairs_per_block)
        and all(np.array_equal(a.law(own).values, b.law(own).values) for own in weights)
        for a, b in pairs
    )


def in_process(corpus, tokenizer="characters", distances=5):
    """One process, another order, and datatrove's ids: path and line."""
    encoder = Encoder(str(corpus / tokenizer))
    keys = [f"{i // 12}.jsonl{'.gz' if i // 12 == 4 else ''}/{i % 12}" for i in range(60)]
    keyed = list(zip(keys, encoder(DOCUMENTS), strict=True))
    return count_keyed(keyed_counts(range(1, distances + 1), encoder.vocab_size), reversed(keyed))


@pytest.mark.parametrize(("tokenizer", "distances"), [("characters", 5), ("bpe", 2)])
def test_counts_of_any_number_of_tasks_are_those_of_one_process(corpus, tmp_path, tokenizer, distances):
    merged = []
    for tasks in (1, 3, 7):  # of five files: two tasks of the last have nothing to do
        count(corpus, tmp_path / str(tasks), tasks, tokenizer=tokenizer, distances=distances)
        merged.append(merge_pairs(tmp_path / str(tasks) / "counts"))
    assert same(merged[0], merged[1])
    assert same(merged[0], merged[2])
    assert same(merged[0], in_process(corpus, tokenizer, distances))
    loaded = AutoTokenizer.from_pretrained(corpus / tokenizer)
    ids = [np.array(loaded(text, add_special_tokens=False)["input_ids"]) for text in DOCUMENTS]
    plain = PairCounts(range(1, distances + 1), merged[0].settings["vocab_size"]).add_documents(ids)
    for t in plain.distances:
        assert np.array_equal(merged[0].table(t), plain.table(t))


def test_recipe_merges_and_prints(corpus, tmp_path, capsys):
    count(corpus, tmp_path, 3)
    capsys.readouterr()
    at_scale("merge", "--output_dir", tmp_path, "--fit_max", 5)
    found = TokenCorrelations(in_process(corpus))
    rows = read_csv(tmp_path / "correlations.csv")
    assert [row["correlation"] for row in rows] == pytest.approx(found.correlation.tolist(), abs=1e-15)
    assert f"{sum(map(len, DOCUMENTS))} tokens" in capsys.readouterr().out


def test_finished_tasks_are_skipped_and_lost_ones_done_again(corpus, tmp_path):
    count(corpus, tmp_path, 3)
    files = sorted((tmp_path / "counts").iterdir())
    assert [file.name for file in files] == [f"pairs-{rank:05d}-of-00003.safetensors" for rank in range(3)]
    before = [file.stat().st_mtime_ns for file in files]
    files[1].unlink()
    with pytest.raises(ValueError, match="lacks tasks 1 of 3"):
        merge_pairs(tmp_path / "counts")
    (tmp_path / "logs" / "completions" / "00001").unlink()
    count(corpus, tmp_path, 3)
    after = [file.stat().st_mtime_ns for file in files]
    assert (after[0], after[2]) == (before[0], before[2])
    assert same(merge_pairs(tmp_path / "counts"), in_process(corpus))


def test_two_worker_processes(corpus, tmp_path):
    count(corpus, tmp_path, 2, "--workers", 2)
    assert same(merge_pairs(tmp_path / "counts"), in_process(corpus))


def test_slurm_job_counts_the_same(corpus, tmp_path, monkeypatch):
    """The job array that would be submitted; its last task as its script says, the other one here."""
    tools = tmp_path / "bin"
    tools.mkdir()
    for name, text in (("sbatch", "echo Submitted batch job 7"), ("scontrol", "echo localhost")):
        (tools / name).write_text(f"#!/bin/sh\n{text}\n")
        (tools / name).chmod(stat.S_IRWXU)
    monkeypatch.setenv("PATH", f"{tools}:{Path(sys.executable).parent}:{os.environ['PATH']}")
    with pytest.raises(ValueError, match="--partition"):
        count(corpus, tmp_path, 2, "--executor", "slurm")
    count(corpus, tmp_path, 2, "--executor", "slurm", "--partition", "cpu", "--time", "01:00:00")
    script = (tmp_path / "logs" / "launch_script.slurm").read_text()
    for line in ("#SBATCH --partition=cpu", "#SBATCH --array=0-1%1", "#SBATCH --time=01:00:00"):
        assert line in script
    command = next(line for line in script.splitlines() if "launch_pickled_pipeline" in line)
    command = command.split(" -l -n 1 ", 1)[1].split()
    assert not (tmp_path / "counts").exists()
    environment = os.environ | {"SLURM_ARRAY_TASK_ID": "1", "SLURM_NODELIST": "localhost"}
    environment |= {"SLURM_JOB_ID": "7", "HF_HUB_OFFLINE": "1", "PYTHONPATH": str(ROOT)}
    subprocess.run(command, env=environment, check=True, capture_output=True, timeout=3600)
    (counted,) = (tmp_path / "counts").iterdir()
    assert counted.name == "pairs-00001-of-00002.safetensors"
    count(corpus, tmp_path / "here", 2)
    shutil.copy(tmp_path / "here" / "counts" / "pairs-00000-of-00002.safetensors", tmp_path / "counts")
    assert same(merge_pairs(tmp_path / "counts"), in_process(corpus))


def run_pickled(file):
    import dill

    executor = dill.loads(file.read_bytes())
    for rank in range(2):
        data = None
        for step in executor.pipeline:
            data = step(data, rank, executor.world_size)
        assert sum(1 for _ in data)


def test_ray_workers_would_get_a_pipeline_that_counts_the_same(corpus, tmp_path):
    """What Ray sends to its workers is pickled; here it is unpickled in another process and run for both tasks."""
    import dill
    from datatrove.executor import RayPipelineExecutor
    from datatrove.pipeline.readers import JsonlReader

    steps = [
        JsonlReader(str(corpus), glob_pattern="*.jsonl*"),
        CountPairs(tmp_path, range(1, 6), corpus / "characters"),
    ]
    executor = RayPipelineExecutor(steps, tasks=2, workers=2, logging_dir=str(tmp_path / "logs"))
    file = tmp_path / "executor.pik"
    file.write_bytes(dill.dumps(executor))
    assert exit_code(run_pickled, file) == 0
    assert same(merge_pairs(tmp_path), in_process(corpus))


def test_step_passes_documents_on_and_refuses_bad_input(corpus, tmp_path):
    from datatrove.data import Document

    step = CountPairs(tmp_path / "counts", [1], corpus / "characters")
    documents = [Document(text="abc", id="0"), Document(text="", id="1")]
    assert list(step(iter(documents), 0, 1)) == documents
    assert merge_pairs(tmp_path / "counts").num_tokens == 3
    with pytest.raises(ValueError, match="tokenizer="):
        CountPairs(tmp_path, [1], tmp_path / "missing")
    with pytest.raises(ValueError, match="distances"):
        CountPairs(tmp_path, [0], corpus / "characters")
    with pytest.raises(ValueError, match="holds no pairs"):
        merge_pairs(tmp_path)
    list(step(iter(documents), 1, 2))
    with pytest.raises(ValueError, match=r"mixes runs of \[1, 2\] tasks"):
        merge_pairs(tmp_path / "counts")


def test_a_killed_task_leaves_no_counts(corpus, tmp_path):
    def broken():
        from datatrove.data import Document

        yield Document(text="abc", id="0")
        raise RuntimeError("killed")

    with pytest.raises(RuntimeError, match="killed"):
        list(CountPairs(tmp_path / "counts", [1], corpus / "characters")(broken(), 0, 1))
    assert not (tmp_path / "counts").exists()
