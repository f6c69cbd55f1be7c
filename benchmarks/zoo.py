"""Every causal and masked architecture of the installed transformers, tiny and random, as the metrics read it.

Each is compared with what needs no guess: one forward for every prefix, one sentence at a time. `rhm_kl`,
`context_loss` and samples must say the same or refuse; nothing may differ. `python -m benchmarks.zoo` writes
docs/models.md. Notable choices: configurations are shrunk field by field, also those of parts of a model; weights are
scaled up, so that what a model reads can be seen; an architecture that cannot be built so is counted as not built.
"""

import argparse
import signal
import warnings
from collections import Counter
from contextlib import contextmanager
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
import transformers

from benchmarks.tiny_models import BOS, MASK, build
from rhm_hf import Grammar
from rhm_hf.inference import next_token_probs
from rhm_hf.judging.bare import evaluating
from rhm_hf.metrics.context_loss import loss_by_context
from rhm_hf.metrics.context_loss.reader import Reader
from rhm_hf.metrics.effective_context.generation import _generates_its_law
from rhm_hf.metrics.rhm_kl import kl_divergence
from rhm_hf.metrics.synonym_sensitivity import synonym_sensitivity


GRAMMAR = "v16-m4-s2-L3"
SENTENCES = 3
SAME = 2e-3  # nats: what other kernels and shapes may change in float32
SECONDS = 600  # of one architecture


class Found(NamedTuple):
    """One line of the table."""

    model_type: str
    model: str
    read_as: str
    kl: str
    context: str
    layers: str
    sampling: str
    note: str


@torch.no_grad()
def reference(model: torch.nn.Module, rows: np.ndarray, grammar: Grammar) -> list[float]:
    """KL at every position by one forward a prefix and sentence, with nothing but ids."""
    laws, found = next_token_probs(grammar, rows), np.zeros((len(rows), rows.shape[1]))
    for n, row in enumerate(rows.tolist()):
        for i in range(len(row)):
            ids = torch.tensor([[BOS, *row[:i]]])
            try:
                logits = model(input_ids=ids).logits
            except Exception:
                logits = model(input_ids=ids, use_cache=False).logits
            q = logits[0, -1].double().log_softmax(-1)[: grammar.vocab_size]
            p = laws[n, i]
            found[n, i] = float(torch.where(p > 0, torch.xlogy(p, p) - p * q, 0).sum())
    return found.mean(0).tolist()


def compared(make, expected: list[float] | None) -> tuple[str, str]:
    """`same`, `differs` or `refused`, and the reason of a refusal."""
    try:
        found = make()
    except ValueError as error:
        return "refused", str(error)
    if expected is None:
        return "same", ""
    gap = max(abs(a - b) for a, b in zip(found, expected, strict=True))
    return ("same", "") if gap < SAME * max(1.0, max(map(abs, expected))) else ("differs", f"by {gap:.3g} nats")


def judge(model: torch.nn.Module, grammar: Grammar, rows: np.ndarray) -> dict[str, str]:
    """What every metric says of one model."""
    state = {"read_as": "-"}

    def kl() -> list[float]:
        result = kl_divergence(model, grammar, rows, bos=BOS)
        state["read_as"] = result["read_as"]
        return result["kl_per_position"]

    with evaluating(model):
        try:
            expected = reference(model, rows, grammar)
        except Exception:
            expected = None
    verdict, note = compared(kl, None)
    if state["read_as"] == "causal":
        verdict, note = compared(kl, expected)
        if expected is None:
            verdict, note = "differs", "it has no forward for a prefix"
    found = {"kl": verdict, "read_as": state["read_as"], "note": note}
    if verdict == "refused":
        return found | {"context": "-", "layers": "-", "sampling": "-"}
    found["context"], why = compared(lambda: _in_place(model, rows), _in_place_again(model, rows, state))
    found["layers"], note = compared(lambda: synonym_sensitivity(model, grammar, rows, bos=BOS) and [0.0], None)
    found["note"] = "; ".join(filter(None, (found["note"], why, note)))
    found["sampling"] = _sampling(model, rows) if state["read_as"] == "causal" else "-"
    return found


def _in_place(model, rows: np.ndarray) -> list[float]:
    """Losses of the last token given 0, 4 and all tokens before it, the others hidden where they are."""
    options = {"windows": "rows", "paired": True, "context_lengths": [0, 4, 7], "mask_token_id": MASK, "bos": BOS}
    return loss_by_context(model, rows, **options)["loss"]


@torch.no_grad()
def _in_place_again(model, rows: np.ndarray, state: dict[str, str]) -> list[float] | None:
    """The same with other tokens where they are hidden; of a causal model, by a forward of all before the last."""
    others = rows.copy()
    others[:, :3] = (rows[:, :3] + 5) % BOS
    try:
        losses = _in_place(model, others)[:2]
    except ValueError:
        return None
    if state["read_as"] != "causal":
        return [*losses, _in_place(model, rows)[2]]
    ids = torch.from_numpy(np.insert(rows, 0, BOS, axis=1))
    with evaluating(model):
        logits = torch.cat([model(input_ids=row[None, :-1], use_cache=False).logits[:, -1] for row in ids])
    return [*losses, float(-logits.double().log_softmax(-1).gather(1, ids[:, -1:]).mean())]


def _sampling(model: torch.nn.Module, rows: np.ndarray) -> str:
    """How tokens are drawn: by `generate` with its cache, or by a call of every prefix."""
    reader = Reader.of(model, np.unique(rows), bos=BOS)
    shown = torch.full((4, 1), BOS)
    with evaluating(model), torch.no_grad():
        others = torch.arange(BOS, reader.num_ids)
        return "generate" if _generates_its_law(reader, shown, others, 6, 0) else "by hand"


@contextmanager
def limited(seconds: int):
    """Stops what takes longer, with a `TimeoutError`."""

    def stop(number, frame):
        raise TimeoutError(f"longer than {seconds} s")

    signal.signal(signal.SIGALRM, stop)
    signal.alarm(seconds)
    try:
        yield
    finally:
        signal.alarm(0)


def visit(model_type: str, config_class: type, model_class: type, grammar: Grammar, rows: np.ndarray) -> Found:
    """One architecture."""
    name = model_class.__name__
    try:
        with limited(SECONDS):
            model = build(config_class, model_class)
    except (Exception, TimeoutError) as error:
        note = f"{type(error).__name__}: {str(error).splitlines()[0][:120] if str(error) else ''}"
        return Found(model_type, name, "-", "not built", "-", "-", "-", note)
    try:
        with limited(SECONDS):
            found = judge(model, grammar, rows)
    except (Exception, TimeoutError) as error:
        note = f"{type(error).__name__}: {str(error).splitlines()[0][:200] if str(error) else ''}"
        return Found(model_type, name, "-", "differs", "-", "-", "-", note)
    return Found(model_type, name, **found)


def architectures() -> list[tuple[str, type, type]]:
    """Model type, configuration and model class of every entry of the two mappings, each class once."""
    found = {}
    for auto in ("AutoModelForCausalLM", "AutoModelForMaskedLM"):
        mapping = getattr(transformers, auto)._model_mapping
        for config_class in list(mapping.keys()):
            if config_class.__module__.startswith("rhm_hf"):
                continue
            try:
                classes = mapping[config_class]
            except Exception:
                continue
            for cls in classes if isinstance(classes, tuple | list) else [classes]:
                found.setdefault(cls, (config_class.model_type, config_class, cls))
    return sorted(found.values(), key=lambda entry: (entry[0], entry[2].__name__))


def table(found: list[Found]) -> str:
    """docs/models.md."""
    counts = Counter(row.kl for row in found)
    wrong = [row for row in found if "differs" in row]
    numbers = ", ".join(f"{n} {kind}" for kind, n in counts.most_common())
    lines = [
        "# Models, as they are read",
        "",
        f"`make zoo` builds every causal and masked architecture of transformers {transformers.__version__}, tiny and",
        "with random weights, and compares `rhm_kl` with one forward for every prefix, one sentence at a time. What a",
        "model is, is found out from what it does (`rhm_hf/judging/models.py`), never from the name of its class.",
        "",
        "- *kl*: same, or refused with the reason.",
        '- *hides*: whether tokens can be hidden in place, for `context_loss(windows="rows", paired=True)`.',
        "- *layers*: whether the probes can compare its layers.",
        "- *sampling*: by `generate` with its cache, where that samples the model's own law, or by a call of every",
        "  prefix.",
        "",
        f"{len(found)} architectures: {numbers}. "
        + (f"Differs: {', '.join(row.model for row in wrong)}." if wrong else "None differs."),
        "",
        "| type | class | read as | kl | hides | layers | sampling | why |",
        "|---|---|---|---|---|---|---|---|",
    ]
    names = {"same": "yes", "refused": "no"}
    for row in found:
        note = " ".join(row.note.replace("|", "/").split())[:200]
        kinds = [names.get(kind, kind) for kind in (row.context, row.layers)]
        lines.append(f"| {' | '.join((*row[:4], *kinds, row.sampling, note))} |")
    return "\n".join(lines) + "\n"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--out", default="docs/models.md", help="the table")
    parser.add_argument("--only", nargs="*", help="model types")
    arguments = parser.parse_args()
    warnings.simplefilter("ignore")
    transformers.logging.set_verbosity_error()
    torch.set_num_threads(1)
    grammar = Grammar.from_name(GRAMMAR)
    rows = grammar.sample(SENTENCES, sampling="iid").astype(np.int64)
    found = []
    for model_type, config_class, model_class in architectures():
        if arguments.only and model_type not in arguments.only:
            continue
        found.append(visit(model_type, config_class, model_class, grammar, rows))
        print(*found[-1], sep=" | ", flush=True)
    Path(arguments.out).write_text(table(found))


if __name__ == "__main__":
    main()
