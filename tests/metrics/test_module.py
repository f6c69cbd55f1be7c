"""How the metrics fit into evaluate: combined with others, and on several processes."""

import evaluate
import numpy as np
import pytest
from forked import apart

from rhm_hf import Grammar, RHMForCausalLM, load_metric


GRAMMAR = Grammar.from_name("v8-m2-s2-L3")


def test_combined_metrics_give_what_each_gives():
    rows = GRAMMAR.sample(12, sampling="iid").astype(np.int64)
    rows[:3] = np.random.default_rng(0).integers(8, size=(3, 8))
    names = ("grammaticality", "memorisation")
    kwargs = {"input_ids": rows, "grammar": GRAMMAR}
    both = evaluate.combine([load_metric("grammaticality"), load_metric("grammaticality")])
    alone = load_metric("grammaticality").compute(**kwargs)
    assert both.compute(**kwargs) == {f"grammaticality_{k}_{n}": v for k in (0, 1) for n, v in alone.items()}
    oracle = RHMForCausalLM.from_grammar(GRAMMAR)
    judged = {"input_ids": GRAMMAR.sample(4), "model": oracle, "grammar": GRAMMAR}
    found = evaluate.combine([load_metric("rhm_kl")]).compute(**judged)
    assert found == load_metric("rhm_kl").compute(**judged)
    with pytest.raises(ValueError, match="predictions= and references= are no inputs of"):
        evaluate.combine([load_metric(name) for name in names]).compute(predictions=[1], references=[1])


def part(process: int, folder: str, queue) -> None:
    metric = load_metric("grammaticality", num_process=2, process_id=process, experiment_id="x", cache_dir=folder)
    rows = GRAMMAR.sample(10, seed=process, sampling="iid").astype(np.int64)
    rows[:process] = 0  # one wrong sentence on process 1
    queue.put((process, metric.compute(input_ids=rows, grammar=GRAMMAR)))


def test_several_processes_give_their_parts_and_process_0_has_the_result(tmp_path):
    context = apart()
    queue = context.Queue()
    workers = [context.Process(target=part, args=(process, str(tmp_path), queue)) for process in (0, 1)]
    for worker in workers:
        worker.start()
    found = dict(queue.get() for _ in workers)
    for worker in workers:
        worker.join()
    assert found[1] is None
    assert found[0]["num_samples"] == 20
    whole = np.concatenate([GRAMMAR.sample(10, seed=process, sampling="iid") for process in (0, 1)]).astype(np.int64)
    whole[10] = 0
    assert found[0] == load_metric("grammaticality").compute(input_ids=whole, grammar=GRAMMAR)


def test_several_processes_without_inputs_are_refused(tmp_path):
    metric = load_metric("rhm_kl", num_process=2, process_id=0, experiment_id="y", cache_dir=str(tmp_path))
    with pytest.raises(ValueError, match=r"num_process=2: every process has to give its part.*accelerator"):
        metric.compute(model=RHMForCausalLM.from_grammar(GRAMMAR), grammar=GRAMMAR)
