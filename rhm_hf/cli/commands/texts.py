"""Commands of metrics that read any text: context, correlations, effective context; and `rhm generate`."""

from pathlib import Path
from typing import Annotated, Any, Literal

import typer

from ..options import Column, Config, Json, ModelName, Out, RulesSeed, Seed, Set, Split, TextName, Tokenizer, settings
from ..output import Findings, publish
from ..progress import counting, heavy, progress


Second = Annotated[str | None, typer.Argument(metavar="MODEL2", help="Another model, judged on the same windows.")]
WHY = {  # n_sat_status -> in words
    "decided": "",
    "undecided": "the windows are too few",
    "context": "it may be the longest context, so give a longer one",
    "rises": "the loss is higher with the longest context than with a shorter one",
    "infinite": "a loss is infinite",
    "rows": "the documents are too few for an interval",
    "targets": "every n is judged at a place of its own in the sentence, and places differ; to compare with the best "
    "of n tokens, rhm kl MODEL GRAMMAR oracle:GRAMMAR,length=n",
}


def context(
    model: ModelName,
    text: TextName,
    model2: Second = None,
    tokenizer: Tokenizer = None,
    max_context: Annotated[int | None, typer.Option(help="The longest context, in tokens.")] = None,
    num_windows: Annotated[int, typer.Option(help="Windows of the text that are read.")] = 512,
    per: Annotated[Literal["token", "character"], typer.Option(help="Unit of the losses.")] = "token",
    seed: Seed = 0,
    config: Config = None,
    split: Split = None,
    column: Column = None,
    rules_seed: RulesSeed = None,
    given: Set = None,
    json: Json = False,
    out: Out = None,
) -> None:
    """How much context a model uses: its loss given the n tokens before; of two models, their difference."""
    from ..corpora import TextSource, read_text
    from ..operands import model_tokenizer, read_model

    source = TextSource(config, split, column, num_sentences=num_windows, rules_seed=rules_seed, seed=seed)
    corpus = read_text(text, source)
    first = read_model(model, rules_seed)
    from ...metrics.context_loss.by_context import loss_by_context
    from .compared import compared_losses, measured_loss

    options = settings(given, loss_by_context, ("texts", "tokenizer", "max_context", "num_windows", "per", "seed"))
    options |= {"max_context": max_context, "num_windows": num_windows, "per": per, "seed": seed}
    if corpus.grammar is not None:
        _refuse_lengths(corpus.grammar, model)
        options = {"windows": "rows"} | options
    pairs = []
    for read in [first] + ([read_model(model2, rules_seed)] if model2 is not None else []):
        pairs.append((read, model_tokenizer(read, tokenizer, needed=corpus.texts is not None)))
    if model2 is not None:
        result, losses = compared_losses(pairs, corpus, options)
    else:
        with counting(first.model, f"reading {corpus.name}", num_windows):
            result = measured_loss(loss_by_context, *pairs[0], corpus, options)
        losses = {model: result}
    facts = _context_facts(losses, result)
    rows = _context_rows(losses, result)
    names = " and ".join([model] + ([model2] if model2 else []))
    title = f"Loss of {names} on {corpus.name} given n tokens"
    parameters = {"model": model, "model2": model2, "text": text, "tokenizer": tokenizer, **options}

    def draw(path: Path) -> None:
        from ...drawing.figures import panels

        series = {n: {"x": r["context_lengths"], "y": r["loss"], "error": r["loss_stderr"]} for n, r in losses.items()}
        drawn = [("loss", series, None)]
        if "difference" in result:
            shown = {"x": result["context_lengths"], "y": result["difference"], "error": result["difference_stderr"]}
            drawn.append(("second - first, same windows", {"difference": shown}, {"": 0.0}))
        panels(path, drawn, xlabel="visible tokens n", ylabel=f"nats per {per}", xscale="symlog")

    parameters = {name: value for name, value in parameters.items() if value is not None}
    publish(Findings("context", title, parameters, result, facts, {"Loss by context": rows}, draw), json, out)


def _refuse_lengths(grammar: Any, model: str) -> None:
    """Windows begin inside of documents, and where sentences differ in length their ends lie anywhere."""
    if grammar.lengths_vary:
        raise ValueError(
            f"the sentences of {grammar.name} differ in length, and no law begins inside of one: rhm context takes "
            f"text, or a grammar whose sentences have one length. rhm kl {model} {grammar.name} says how far a model "
            "is from the truth at every position"
        )


def _interval(result: dict[str, Any], name: str) -> str:
    """The 95 % interval of a number, where the function gives one."""
    ends = result.get(f"{name}_interval")
    return "" if ends is None else f" (95 %: {ends[0]:.3g} to {ends[1]:.3g})"


def _context_facts(losses: dict[str, dict], result: dict) -> dict[str, Any]:
    facts: dict[str, Any] = {}
    for name, found in losses.items():
        of = f" of {name}" if len(losses) > 1 else ""
        facts[f"context used{of} (n_sat)"] = _saturated(found)
        if found.get("gamma") is not None:
            low, high = found["gamma_interval"]
            facts[f"exponent gamma{of}"] = f"{found['gamma']:.3f} (95 %: {low:.3f} to {high:.3f})"
    first = next(iter(losses.values()))
    facts["windows"] = f"{first['num_windows']} of {first['num_documents']} documents, {first['mode']}"
    if "difference" in result:
        last = result["difference"][-1]
        facts["difference at the longest context"] = f"{last:.6g} +- {result['difference_stderr'][-1]:.2g}"
    elif result.get("no_difference"):
        facts["no paired difference"] = result["no_difference"]
    return facts


def _saturated(found: dict[str, Any]) -> str:
    """n_sat with its interval, or why there is none."""
    why = WHY[found["n_sat_status"]]
    if found["n_sat_interval"] is None:
        return f"not measured: {why}"
    low, high = found["n_sat_interval"]
    if found["n_sat"] is not None:
        return f"{found['n_sat']} tokens (95 %: {low} to {high})"
    more = "" if found["n_sat_windows"] is None else f"; about {found['n_sat_windows']} windows would decide"
    return f"not decided, {low} to {high} tokens: {why}{more}"


def _context_rows(losses: dict[str, dict], result: dict) -> list[dict[str, Any]]:
    rows: dict[int, dict[str, Any]] = {}
    several = len(losses) > 1
    for name, found in losses.items():
        for n, loss, error in zip(found["context_lengths"], found["loss"], found["loss_stderr"], strict=True):
            row = rows.setdefault(n, {"n": n})
            row[f"loss of {name}" if several else "loss"] = loss
            row[f"stderr of {name}" if several else "stderr"] = error
    if "difference" in result:
        for n, value, error in zip(
            result["context_lengths"], result["difference"], result["difference_stderr"], strict=True
        ):
            rows[n] |= {"difference": value, "its stderr": error}
    return [rows[n] for n in sorted(rows)]


def correlations(
    text: TextName,
    tokenizer: Tokenizer = None,
    max_distance: Annotated[int | None, typer.Option(help="Distances are 1 to this; 32 by default.")] = None,
    config: Config = None,
    split: Split = None,
    column: Column = None,
    num_sentences: Annotated[int, typer.Option(help="Of grammar:NAME.")] = 4096,
    rules_seed: RulesSeed = None,
    seed: Seed = 0,
    given: Set = None,
    json: Json = False,
    out: Out = None,
) -> None:
    """How much the tokens of a text say about each other at a distance t, the noise, and the effective context t*."""
    from ..corpora import TextSource, read_text

    with heavy("PyTorch"):
        from ...metrics.token_correlations.measure import measure_correlations
    corpus = read_text(text, TextSource(config, split, column, num_sentences, rules_seed, seed))
    options = settings(given, measure_correlations, ("tokenizer", "distances"))
    if max_distance is not None:
        if max_distance < 1:
            raise ValueError(f"--max_distance {max_distance} must be at least 1")
        options["distances"] = range(1, max_distance + 1)
    if corpus.population is not None and "anchor" not in options:
        options.setdefault("population", corpus.population)
    with progress(f"counting pairs of tokens of {corpus.name}"):
        result = measure_correlations(corpus.data, tokenizer=tokenizer, **options)
    columns = (
        "correlation",
        "correlation_stderr",
        "noise_floor",
        "signal",
        "signal_stderr",
        "operator_norm",
        "num_pairs",
    )
    rows = [{"t": t} | {name: result[name][i] for name in columns} for i, t in enumerate(result["distances"])]
    bound = " or more" if result["effective_context_is_bound"] else ""
    facts = {
        "tokens": f"{result['num_tokens']}, {result['vocab_size']} different",
        "effective context t*": f"{result['effective_context']:.3g}{bound}{_interval(result, 'effective_context')}",
    }
    if result["exponent"] is not None:
        low, high = result["exponent_interval"]
        ends = f"t = {result['fit_range'][0]} .. {result['fit_range'][1]}"
        facts["exponent beta"] = f"{result['exponent']:.3f} (95 %: {low:.3f} to {high:.3f}; {ends})"
    title = f"Correlations of the tokens of {corpus.name}"

    def draw(path: Path) -> None:
        from ...drawing.figures import lines

        t = result["distances"]
        series = {
            "correlation": {"x": t, "y": result["correlation"], "error": result["correlation_stderr"]},
            "without noise": {"x": t, "y": [max(0.0, u) ** 0.5 for u in result["signal"]]},
            "noise floor": {"x": t, "y": result["noise_floor"]},
        }
        lines(path, series, title=title, xlabel="distance t (tokens)", ylabel="C(t)", xscale="log", yscale="log")

    parameters = {"text": text, "tokenizer": tokenizer, "config": config, "split": split, "column": column, **options}
    parameters = {name: value for name, value in parameters.items() if value is not None}
    publish(Findings("correlations", title, parameters, result, facts, {"Correlations": rows}, draw), json, out)


def effective_context(
    corpus: TextName,
    model: Annotated[
        str, typer.Argument(metavar="MODEL|TEXT", help="A causal model, or text:, file:, dataset: samples.")
    ],
    tokenizer: Tokenizer = None,
    num_tokens: Annotated[int, typer.Option(help="Tokens to generate.")] = 2**14,
    samples: Annotated[bool, typer.Option("--samples", help="The second argument is a TEXT, not a model.")] = False,
    config: Config = None,
    split: Split = None,
    column: Column = None,
    num_sentences: Annotated[int, typer.Option(help="Of grammar:NAME.")] = 4096,
    rules_seed: RulesSeed = None,
    seed: Seed = 0,
    given: Set = None,
    json: Json = False,
    out: Out = None,
) -> None:
    """Up to which distance the correlations of what a model generates agree with those of a corpus."""
    from ..corpora import TextSource, read_text
    from ..operands import model_tokenizer, read_model

    source = TextSource(config, split, column, num_sentences, rules_seed, seed)
    text = read_text(corpus, source)
    with heavy():
        from ...judging.loading import load_tokenizer
        from ...metrics.effective_context.agree import effective_context as judge
    options = settings(given, judge, ("model", "tokenizer", "num_tokens", "seed")) | {"seed": seed}
    if samples:
        other = read_text(model, source)
        shared = load_tokenizer(tokenizer, "", needed=text.texts is not None) if text.texts is not None else None
        with progress(f"comparing {other.name} with {text.name}"):
            result = judge(text.data, other.data, tokenizer=shared, **options)
    else:
        read = read_model(model, rules_seed)
        own = model_tokenizer(read, tokenizer, needed=text.texts is not None)
        with counting(read.model, f"{model} generates {num_tokens} tokens"):
            result = judge(text.data, model=read.model, tokenizer=own, num_tokens=num_tokens, **options)
    columns = ("difference", "difference_stderr", "relative_difference", "agrees")
    rows = [{"t": t} | {name: result[name][i] for name in columns} for i, t in enumerate(result["distances"])]
    end = " or more (generate more tokens to see further)" if result["censored"] else ""
    facts = {
        "correlations agree up to t =": f"{result['t_agree']}{end}{_interval(result, 't_agree')}",
        "could be told up to t =": result["t_res"],
        "t* of the corpus": result["corpus"]["effective_context"],
        "t* of what was generated": result["generated"]["effective_context"],
    }
    if result.get("n_sat_interval") is not None:
        facts["the loss saturates at n ="] = _saturated(result | {"mode": "paired"})
    title = f"Correlations of {model} beside those of {text.name}"

    def draw(path: Path) -> None:
        from ...drawing.figures import lines

        t = result["distances"]
        series = {name: {"x": t, "y": result[name]["correlation"]} for name in ("corpus", "generated")}
        series["noise floor of generated"] = {"x": t, "y": result["generated"]["noise_floor"]}
        lines(path, series, title=title, xlabel="distance t (tokens)", ylabel="C(t)", xscale="log", yscale="log")

    parameters = {"corpus": corpus, "model": model, "tokenizer": tokenizer, "num_tokens": num_tokens, **options}
    publish(
        Findings("effective_context", title, parameters, result, facts, {"Agreement by distance": rows}, draw),
        json,
        out,
    )
