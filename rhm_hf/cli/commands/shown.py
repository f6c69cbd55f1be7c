"""`rhm show`: a derivation as a tree, the rules, the synonyms, what a change redraws, what a context leaves open."""

import math
from pathlib import Path
from typing import Annotated, Any

import typer

from ..options import GrammarName, Json, RulesSeed, Seed
from ..output import json_text, screen, show_facts, show_table
from ..progress import heavy, progress
from .given_tokens import HIDDEN, positions_of, symbol_of


LAWS_SHOWN = 3  # most probable symbols of a hidden node
SYMBOLS_SHOWN = 12  # of a level's rules
NOTHING_GIVEN = "--posterior needs to know what is visible: give --tokens (a prefix, or ? where hidden) or --mask"

Resample = Annotated[
    str | None,
    typer.Option(
        metavar="level=L[,node=K]",
        help="Redraw all rules below the symbols of a level (synonyms), or those below one node (1 ..).",
    ),
]
Posterior = Annotated[bool, typer.Option(help="The law of every hidden symbol given the tokens that are visible.")]
Tokens = Annotated[
    str | None,
    typer.Option(
        metavar='"3 1 ? 2"',
        help="Tokens instead of drawn ones; ? is hidden; a shorter row, or one that ends with .., is a prefix.",
    ),
]
Mask = Annotated[str | None, typer.Option(metavar="3,5-7", help="Hide these positions, counted from 1.")]
Picture = Annotated[Path | None, typer.Option(metavar="FILE", help="Also a picture: .svg, .png or .pdf.")]
All = Annotated[bool, typer.Option("--all", help="Show the rules of all symbols.")]


def show(
    grammar: GrammarName,
    rules_seed: RulesSeed = None,
    seed: Seed = 0,
    resample: Resample = None,
    posterior: Posterior = False,
    tokens: Tokens = None,
    mask: Mask = None,
    out: Picture = None,
    every_rule: All = False,
    json: Json = False,
) -> None:
    """Draw a derivation as a tree, with the rules and the synonyms of its grammar."""
    from ..operands import read_grammar

    if resample is not None and (posterior or mask is not None):
        raise ValueError("--resample changes a derivation, --posterior and --mask hide one: give one of them")
    source = read_grammar(grammar, rules_seed)
    if not source.has_blocks:
        if resample is not None:
            raise ValueError(f"--resample needs trees of one fixed shape, and those of {source.name} differ")
        trees, result, tables = _of_any_shape(source, tokens, mask, posterior, seed)
        if out is not None and not trees:
            raise ValueError("--out is a picture of a tree, and a prefix has many: leave it out")
        _finish(source, trees, result, tables, [], out, every_rule, json)
        return
    row, hidden = _row(source, tokens, mask, seed)
    posterior = posterior or bool(hidden.any())
    if posterior and tokens is None and mask is None:
        raise ValueError(NOTHING_GIVEN)
    if posterior:
        trees, result, tables = _posterior(source, row, hidden)
    else:
        trees, result, tables = _derivation(source, row, seed, tokens is not None, resample)
    _finish(source, trees, result, tables, _row_names(source, next(iter(trees.values()))), out, every_rule, json)


def _finish(source, trees, result, tables, names, out, every_rule: bool, json: bool) -> None:
    """Draws, and prints trees and rules or JSON."""
    rules = _rules(source, SYMBOLS_SHOWN if not (every_rule or json) else None)
    if out is not None:
        from ...drawing.picture import draw_trees

        draw_trees(out, trees, names)
    if json:
        print(json_text({"grammar": source.name, "fingerprint": source.fingerprint, **result, "rules": rules}))
        return
    _print(source, trees, names, tables | rules, out)


def _of_any_shape(source, tokens, mask, posterior: bool, seed: int) -> tuple[dict, dict[str, Any], dict]:
    """A derivation of a source whose trees differ in shape, or what tokens say of it."""
    if tokens is not None or mask is not None:
        from .shown_spans import posterior_of_spans

        return posterior_of_spans(source, tokens, mask, seed)
    if posterior:
        raise ValueError(NOTHING_GIVEN)
    from ...drawing.nodes import of_derivation

    tree = of_derivation(source.derivations(1, seed=seed)[0])
    leaves = [node.label for node in tree.nodes() if not node.children]
    return {f"a derivation of {len(leaves)} tokens": tree}, {"tokens": leaves, "derivation": _nested(tree)}, {}


def _nested(node) -> Any:
    """A tree as lists, a symbol before its children."""
    return [node.label, *map(_nested, node.children)] if node.children else node.label


def _print(source, trees, names, tables, out: Path | None) -> None:
    from ...drawing.terminal import show_tree

    console = screen()
    for title, tree in trees.items():
        show_facts({}, f"{source.name}: {title}", console)
        show_tree(tree, console, names)
    for title, rows in tables.items():
        show_table(rows, title, console)
    if out is not None:
        console.print(f"written: {out}", markup=False)


# Which sentence.


def _row(source, tokens: str | None, mask: str | None, seed: int):
    """Tokens `(d,)` and which are hidden."""
    import numpy as np

    length = source.sentence_length
    if tokens is None:
        sampling = {} if source.is_equiprobable else {"sampling": "iid"}
        row, hidden = source.sample(1, seed=seed, **sampling)[0].astype(np.int64), np.zeros(length, dtype=bool)
    else:
        words = tokens.replace(",", " ").split()
        if len(words) > length:
            raise ValueError(f"--tokens has {len(words)} tokens: sentences of {source.name} have {length}")
        words += ["?"] * (length - len(words))
        hidden = np.array([word in HIDDEN for word in words])
        row = np.array([0 if h else symbol_of(word, source) for word, h in zip(words, hidden, strict=True)])
    for position in positions_of(mask, length):
        hidden[position - 1] = True
    return row, hidden


# The trees.


def _derivation(source, row, seed: int, given: bool, resample: str | None) -> tuple[dict, dict[str, Any], dict]:
    """The tree of a sentence, and that after a change."""
    import numpy as np

    from ...drawing.nodes import from_levels

    levels = _levels(source, row, seed, given)
    result: dict[str, Any] = {"tokens": row.tolist(), "derivation": [level.tolist() for level in levels]}
    trees = {"a derivation": from_levels(levels)}
    if resample is not None:
        level, node = _change(resample, source)
        changed = _resampled(source, levels, level, node, seed)
        differs = [np.asarray(a) != np.asarray(b) for a, b in zip(levels, changed, strict=True)]
        where = "all its nodes" if node is None else f"node {node + 1}"
        title = (
            f"rules below level {level} ({where}) drawn again; {int(differs[0].sum())} of {len(row)} tokens changed"
        )
        trees[title] = from_levels(changed, mark=lambda lv, k: "changed" if differs[lv][k] else "")
        result["resampled"] = {
            "level": level,
            "node": None if node is None else node + 1,
            "derivation": [entry.tolist() for entry in changed],
            "changed": [entry.tolist() for entry in differs],
        }
    return trees, result, {}


def _levels(source, row, seed: int, given: bool) -> list:
    """The symbols of every level of one sentence: those that were drawn, or the parse of given tokens."""
    import numpy as np

    if not given:
        sampling = {} if source.is_equiprobable else {"sampling": "iid"}
        return [np.asarray(level[0]) for level in source.derivations(1, seed=seed, **sampling)]
    with heavy("PyTorch"):
        from ...inference import log_prob
    if float(log_prob(source, row[None])[0]) == -np.inf:
        raise ValueError(f"--tokens {' '.join(map(str, row))!r} is no sentence of {source.name}: no rules derive it")
    levels = [np.asarray(level[0]) for level in source.parse(row[None].astype(source.token_dtype))]
    if len(levels) <= source.depth:
        raise ValueError(
            f"tokens of {source.name} do not determine its symbols above level {len(levels) - 1}: add --posterior"
        )
    return levels


def _change(text: str, source) -> tuple[int, int | None]:
    """The level and node of `--resample level=2,node=1`, the node counted from 0."""
    found: dict[str, int] = {}
    for part in text.split(","):
        name, _, value = part.strip().partition("=")
        if name not in ("level", "node") or not value.isdigit():
            raise ValueError(f"--resample {text!r} must be level=NUMBER, or level=NUMBER,node=NUMBER")
        found[name] = int(value)
    if not 1 <= found.get("level", 0) <= source.depth:
        raise ValueError(f"--resample {text!r}: level must be 1 to {source.depth}, the root")
    nodes = source.num_nodes_at(found["level"])
    if "node" in found and not 1 <= found["node"] <= nodes:
        raise ValueError(f"--resample {text!r}: level {found['level']} has the nodes 1 to {nodes}")
    return found["level"], found["node"] - 1 if "node" in found else None


def _resampled(source, levels: list, level: int, node: int | None, seed: int) -> list:
    from ...grammar import exchange_synonyms, redraw_rule

    rows = [entry[None] for entry in levels]
    try:
        if node is None:
            changed = exchange_synonyms(source, rows, level, seed=seed + 1)
        else:
            changed = redraw_rule(source, rows, level, node, seed=seed + 1)
    except (AttributeError, IndexError, TypeError) as error:  # of families without rules at every level
        raise ValueError(f"--resample needs rules at every level, and {source.name} has none of some") from error
    return [entry[0] for entry in changed]


def _posterior(source, row, hidden) -> tuple[dict, dict[str, Any], dict]:
    """The tree of the most probable symbol of every node, and the laws themselves."""
    with heavy("PyTorch"):
        from ...inference import posteriors
    from ...drawing.nodes import from_levels

    shown = " ".join("?" if h else str(token) for token, h in zip(row, hidden, strict=True))
    with progress("exact posteriors"):
        found, logs = posteriors(source, tokens=row[None], mask=hidden[None], return_log_evidence=True)
    if float(logs[0]) == -math.inf:
        raise ValueError(f"no sentence of {source.name} agrees with the tokens {shown}: they are impossible together")
    laws = [law[0].numpy() for law in found]
    best = [law.argmax(1) for law in laws]

    def label(level: int, node: int) -> str:
        sure = laws[level][node].max()
        symbol = str(best[level][node])
        return symbol if sure > 1 - 1e-9 else f"{symbol} {sure:.2f}".replace(" 0.", " .")

    def mark(level: int, node: int) -> str:
        if level == 0 and not hidden[node]:
            return "given"
        return "" if laws[level][node].max() > 1 - 1e-9 else "uncertain"

    trees = {f"the most probable symbol of every node given {shown}": from_levels(best, label, mark)}
    rows = []
    for level in range(len(laws) - 1, -1, -1):
        for node, law in enumerate(laws[level]):
            if law.max() <= 1 - 1e-9:
                likely = [int(k) for k in law.argsort()[::-1][:LAWS_SHOWN] if law[k] > 0]
                entry: dict[str, Any] = {"level": level, "node": node + 1, "possible": int((law > 0).sum())}
                rows.append(entry | {f"{i + 1}.": f"{k} ({law[k]:.4f})" for i, k in enumerate(likely)})
    result = {
        "tokens": [None if h else int(token) for token, h in zip(row, hidden, strict=True)],
        "posteriors": [law.tolist() for law in laws],
    }
    return trees, result, {"Symbols that are not determined: most probable first": rows}


# The rules.


def _rules(source, limit: int | None) -> dict[str, list[dict[str, Any]]]:
    """The rules of every level that has some, root first: a symbol and what it writes, its synonyms."""
    if hasattr(source, "to_text"):  # of a general grammar
        lines = [line for line in source.to_text().splitlines() if line.strip()]
        return {"Rules": [{"rule": line} for line in lines]}
    tables = {}
    for level in range(source.depth, 0, -1):
        try:
            rules, probs = source.rules_at(level), source.rule_probs_at(level)
        except (AttributeError, ValueError):  # chains have states there
            continue
        groups = list(zip(rules, probs, strict=True)) if isinstance(rules, list | tuple) else [(rules, probs)]
        number = len(groups[0][0])
        rows = [
            {"symbol": symbol, "writes one of (synonyms)": "  |  ".join(_right_sides(groups, symbol))}
            for symbol in range(min(number, limit or number))
        ]
        sizes = " or ".join(str(group.shape[2]) for group, _ in groups)
        below = "tokens" if level == 1 else f"level-{level - 1} symbols"
        cut = f", the first {limit} of {number} symbols (--all)" if limit and number > limit else ""
        tables[f"Rules of level {level}: each symbol writes {sizes} {below}{cut}"] = rows
    return tables


def _right_sides(groups: list, symbol: int) -> list[str]:
    """What a symbol writes, with probabilities where they differ."""
    found = [
        (" ".join(map(str, rule)), prob)
        for rules, probs in groups
        for rule, prob in zip(rules[symbol].tolist(), probs[symbol].tolist(), strict=True)
        if prob > 0
    ]
    uniform = len({prob for _, prob in found}) == 1
    return [text if uniform else f"{text} [{prob:.3g}]" for text, prob in found]


def _row_names(source, tree) -> list[str]:
    names = [f"level {level}" for level in range(source.depth, -1, -1)]
    names[0], names[-1] = f"{names[0]}, root", "tokens"
    return names if tree.height == source.depth else []
