"""`rhm verify`: the package's laws beside a brute force that shares no code with them."""

import math
from collections.abc import Callable, Iterator
from typing import Annotated, Any

import typer

from ..group import Silent
from ..options import GrammarName, Json, Out, RulesSeed, Seed
from ..output import Findings, note, publish
from ..progress import heavy, progress


LIST_LIMIT = 2**14  # derivations that are listed one by one
TOLERANCE = 1e-9
DEVIATIONS = 5.0  # standard deviations that the statistic of a sample may be off
MASKS = 24  # random contexts whose posteriors are compared
SAMPLED = 16  # sentences of a large grammar

Row = dict[str, Any]


def verify(
    grammar: GrammarName,
    rules_seed: RulesSeed = None,
    num_sentences: Annotated[int, typer.Option(help="Sentences of a large grammar that are checked.")] = SAMPLED,
    seed: Seed = 0,
    json: Json = False,
    out: Out = None,
) -> None:
    """Compare the laws of a grammar with a brute force that shares no code with them."""
    from ..inputs import read_grammar
    from .brute_force import Definition, Listed

    if num_sentences < 1:
        raise ValueError(f"--num_sentences {num_sentences} must be at least 1")
    source = read_grammar(grammar, rules_seed)
    definition = Definition.of(source)
    with heavy("PyTorch"):
        from ... import inference  # noqa: F401
    number = definition.num_derivations()
    if number <= LIST_LIMIT:
        method = f"all {number} derivations listed"
        with progress("listing every derivation"):
            listed = Listed(definition)
        checks = _small(source, listed, seed)
    else:
        method = f"sums over all trees, for {num_sentences} sentences drawn"
        checks = _large(source, definition, num_sentences, seed)
    rows: list[Row] = []
    with progress("comparing laws") as advance:
        for row in checks:
            rows.append(row | {"agrees": row["largest difference"] <= row["allowed"]})
            advance(1)
    wrong = [row["law"] for row in rows if not row["agrees"]]
    facts = {"brute force": method, "verdict": "all laws agree" if not wrong else f"DIFFER: {', '.join(wrong)}"}
    result = {"grammar": source.name, "fingerprint": source.fingerprint, "method": method, "checks": rows}
    parameters = {"grammar": grammar, "rules_seed": rules_seed, "num_sentences": num_sentences, "seed": seed}
    tables = {"Largest differences between the package and the brute force": rows}
    publish(Findings("verify", f"{source.name} ({source.family})", parameters, result, facts, tables), json, out)
    if wrong:
        note(f"rhm verify: {len(wrong)} laws differ from the brute force: {', '.join(wrong)}")
        raise Silent(1)


def _row(law: str, cases: int, difference: float, allowed: float = TOLERANCE) -> Row:
    return {"law": law, "cases": cases, "largest difference": float(difference), "allowed": allowed}


def _small(source, listed, seed: int) -> Iterator[Row]:
    """Every law of a small grammar against the list of its derivations."""
    import numpy as np
    import torch

    from ... import inference

    sentences = np.array(list(listed.sentences))
    probs = np.array(list(listed.sentences.values()))
    logs = inference.log_prob(source, sentences).numpy()
    yield _row("number of sentences", 1, abs(source.num_sentences - len(sentences)), 0.0)
    yield _row("probabilities sum to 1", len(sentences), abs(math.fsum(np.exp(logs)) - 1))
    yield _row("log P of every sentence", len(sentences), np.abs(logs - np.log(probs)).max())
    stderr = getattr(source, "entropy_stderr", 0.0)
    yield _row("entropy", 1, abs(source.entropy - listed.entropy), max(TOLERANCE, DEVIATIONS * stderr))
    laws = listed.prefixes()
    ours = inference.next_token_probs(source, sentences).numpy()
    worst = max(
        np.abs(ours[i, t] - laws[tuple(row[:t])]).max()
        for i, row in enumerate(sentences.tolist())
        for t in range(len(row))
    )
    yield _row("next-token law of every prefix", len(laws), worst)
    for level in range(source.depth + 1):
        mine, theirs = inference.plateau(source, level), listed.plateau(source.block_length(level))
        yield _row(f"plateau of level {level}", 1, abs(mine - theirs))
    yield _posteriors(source, sentences, listed.posterior, seed)
    yield from _pairs(source, listed)
    yield from _oracle(source, sentences, logs)
    yield _sample(source, listed, seed)
    wrong = (sentences + 1) % source.vocab_size
    impossible = np.array([tuple(row) not in listed.sentences for row in wrong.tolist()])
    if impossible.any():
        found = inference.log_prob(source, wrong[impossible])
        yield _row(
            "ungrammatical sentences have log P = -inf", int(impossible.sum()), int((found > -torch.inf).sum()), 0.0
        )


def _large(source, definition, num: int, seed: int) -> Iterator[Row]:
    """Laws of drawn sentences against sums over all trees."""
    import numpy as np

    from ... import inference

    tokens = source.sample(num, seed=seed, split="evaluation", sampling="iid").astype(np.int64)
    length, v = tokens.shape[1], source.vocab_size
    logs = inference.log_prob(source, tokens).numpy()
    theirs = np.array([definition.evidence(np.eye(v)[row]) for row in tokens])
    possible = theirs > 0  # long sentences have probabilities below the smallest float64
    if possible.any():
        yield _row("log P", int(possible.sum()), np.abs(logs[possible] - np.log(theirs[possible])).max(), 1e-7)
    ours = inference.next_token_probs(source, tokens).numpy()
    yield _row("next-token laws sum to 1", ours.shape[0] * length, np.abs(ours.sum(-1) - 1).max())
    chain = np.log(np.take_along_axis(ours, tokens[..., None], -1)[..., 0]).sum(1)
    yield _row("log P is the sum of the next-token laws'", num, np.abs(chain - logs).max(), 1e-7)
    rng = np.random.default_rng(seed)
    places = [(i, int(rng.integers(length))) for i in range(num)]
    worst = max(np.abs(ours[i, t] - definition.next_token(tokens[i, :t], length)).max() for i, t in places)
    yield _row("next-token law at a random place", num, worst)
    yield _posteriors(source, tokens, definition.posterior, seed)
    yield from _oracle(source, tokens, logs)


def _posteriors(source, tokens, brute: Callable[..., Any], seed: int) -> Row:
    """Laws of random nodes of all levels under random masks."""
    import numpy as np

    from ... import inference

    rng = np.random.default_rng(seed)
    rows = tokens[rng.integers(len(tokens), size=MASKS)]
    hidden = rng.random(rows.shape) < rng.choice([0.3, 0.6, 1.0], size=(MASKS, 1))
    ours = inference.posteriors(source, tokens=rows, mask=hidden)
    worst, cases = 0.0, 0
    for i, (row, mask) in enumerate(zip(rows, hidden, strict=True)):
        for level, laws in enumerate(ours):
            node = int(rng.integers(laws.shape[1]))
            given = tuple(row.tolist()) if tokens.ndim == 2 and brute.__qualname__.startswith("Listed") else row
            theirs = brute(given, mask, level, node, laws.shape[2])
            worst = max(worst, float(np.abs(laws[i, node].numpy() - theirs).max()))
            cases += 1
    return _row("posteriors of hidden symbols under random masks", cases, worst)


def _pairs(source, listed) -> Iterator[Row]:
    import numpy as np

    from ...statistics import joint_law

    pairs = [(i, listed.length - 1) for i in range(listed.length - 1)]
    if pairs:
        worst = max(np.abs(joint_law(source, i, j) - listed.pair(i, j)).max() for i, j in pairs)
        yield _row("law of two tokens", len(pairs), worst)


def _oracle(source, tokens, logs) -> Iterator[Row]:
    """The oracle model's own log probabilities of whole sentences."""
    import numpy as np
    import torch

    from ...models.rhm.modeling_rhm import RHMForCausalLM

    model = RHMForCausalLM.from_grammar(source).eval()
    rows = torch.from_numpy(np.asarray(tokens[:1024], dtype=np.int64))
    inputs = torch.cat([torch.full((len(rows), 1), source.vocab_size), rows[:, :-1]], 1)
    with torch.no_grad():
        found = model(input_ids=inputs).logits.double().log_softmax(-1)
    total = found.gather(2, rows[..., None])[..., 0].sum(1).numpy()
    yield _row("log P of the oracle model", len(rows), np.abs(total - logs[: len(rows)]).max(), 1e-4)


def _sample(source, listed, seed: int) -> Row:
    """Frequencies of sampled sentences: how many standard deviations their chi-squared statistic is off."""
    import numpy as np

    names = list(listed.sentences)
    probs = np.array(list(listed.sentences.values()))
    num = int(min(2**17, max(2**12, 8 / probs.min())))
    rows, counts = np.unique(
        source.sample(num, seed=seed, split="evaluation", sampling="iid"), axis=0, return_counts=True
    )
    found = dict(zip(map(tuple, rows.tolist()), counts.tolist(), strict=True))
    if set(found) - set(names):
        return _row("sampled sentences are sentences", num, math.inf, 0.0)
    expected = num * probs
    order = np.argsort(expected)  # rare sentences are counted together
    rare = order[expected[order] < 5]
    observed = np.array([found.get(name, 0) for name in names], dtype=float)
    common = np.setdiff1d(order, rare)
    cells = [(observed[common], expected[common])]
    if expected[rare].sum() >= 5:
        cells.append((observed[rare].sum(keepdims=True), expected[rare].sum(keepdims=True)))
    seen, wanted = (np.concatenate(parts) for parts in zip(*cells, strict=True))
    freedom = max(1, len(seen) - (len(rare) == 0))
    statistic = float(((seen - wanted) ** 2 / wanted).sum())
    return _row(
        f"chi-squared of {num} samples, in its deviations",
        len(seen),
        abs(statistic - freedom) / math.sqrt(2 * freedom),
        DEVIATIONS,
    )
