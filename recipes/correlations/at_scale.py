"""Correlations of a corpus too large for one process: datatrove counts its shards, locally, on Slurm or on Ray.

    python recipes/correlations/at_scale.py count --input corpus/ --tokenizer my-tokenizer --tasks 64
    python recipes/correlations/at_scale.py merge

`count` runs here (`--executor local`), submits a job array (`slurm`) or asks a Ray cluster (`ray`, which needs
datatrove[ray]); tasks that are finished are skipped when it is started again. `merge` adds up the counts and writes
`correlations.csv`.
"""

import argparse
from pathlib import Path

from rhm_hf.data.pipeline import CountPairs, merge_pairs
from rhm_hf.statistics import TokenCorrelations
from rhm_hf.training.results import write_csv


def main(argv: list[str] | None = None) -> None:
    """Counts, or merges and prints."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    steps = parser.add_subparsers(dest="step", required=True)
    count, merge = steps.add_parser("count", help="count shards"), steps.add_parser("merge", help="add up and print")
    count.add_argument(
        "--input", required=True, help="folder of .jsonl[.gz|.zst] or .parquet files; s3:// and hf:// too"
    )
    count.add_argument("--glob", default="*.jsonl*", help="which files of it")
    count.add_argument("--text_key", default="text", help="column of the text")
    count.add_argument("--tokenizer", required=True, help="directory or Hub id")
    count.add_argument("--max_distance", type=int, default=32, help="tokens")
    count.add_argument("--tasks", type=int, default=2, help="shares of the files; more than files leaves some idle")
    count.add_argument("--workers", type=int, default=2, help="tasks at a time")
    count.add_argument("--executor", choices=["local", "slurm", "ray"], default="local")
    count.add_argument("--partition", help="of Slurm")
    count.add_argument("--time", default="04:00:00", help="of a Slurm task")
    count.add_argument("--venv", help="activate script that Slurm tasks source")
    merge.add_argument("--fit_max", type=int, help="the exponent is fitted to distances 1 to this; by default to t*")
    for step in (count, merge):
        step.add_argument("--output_dir", type=Path, default=Path("runs/at_scale"))
    args = parser.parse_args(argv)
    if args.step == "count":
        executor(args).run()
    else:
        report(TokenCorrelations(merge_pairs(args.output_dir / "counts")), args.fit_max, args.output_dir)


def executor(args: argparse.Namespace):
    """The pipeline, and what runs it."""
    from datatrove.pipeline.readers import JsonlReader, ParquetReader

    reader = ParquetReader if args.glob.endswith(".parquet") else JsonlReader
    pipeline = [
        reader(args.input, glob_pattern=args.glob, text_key=args.text_key),
        CountPairs(args.output_dir / "counts", range(1, args.max_distance + 1), args.tokenizer),
    ]
    options = {"tasks": args.tasks, "workers": args.workers, "logging_dir": str(args.output_dir.absolute() / "logs")}
    if args.executor == "local":
        from datatrove.executor import LocalPipelineExecutor

        return LocalPipelineExecutor(pipeline, **options)
    if args.executor == "ray":
        from datatrove.executor import RayPipelineExecutor

        return RayPipelineExecutor(pipeline, **options)
    from datatrove.executor import SlurmPipelineExecutor

    if args.partition is None:
        raise ValueError("partition=None: Slurm needs --partition")
    return SlurmPipelineExecutor(
        pipeline, time=args.time, partition=args.partition, venv_path=args.venv, job_name="rhm_pairs", **options
    )


def report(found: TokenCorrelations, fit_max: int | None, folder: Path) -> None:
    """Prints and writes the correlations."""
    rows = [dict(zip(found.to_dict(), values, strict=True)) for values in zip(*found.to_dict().values(), strict=True)]
    write_csv(folder / "correlations.csv", rows)
    for row in rows:
        print(
            "t = {distances:>4}  C~ = {correlation:.4e} +- {correlation_stderr:.1e}  floor {noise_floor:.1e}".format(
                **row
            )
        )
    bound = ">= " if found.effective_context_is_bound else ""
    print(f"{found.counts.num_tokens} tokens, t* = {bound}{found.effective_context:.2f}")
    try:
        fit = found.fit(1, fit_max)
    except ValueError as error:
        print(f"no exponent: {error}")
    else:
        print("beta = {:.3f} [{:.3f}, {:.3f}]".format(fit.exponent, *fit.interval) + f" over 1 .. {fit.t_max}")


if __name__ == "__main__":
    main()
