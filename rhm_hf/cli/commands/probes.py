"""Commands of metrics that look into the layers of a model: sensitivities and probes."""

from collections.abc import Callable
from pathlib import Path

from ..options import BesideGrammar, Json, ModelName, NumSentences, Out, RulesSeed, Seed, Set, settings
from ..output import Findings, publish
from .judged import given_ones, grammar_beside, judged


def synonym_sensitivity(
    model: ModelName,
    grammar: BesideGrammar = None,
    rules_seed: RulesSeed = None,
    num_sentences: NumSentences = 1024,
    seed: Seed = 0,
    given: Set = None,
    json: Json = False,
    out: Out = None,
) -> None:
    """How sensitive layers are to synonyms of every level: 1 blind to its symbols, 0 nothing else matters."""
    _probe("synonym_sensitivity", "sensitivity", model, grammar, rules_seed, num_sentences, seed, given, json, out)


def latent_probe(
    model: ModelName,
    grammar: BesideGrammar = None,
    rules_seed: RulesSeed = None,
    num_sentences: NumSentences = 1024,
    seed: Seed = 0,
    given: Set = None,
    json: Json = False,
    out: Out = None,
) -> None:
    """How well a linear probe reads the symbols of every level from every layer."""
    _probe("latent_probe", "accuracy", model, grammar, rules_seed, num_sentences, seed, given, json, out)


def belief_probe(
    model: ModelName,
    grammar: BesideGrammar = None,
    rules_seed: RulesSeed = None,
    num_sentences: NumSentences = 1024,
    seed: Seed = 0,
    given: Set = None,
    json: Json = False,
    out: Out = None,
) -> None:
    """How much of the exact beliefs about hidden symbols, given the prefix, an affine map reads from every layer."""
    _probe("belief_probe", "r2", model, grammar, rules_seed, num_sentences, seed, given, json, out)


def representation_probe(
    model: ModelName,
    grammar: BesideGrammar = None,
    rules_seed: RulesSeed = None,
    num_sentences: NumSentences = 1024,
    seed: Seed = 0,
    given: Set = None,
    json: Json = False,
    out: Out = None,
) -> None:
    """How much layers change when a symbol is rewritten, over when it is replaced: 0 they represent it."""
    _probe("representation_probe", "ratio", model, grammar, rules_seed, num_sentences, seed, given, json, out)


def _probe(name, value, model, grammar, rules_seed, num_sentences, seed, given, json, out) -> None:
    """A metric that gives a number for every layer and level."""
    from ..operands import read_model

    read = read_model(model, rules_seed)
    judge = _function(name)
    options = settings(given, judge, ("num_sentences", "seed")) | {"num_sentences": num_sentences, "seed": seed}
    source = grammar_beside(grammar, read, rules_seed)
    result = judged(judge, read, source, None, options)
    error = "stderr" if "stderr" in result else f"{value}_stderr"
    tables = {}
    shown = [(f"{value} of every layer and level", value), ("standard errors", error)]
    if "control" in result:
        shown.append(("control: the beliefs of other sentences", "control"))
    for title, key in shown:
        tables[title] = [
            {"layer": layer} | {f"level {level}": entry for level, entry in zip(result["levels"], row, strict=True)}
            for layer, row in zip(result["layers"], result[key], strict=True)
        ]

    def draw(path: Path) -> None:
        from ...drawing.figures import heat_map

        columns = [str(level) for level in result["levels"]]
        heat_map(path, result[value], rows=result["layers"], columns=columns, title=title, xlabel="level", label=value)

    title = f"{name} of {model}, grammar {source.name}"
    parameters = given_ones(model=model, grammar=source.name, fingerprint=source.fingerprint, **options)
    facts = {"sentences": result["num_sentences"]}
    if "chance" in result:
        facts["chance, from level 0"] = result["chance"]
    publish(Findings(name, title, parameters, result, facts, tables, draw), json, out)


def _function(name: str) -> Callable[..., dict]:
    if name == "synonym_sensitivity":
        from ...metrics.synonym_sensitivity.sensitivity import synonym_sensitivity as judge
    elif name == "belief_probe":
        from ...metrics.belief_probe.belief_maps import belief_probe as judge
    elif name == "latent_probe":
        from ...metrics.latent_probe.probe import latent_probe as judge
    else:
        from ...metrics.representation_probe.similarity import representation_probe as judge
    return judge
