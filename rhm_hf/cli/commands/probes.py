"""Commands of metrics that look into the layers of a model: sensitivities and probes."""

from collections.abc import Callable
from importlib import import_module
from pathlib import Path

from ..options import BesideGrammar, Json, ModelName, NumSentences, Out, RulesSeed, Seed, Set, settings
from ..output import Findings, publish
from .judged import given_ones, grammar_beside, judged


def _command(name: str, module: str, value: str, summary: str) -> Callable[..., None]:
    """The command of a metric that gives a number, the entry `value`, for every layer and level."""

    def command(
        model: ModelName,
        grammar: BesideGrammar = None,
        rules_seed: RulesSeed = None,
        num_sentences: NumSentences = 1024,
        seed: Seed = 0,
        given: Set = None,
        json: Json = False,
        out: Out = None,
    ) -> None:
        from ..operands import read_model

        read = read_model(model, rules_seed)
        judge = getattr(import_module(f"rhm_hf.metrics.{name}.{module}"), name)
        options = settings(given, judge, ("num_sentences", "seed")) | {"num_sentences": num_sentences, "seed": seed}
        source = grammar_beside(grammar, read, rules_seed)
        result = judged(judge, read, source, None, options)
        title = f"{name} of {model}, grammar {source.name}"

        def draw(path: Path) -> None:
            from ...drawing.figures import heat_map

            levels = [str(level) for level in result["levels"]]
            labels = {"title": title, "xlabel": "level", "label": value}
            heat_map(path, result[value], rows=result["layers"], columns=levels, **labels)

        parameters = given_ones(model=model, grammar=source.name, fingerprint=source.fingerprint, **options)
        facts = {"sentences": result["num_sentences"]}
        if "chance" in result:
            facts["chance, from level 0"] = result["chance"]
        publish(Findings(name, title, parameters, result, facts, _tables(result, value), draw), json, out)

    command.__name__, command.__doc__ = name, summary
    return command


def _tables(result: dict, value: str) -> dict[str, list[dict]]:
    """A row for every layer: the numbers, their errors, and the control's where there is one."""
    error = "stderr" if "stderr" in result else f"{value}_stderr"
    shown = {f"{value} of every layer and level": value, "standard errors": error}
    if "control" in result:
        shown["control: the beliefs of other sentences"] = "control"
    return {
        heading: [
            {"layer": layer} | {f"level {level}": entry for level, entry in zip(result["levels"], row, strict=True)}
            for layer, row in zip(result["layers"], result[key], strict=True)
        ]
        for heading, key in shown.items()
    }


synonym_sensitivity: Callable[..., None] = _command(
    "synonym_sensitivity",
    "sensitivity",
    "sensitivity",
    "How sensitive layers are to synonyms of every level: 1 blind to its symbols, 0 nothing else matters.",
)
latent_probe: Callable[..., None] = _command(
    "latent_probe", "probe", "accuracy", "How well a linear probe reads the symbols of every level from every layer."
)
belief_probe: Callable[..., None] = _command(
    "belief_probe",
    "belief_maps",
    "r2",
    "How much of the exact beliefs about hidden symbols, given the prefix, an affine map reads from every layer.",
)
representation_probe: Callable[..., None] = _command(
    "representation_probe",
    "similarity",
    "ratio",
    "How much layers change when a symbol is rewritten, over when it is replaced: 0 they represent it.",
)
