"""`rhm show` where trees differ in shape: what is known of hidden tokens and symbols, given a sentence or a prefix."""

import math
from typing import Any

from ..progress import heavy, progress
from .given_tokens import GOES_ON, HIDDEN, positions_of, symbol_of


SHOWN = 12  # rows of a table
CERTAIN = 1 - 1e-9

Shown = tuple[dict, dict[str, Any], dict[str, list[dict[str, Any]]]]


def posterior_of_spans(source: Any, tokens: str | None, mask: str | None, seed: int) -> Shown:
    """Trees, numbers and tables: of a sentence, of which some tokens are hidden, or of what a prefix leaves open.

    Args:
        source ([`~rhm_hf.grammar.Source`]): whose trees differ in shape.
        tokens (`str`, *optional*): as `--tokens`; a row that ends with `..` is a prefix. By default a drawn sentence.
        mask (`str`, *optional*): as `--mask`.
        seed (`int`): of the drawn sentence, and of the tree that is drawn where tokens are hidden.
    """
    words = None if tokens is None else tokens.replace(",", " ").split()
    if words and words[-1] in GOES_ON:
        if mask is not None or set(HIDDEN).intersection(words):
            raise ValueError(
                "--tokens that end with .. are a prefix, of which nothing can be hidden: leave out ? and --mask"
            )
        return _of_prefix(source, [symbol_of(word, source) for word in words[:-1]])
    if words is None:
        drawn, (length,) = source.sample(1, seed=seed, sampling="iid", return_lengths=True)
        row, hidden = drawn[0, :length].astype(int).tolist(), [False] * int(length)
    else:
        hidden = [word in HIDDEN for word in words]
        row = [0 if h else symbol_of(word, source) for word, h in zip(words, hidden, strict=True)]
    for position in positions_of(mask, len(row)):
        hidden[position - 1] = True
    return _of_sentence(source, row, hidden, seed)


def _name(source: Any, token: int) -> str:
    if token == source.vocab_size:
        return "END"
    return str(source.terminals[token]) if hasattr(source, "terminals") else str(token)


# A sentence, of known length.


def _of_sentence(source: Any, row: list[int], hidden: list[bool], seed: int) -> Shown:
    with heavy("PyTorch"):
        import torch
    laws = source.laws
    given = {"tokens": [row], "mask": [hidden]}
    shown = " ".join("?" if h else _name(source, token) for token, h in zip(row, hidden, strict=True))
    with progress("exact posteriors"):
        found, logs = laws.posteriors(**given, return_log_evidence=True)
        if float(logs[0]) == -math.inf:
            raise ValueError(
                f"no sentence of {source.name} agrees with the tokens {shown}: they are impossible together"
            )
        if any(hidden):
            tree = laws.sample_posterior(**given, generator=torch.Generator().manual_seed(seed))[0]
        else:
            tree = laws.most_probable_parse([row])[0]
    spans = _spans(source, found, len(row))
    of_tokens = found[0][0].tolist()
    title = f"a tree drawn from the posterior given {shown}" if any(hidden) else f"the most probable tree of {shown}"
    result = {
        "tokens": [None if h else _name(source, token) for token, h in zip(row, hidden, strict=True)],
        "log_evidence": float(logs[0]),
        "token_laws": of_tokens,
        "spans": spans,
    }
    open_ones = sorted((s for s in spans if s["prob"] < CERTAIN), key=lambda s: -s["prob"])
    tables = {"Symbols over spans of tokens that are not certain: most probable first": _shortened(open_ones)}
    if any(hidden):
        tables["Hidden tokens"] = [_law_row(source, {"token": i + 1}, of_tokens[i]) for i, h in enumerate(hidden) if h]
    return {title: _labelled(source, tree, spans, of_tokens, hidden)}, result, tables


def _spans(source: Any, found: Any, length: int) -> list[dict[str, Any]]:
    """Every symbol over every span, with its probability; tokens are counted from 1."""
    if hasattr(found, "spans"):  # of a general grammar
        columns = zip(
            *(getattr(found.spans, key).tolist() for key in ("symbols", "starts", "ends", "probs")), strict=True
        )
        return [
            {"symbol": str(source.symbols[a]), "first": start + 1, "last": end, "prob": p}
            for a, start, end, p in columns
        ]
    rows = []
    for level, law in enumerate(found[1:-1], start=1):
        for start, end, probs in zip(law.start.tolist(), law.end.tolist(), law.probs.tolist(), strict=True):
            entries = [(a, p) for a, p in enumerate(probs) if p > 0]
            rows += [
                {"level": level, "symbol": str(a), "first": start + 1, "last": end, "prob": p} for a, p in entries
            ]
    root = [(a, p) for a, p in enumerate(found[-1][0, 0].tolist()) if p > 0]
    top = {"level": source.depth, "first": 1, "last": length}
    return rows + [top | {"symbol": str(a), "prob": p} for a, p in root]


def _labelled(source: Any, tree: Any, spans: list[dict], of_tokens: list[list[float]], hidden: list[bool]):
    """The tree with the probability of every node that is not certain."""
    from ...drawing.nodes import Node, of_derivation

    known = {(s.get("level"), s["symbol"], s["first"], s["last"]): s["prob"] for s in spans}
    names = [_name(source, token) for token in range(source.vocab_size)]
    read = 0

    def build(node: Node) -> Node:
        nonlocal read
        if not node.children:
            if node.label == "ε" and node.label not in names:
                return node
            read += 1
            if not hidden[read - 1]:
                return Node(node.label, (), "given")
            return certain(node, (), of_tokens[read - 1][names.index(node.label)])
        first = read + 1
        children = tuple(build(child) for child in node.children)
        level = node.height if hasattr(tree, "num_children") else None
        return certain(node, children, known.get((level, node.label, first, read), 1.0))

    def certain(node: Node, children: tuple, p: float) -> Node:
        sure = p > CERTAIN
        return Node(
            node.label if sure else f"{node.label} {p:.2f}".replace(" 0.", " ."), children, "" if sure else "uncertain"
        )

    return build(of_derivation(tree))


# A prefix.


def _of_prefix(source: Any, row: list[int]) -> Shown:
    with heavy("PyTorch"):
        from ...inference import prefix_probs
    with progress("exact laws"):
        probs, valid = prefix_probs(source, [row])
    shown = " ".join(_name(source, token) for token in row)
    if not bool(valid[0, len(row)]):
        raise ValueError(f"no sentence of {source.name} begins with the tokens {shown}")
    law = probs[0, len(row)].tolist()
    opened = _containing(source, row) if row else []
    title = f"What contains token {len(row)}, given the tokens up to it"
    tables = {title: _shortened(sorted(opened, key=lambda s: -s["prob"]))} if opened else {}
    tables[f"The next token after {shown or 'nothing'}"] = [_law_row(source, {"token": len(row) + 1}, law)]
    result = {"tokens": [_name(source, token) for token in row], "is_prefix": True}
    return {}, result | {"next_token_law": law, "containing": opened}, tables


def _containing(source: Any, row: list[int]) -> list[dict[str, Any]]:
    """The symbols that contain the last token of a prefix, given the prefix."""
    from ...inference import causal_posteriors

    if source.family == "pcfg":
        found = source.laws.causal_posteriors([row], by_start=True)[0][0, -1]
        return [
            {"symbol": str(source.symbols[a]), "first": start + 1, "prob": float(found[start, a])}
            for start, a in found.nonzero().tolist()
        ]
    return [
        {"level": level, "symbol": str(a), "prob": float(law[0, -1, a])}
        for level, law in enumerate(causal_posteriors(source, [row]), start=1)
        for a in law[0, -1].nonzero().flatten().tolist()
    ]


def _shortened(rows: list[dict[str, Any]]) -> list[dict[str, Any]]:
    return [row | {"prob": f"{row['prob']:.4f}"} for row in rows[:SHOWN]]


def _law_row(source: Any, start: dict[str, Any], law: list[float]) -> dict[str, Any]:
    order = sorted(range(len(law)), key=lambda k: -law[k])[:5]
    return start | {f"{i + 1}.": f"{_name(source, k)} ({law[k]:.4f})" for i, k in enumerate(order) if law[k] > 0}
