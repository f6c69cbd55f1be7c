"""The runs of a sweep on a Ray cluster: actors that live on, each with a zygote on its node."""

import os
from collections.abc import Iterator, Mapping, Sequence

from ..arguments import Arguments
from .executors import HEARTBEAT, output_of, prepare, remove_output, say_how_it_ended, threads_of, write_output
from .workers import make


RESTARTS = 3  # of an actor, and of a run, whose node is lost


class Worker:
    """What lives on a node: trains one run after the other, each in a fork of a process that imports once."""

    def __init__(self, folder: str):
        self.folder: str = folder
        self.zygote = None

    def train(self, run: str, config: str, output: str, environment: Mapping[str, str]) -> int:
        """The exit status of a run, once it has ended; `RuntimeError` where its zygote cannot be kept alive."""
        for _ in range(2):
            if self.zygote is None:
                self.zygote = make(folder=self.folder)
            try:
                self.zygote.start(run, config, output, environment)
                ended = self.zygote.ended()
            except BrokenPipeError:
                ended = None
            if ended:
                return ended[0]["status"]
            self.zygote.close()
            self.zygote = None
        raise RuntimeError("the process that trains the runs of this worker was ended from outside")


def on_ray(runs: Sequence[Arguments], num_workers: int | None, runs_per_gpu: int | None) -> Iterator[Arguments | None]:
    """As many at a time as the resources of a Ray cluster allow, at most `num_workers` where that is given.

    A run takes `num_threads` CPUs (one where it is left out) and, where the cluster has GPUs, the share
    1 / `runs_per_gpu` of one. Joins the cluster that runs here or at RAY_ADDRESS, else starts one on this machine for
    as long as the sweep takes. Folders must be the same for all nodes.
    """
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")  # Ray reads it when it is imported
    try:
        import ray
    except ImportError:
        raise ValueError("executor='ray' needs the package ray: pip install 'rhm-hf[ray]'") from None
    started = not ray.is_initialized()
    if started:
        ray.init(include_dashboard=False, log_to_driver=False)
    try:
        resources = ray.cluster_resources()
        share = _gpu_share(resources.get("GPU", 0), runs_per_gpu)
        yield from _on_actors(ray, list(runs), num_workers, resources, share)
    finally:
        if started:
            ray.shutdown()


def _on_actors(
    ray, waiting: list[Arguments], num_workers: int | None, resources: Mapping[str, float], share: float
) -> Iterator[Arguments | None]:
    worker, working, idle = ray.remote(Worker), {}, []  # idle: (CPUs, actor)
    try:
        while waiting or working:
            while waiting and len(working) < _room(waiting[0], num_workers, resources, share):
                run = waiting.pop(0)
                cpus = run.training.num_threads or 1
                config, output = prepare(run), output_of(run)
                remove_output(run)
                for other in [pair for pair in idle if pair[0] != cpus]:  # it holds what this run may need
                    idle.remove(other)
                    ray.kill(other[1])
                actor = idle.pop()[1] if idle else _new(worker, cpus, share)
                environment = threads_of(run) | ({} if share else {"CUDA_VISIBLE_DEVICES": ""})
                submitted = actor.train.remote(config.parent.name, str(config), str(output), environment)
                working[submitted] = run, cpus, actor
            for submitted in ray.wait(list(working), timeout=HEARTBEAT)[0]:
                run, cpus, actor = working.pop(submitted)
                try:
                    say_how_it_ended(run, ray.get(submitted))
                    idle.append((cpus, actor))
                except ray.exceptions.RayError as error:  # a lost node, a folder that is not there
                    write_output(run, f"{' '.join(str(error).split())}\n")
                    ray.kill(actor)
                yield run
            yield None
    finally:
        for actor in [*(actor for _, actor in idle), *(actor for _, _, actor in working.values())]:
            ray.kill(actor)


def _new(worker, cpus: int, share: float):
    """An actor, started again where its node is lost; its run goes on from its last checkpoint then."""
    options = {"num_cpus": cpus, "num_gpus": share, "max_restarts": RESTARTS, "max_task_retries": RESTARTS}
    return worker.options(**options).remote(os.getcwd())


def _room(run: Arguments, num_workers: int | None, resources: Mapping[str, float], share: float) -> int:
    """How many runs like this one the cluster has room for; one in any case, which may wait for a node to come."""
    places = resources.get("CPU", 1) // (run.training.num_threads or 1)
    if share:
        places = min(places, resources["GPU"] // share)
    return max(1, int(min(places, num_workers or places)))


def _gpu_share(gpus: float, runs_per_gpu: int | None) -> float:
    from accelerate.utils import parse_flag_from_env

    if parse_flag_from_env("ACCELERATE_USE_CPU") or not gpus:
        if runs_per_gpu is not None:
            raise ValueError(f"runs_per_gpu={runs_per_gpu} and the Ray cluster has no GPU to use: leave it out")
        return 0
    return 1 / (runs_per_gpu or 1)
