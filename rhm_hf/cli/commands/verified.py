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
DRAWN = 2**14  # sentences of one with too many derivations, drawn rule by rule
SHORT = 48  # tokens of those whose log P is looked at
PREFIXES = 4  # lengths of prefixes, from 0, after which frequencies are compared

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
    from ..operands import read_grammar

    if num_sentences < 1:
        raise ValueError(f"--num_sentences {num_sentences} must be at least 1")
    source = read_grammar(grammar, rules_seed)
    with heavy("PyTorch"):
        from ... import inference  # noqa: F401
    if source.has_blocks:
        method, checks = _fixed_trees(source, num_sentences, seed)
    else:
        method, checks = _any_trees(source, seed)
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


def _fixed_trees(source, num: int, seed: int) -> tuple[str, Iterator[Row]]:
    """How a source of fixed trees is checked, and the checks."""
    from .brute_force import Definition, Listed

    definition = Definition.of(source)
    number = definition.num_derivations()
    if number > LIST_LIMIT:
        return f"sums over all trees, for {num} sentences drawn", _large(source, definition, num, seed)
    with progress("listing every derivation"):
        listed = Listed(definition.derivations(), source.vocab_size)
    return f"all {number} derivations listed", _small(source, listed, seed)


def _any_trees(source, seed: int) -> tuple[str, Iterator[Row]]:
    """The same where trees differ in shape."""
    from .brute_force import Listed
    from .productions import Productions

    productions = Productions.of(source)
    number = productions.num_derivations()
    if number > LIST_LIMIT:
        return f"{DRAWN} sentences drawn rule by rule", _drawn(source, productions, seed)
    with progress("listing every derivation"):
        listed = Listed(productions.derivations(), source.vocab_size, with_end=source.lengths_vary)
    return f"all {number} derivations listed", _listed(source, listed, seed)


def _row(law: str, cases: int, difference: float, allowed: float = TOLERANCE) -> Row:
    return {"law": law, "cases": cases, "largest difference": float(difference), "allowed": allowed}


def _small(source, listed, seed: int) -> Iterator[Row]:
    """Every law of a small grammar of fixed trees against the list of its derivations."""
    import numpy as np
    import torch

    from ... import inference

    yield from _listed(source, listed, seed)
    sentences = np.array(list(listed.sentences))
    for level in range(source.depth + 1):
        mine, theirs = inference.plateau(source, level), listed.plateau(source.block_length(level))
        yield _row(f"plateau of level {level}", 1, abs(mine - theirs))
    yield _posteriors(source, sentences, listed.posterior, seed)
    yield from _pairs(source, listed)
    wrong = (sentences + 1) % source.vocab_size
    impossible = np.array([tuple(row) not in listed.sentences for row in wrong.tolist()])
    if impossible.any():
        found = inference.log_prob(source, wrong[impossible])
        yield _row(
            "ungrammatical sentences have log P = -inf", int(impossible.sum()), int((found > -torch.inf).sum()), 0.0
        )


def _listed(source, listed, seed: int) -> Iterator[Row]:
    """What a list of all sentences says of any grammar."""
    import numpy as np

    from ... import inference

    sentences, probs = list(listed.sentences), np.array(list(listed.sentences.values()))
    rows = _rows(sentences, source)
    logs = inference.log_prob(source, rows).numpy()
    if source.num_sentences != math.inf:  # which says that nobody counted them
        yield _row("number of sentences", 1, abs(source.num_sentences - len(sentences)), 0.0)
    yield _row("probabilities sum to 1", len(sentences), abs(math.fsum(np.exp(logs)) - 1))
    yield _row("log P of every sentence", len(sentences), np.abs(logs - np.log(probs)).max())
    allowed = max(TOLERANCE, DEVIATIONS * source.entropy_stderr)
    yield _row("entropy", 1, abs(source.entropy - listed.entropy), allowed)
    laws = listed.prefixes()
    ours = (
        inference.prefix_probs(source, rows)[0] if source.lengths_vary else inference.next_token_probs(source, rows)
    ).numpy()
    worst = max(
        np.abs(ours[i, t] - laws[row[:t]]).max()
        for i, row in enumerate(sentences)
        for t in range(len(row) + source.lengths_vary)
    )
    yield _row("next-token law of every prefix" + " (END included)" * source.lengths_vary, len(laws), worst)
    yield from _oracle(source, sentences, logs)
    yield _sample(source, listed, seed)


def _drawn(source, productions, seed: int) -> Iterator[Row]:
    """Laws of a grammar with too many derivations to list: frequencies of an independent sampler, and consistency."""
    import numpy as np

    from ... import inference

    sentences = productions.draw(DRAWN, seed)
    short = [sentence for sentence in sentences if len(sentence) <= SHORT][:SAMPLED]
    if short:
        rows = _rows(short, source)
        laws = inference.prefix_probs(source, rows)[0].numpy()
        yield _row("next-token laws sum to 1", sum(len(s) + 1 for s in short), np.abs(laws.sum(-1) - 1).max())
        outcomes = [[*sentence, source.vocab_size] for sentence in short]
        chain = np.array([sum(math.log(laws[i, t, x]) for t, x in enumerate(row)) for i, row in enumerate(outcomes)])
        logs = inference.log_prob(source, rows).numpy()
        yield _row("log P is the sum of the next-token laws'", len(short), np.abs(chain - logs).max(), 1e-7)
        yield from _oracle(source, short, logs)
    for length in range(PREFIXES):
        yield _frequencies(source, sentences, length)
    lengths = source.sample(DRAWN, seed=seed, split="evaluation", sampling="iid", return_lengths=True)[1]
    theirs = np.array(list(map(len, sentences)))
    spread = math.sqrt((lengths.var() + theirs.var()) / DRAWN) or 1.0
    yield _row(
        "mean length of samples, in deviations", DRAWN, abs(lengths.mean() - theirs.mean()) / spread, DEVIATIONS
    )


def _frequencies(source, sentences: list[tuple[int, ...]], length: int) -> Row:
    """What follows the most frequent prefix of a length, in standard deviations of its frequencies."""
    from collections import Counter

    import numpy as np

    from ... import inference

    prefixes = Counter(sentence[:length] for sentence in sentences if len(sentence) >= length)
    prefix, number = prefixes.most_common(1)[0]
    following = Counter(s[length] if len(s) > length else source.vocab_size for s in sentences if s[:length] == prefix)
    law = inference.prefix_probs(source, np.array([prefix], dtype=np.int64).reshape(1, length))[0][0, length].numpy()
    observed = np.array([following.get(k, 0) for k in range(len(law))])
    deviation = np.sqrt(np.maximum(number * law * (1 - law), 1e-12))
    impossible = observed[law == 0].sum() > 0
    worst = (
        math.inf if impossible else float((np.abs(observed - number * law) / np.where(law > 0, deviation, 1)).max())
    )
    return _row(
        f"what follows {length} tokens, in deviations of {number} draws", int((law > 0).sum()), worst, DEVIATIONS
    )


def _rows(sentences: list[tuple[int, ...]], source):
    """Sentences as one array, padded with PAD where they differ in length."""
    import numpy as np

    rows = np.full((len(sentences), max(map(len, sentences))), source.vocab_size + 1, dtype=np.int64)
    for row, sentence in zip(rows, sentences, strict=True):
        row[: len(sentence)] = sentence
    return rows


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


def _oracle(source, sentences, logs) -> Iterator[Row]:
    """The oracle model's own log probabilities of whole sentences."""
    import numpy as np
    import torch

    from ...models.rhm.modeling_rhm import RHMForCausalLM

    model = RHMForCausalLM.from_grammar(source).eval()
    chosen = [tuple(map(int, sentence)) for sentence in sentences[:1024]]
    rows = torch.from_numpy(_rows(chosen, source))
    bos = torch.full((len(rows), 1), source.vocab_size)
    targets = torch.cat([rows, bos], 1) if source.lengths_vary else rows  # END = BOS
    inputs = torch.cat([bos, rows if source.lengths_vary else rows[:, :-1]], 1)
    with torch.no_grad():
        found = model(input_ids=inputs, attention_mask=(inputs != source.vocab_size + 1).long()).logits
    total = np.zeros(len(chosen))
    for i, sentence in enumerate(chosen):
        targets[i, len(sentence) :] = source.vocab_size
        number = len(sentence) + source.lengths_vary
        law = found[i, :number].double().log_softmax(-1)
        total[i] = law.gather(1, targets[i, :number, None]).sum()
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
    ends = (rows <= source.vocab_size).sum(1)  # padding lies beyond
    found = {tuple(row[:end]): n for row, end, n in zip(rows.tolist(), ends, counts.tolist(), strict=True)}
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
