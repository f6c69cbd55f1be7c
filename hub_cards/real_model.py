"""What two metrics say of a real model: measured by a command, kept as numbers in `real_model.json` for the cards.

    python -m hub_cards.real_model context_loss MODEL TEXTS --model_name .. --corpus_name .. --separator ..

Weights and texts are not part of the project; their names and SHA-256 stand beside the numbers.
"""

import argparse
import hashlib
import json
from pathlib import Path

from transformers import AutoModelForCausalLM, AutoTokenizer

import rhm_hf
from rhm_hf.data import facts
from rhm_hf.metrics.context_loss import loss_by_context
from rhm_hf.metrics.effective_context import effective_context


FILE = Path(__file__).parent / "real_model.json"
SATURATION = ("_estimate", "_interval", "_status", "_windows", "_characters", "_characters_interval")
CORPUS = ("effective_context", "effective_context_interval", "effective_context_is_bound", "num_tokens")
GENERATED = 2**15  # tokens


def measured(metric: str) -> dict:
    """The committed numbers of a metric."""
    return json.loads(FILE.read_text(encoding="utf-8"))[metric]


def losses(model, tokenizer, texts: list[str], seed: int) -> dict:
    """Of `context_loss`, with its defaults."""
    found = loss_by_context(model, texts=texts, tokenizer=tokenizer, seed=seed)
    names = ("context_lengths", "loss", "loss_stderr", "delta", "delta_stderr", "gamma", "gamma_interval")
    names += ("gamma_status", "num_windows", "num_documents", "characters_per_token", "read_as", "bos", "mode")
    return {name: found[name] for name in names} | _saturation(found)


def contexts(model, tokenizer, texts: list[str], seed: int) -> dict:
    """Of `effective_context`, with fewer generated tokens than by default."""
    found = effective_context(texts, model=model, tokenizer=tokenizer, num_tokens=GENERATED, seed=seed)
    names = ("t_agree", "t_agree_interval", "t_res", "censored", "n_max", "read_as", "bos")
    corpus = {f"corpus_{name}": found["corpus"][name] for name in CORPUS}
    generated = {"generated_tokens": found["generated"]["num_tokens"]}
    return {name: found[name] for name in names} | corpus | generated | _saturation(found)


METRICS = {"context_loss": losses, "effective_context": contexts}


def _saturation(found: dict) -> dict:
    names = [f"{name}{part}" for name in ("n_sat", "n_sat_relative") for part in ("", *SATURATION)]
    return {name: found[name] for name in names}


def saturation_table(found: dict) -> str:
    """n_sat and n_sat_relative, their intervals, in tokens and characters, and whether the data decide them."""
    rows = []
    for name, rule in (("n_sat", "within 0.01 nats"), ("n_sat_relative", "within 5 % of the fall")):
        pairs = (found[f"{name}{kind}_interval"] for kind in ("", "_characters"))
        ends = [f"{low:.0f} to {high:.0f}" for low, high in pairs]
        windows = found[f"{name}_windows"]
        more = "" if windows is None else f"; about {windows} windows would decide"
        rows.append([f"`{name}`", rule, str(found[name]), *ends, f"{found[f'{name}_status']}{more}"])
    return facts.markdown_table(["", "rule", "tokens", "95 %", "95 %, characters", "status"], rows)


def about(found: dict) -> str:
    """What was measured."""
    return f"{found['model_name']}, on {found['corpus_name']} (seed {found['seed']}, rhm_hf {found['version']})"


def main(argv: list[str] | None = None) -> None:
    """Measures one metric and writes its entry of the file."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("metric", choices=list(METRICS))
    parser.add_argument("model", type=Path, help="a directory with weights and tokenizer")
    parser.add_argument("texts", type=Path)
    parser.add_argument("--model_name", required=True)
    parser.add_argument("--corpus_name", required=True)
    parser.add_argument("--separator", default="\n\n", help="of documents; the last one is left out, as it may be cut")
    parser.add_argument("--seed", type=int, default=0)
    given = parser.parse_args(argv)
    parts = given.texts.read_text(encoding="utf-8").split(given.separator)[:-1]
    documents = [part.strip() for part in parts if part.strip()]
    model, tokenizer = (auto.from_pretrained(given.model) for auto in (AutoModelForCausalLM, AutoTokenizer))
    found = METRICS[given.metric](model, tokenizer, documents, given.seed)
    files = (given.texts, *given.model.glob("*.safetensors"))
    digest = {path.name: hashlib.sha256(path.read_bytes()).hexdigest() for path in files}
    entry = {"model_name": given.model_name, "corpus_name": given.corpus_name, "seed": given.seed}
    entry |= {"version": rhm_hf.__version__, "sha256": digest, "documents": len(documents)} | found
    known = json.loads(FILE.read_text(encoding="utf-8")) if FILE.is_file() else {}
    FILE.write_text(json.dumps(known | {given.metric: entry}, indent=1, sort_keys=True) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
