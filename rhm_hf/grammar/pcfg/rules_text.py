"""Grammars as people write them: `S -> A B [0.3] | 'c' [0.7]`, one symbol or one rule a line.

- The form of nltk: alternatives between `|`, each with its probability in brackets at its end; or none with any, and
  then the rules of the symbol are equiprobable. A line that begins with `|` goes on with the symbol before it.
- The form with weights first, one rule a line: `0.3: S -> A B`.
- `->`, `→` and `::=` are the same arrow. Probabilities may be fractions, `[1/3]`.
- Quoted strings are terminals. So is any other string that stands on no left side.
- Nothing, or `ε`, between two `|` is an empty rule: `S -> A | [0.2]`.
- `#` begins a comment where a word could begin. `%start S` names the start symbol, which else is the first left side.
"""

import re
from dataclasses import dataclass, field


_NUMBER = r"(?:\d+\.?\d*|\.\d+)(?:[eE][-+]?\d+)?(?:\s*/\s*\d+(?:\.\d*)?)?"
_WORD = re.compile(
    rf"""\s*(?:
        (?P<comment>\#.*)
      | (?P<arrow>->|→|::=)
      | (?P<bar>\|)
      | \[\s*(?P<prob>[-+]?{_NUMBER})\s*\]
      | '(?P<single>[^']*)'
      | "(?P<double>[^"]*)"
      | (?P<bare>[^\s|'"][^\s|]*?(?=\[\s*[-+]?{_NUMBER}\s*\]|[\s|]|$))
      | (?P<stray>['"].*)
    )""",
    re.VERBOSE,
)
_WEIGHT = re.compile(rf"\s*(?P<weight>{_NUMBER})\s*:(?=\s)")
EMPTY = "ε"


@dataclass(frozen=True)
class WrittenRule:
    """A rule as it was written: its left side, what stands on its right (quoted or not), its probability, its line."""

    left: str
    right: tuple[tuple[str, bool], ...]
    prob: float | None
    line: int


@dataclass
class Writing:
    """All rules of a text in their order, and the start symbol."""

    rules: list[WrittenRule] = field(default_factory=list)
    start: str | None = None


def read(text: str) -> Writing:
    """The rules that a text holds, not yet checked for what they mean.

    Args:
        text (`str`): see the module.

    Raises:
        `ValueError`: naming the line, what is wrong with it and how to write it.
    """
    if not isinstance(text, str):
        raise ValueError(f"text={text!r} is no string: pass the rules as text, 'S -> a S b [0.4] | a b [0.6]'")
    writing, left = Writing(), None
    for number, line in enumerate(text.splitlines(), start=1):
        if line.strip().startswith("%"):
            writing.start = _directive(line, number, writing)
            continue
        weight = _WEIGHT.match(line)
        words = _words(line[weight.end() :] if weight else line, number)
        if not words:
            if weight:
                raise _error(number, line, "has a weight and no rule", "write '0.3: S -> A B'")
            continue
        if words[0][0] == "bar" and left is not None and not weight:
            words = words[1:]
        else:
            left, words = _left_side(words, number, line)
        rules = _alternatives(left, words, number, line)
        if weight:
            if len(rules) > 1 or rules[0].prob is not None:
                why = "has a weight first and " + ("several alternatives" if len(rules) > 1 else "one in brackets too")
                raise _error(number, line, why, "write one rule a line, '0.3: S -> A B'")
            rules = [WrittenRule(left, rules[0].right, _number(weight["weight"], number, line), number)]
        writing.rules += rules
    if not writing.rules:
        raise ValueError("text holds no rule: write at least one, 'S -> a S b [0.4] | a b [0.6]'")
    if writing.start is None:
        writing.start = writing.rules[0].left
    return writing


def _error(number: int, line: str, what: str, remedy: str) -> ValueError:
    return ValueError(f"line {number}, {line.strip()!r}, {what}: {remedy}")


def _directive(line: str, number: int, writing: Writing) -> str:
    words = line.split()
    if words[0] != "%start" or len(words) != 2:
        raise _error(number, line, "is no directive that is known", "write '%start S', or quote a terminal: '%'")
    if writing.start is not None:
        raise _error(number, line, f"names a second start symbol after {writing.start!r}", "keep one of them")
    return words[1]


def _words(line: str, number: int) -> list[tuple[str, str]]:
    """Pairs (kind, text) of a line without its comment; kinds: arrow, bar, prob, quoted, bare."""
    words, at, line = [], 0, line.rstrip()
    while at < len(line):
        match = _WORD.match(line, at)
        kind, text = match.lastgroup, match[match.lastgroup]
        at = match.end()
        if kind == "comment":
            break
        if kind == "stray":
            raise _error(number, line, f"has an open quote, {text!r}", 'close it, or quote the quote: "\'"')
        if kind in ("single", "double"):
            if not text:
                raise _error(number, line, "has an empty terminal ''", "leave the right side empty for an empty rule")
            kind = "quoted"
        words.append((kind, text))
    return words


def _left_side(words, number: int, line: str) -> tuple[str, list]:
    if words[0][0] == "quoted":
        raise _error(number, line, f"has the terminal {words[0][1]!r} on its left", "write symbols without quotes")
    if words[0][0] != "bare" or len(words) < 2 or words[1][0] != "arrow":
        raise _error(number, line, "is no rule", "write a symbol, an arrow and a right side, 'S -> A B [0.3]'")
    return words[0][1], words[2:]


def _alternatives(left: str, words, number: int, line: str) -> list[WrittenRule]:
    rules, right, prob = [], [], None
    for kind, text in [*words, ("bar", "|")]:
        if kind == "arrow":
            raise _error(number, line, f"has a second arrow {text!r}", "write one rule a line, or quote a terminal")
        if kind == "prob" and prob is not None:
            raise _error(number, line, "has two probabilities of one rule", "write one, at the rule's end")
        if kind == "prob":
            prob = _number(text, number, line)
        elif kind != "bar":
            if prob is not None:
                raise _error(number, line, f"goes on after a probability with {text!r}", "put '|' between two rules")
            if not (kind == "bare" and text == EMPTY):
                right.append((text, kind == "quoted"))
        else:
            rules.append(WrittenRule(left, tuple(right), prob, number))
            right, prob = [], None
    return rules


def _number(text: str, number: int, line: str) -> float:
    above, _, below = text.partition("/")
    value = float(above) / (float(below) if below else 1.0) if not below or float(below) else -1.0
    if not 0 <= value <= 1:
        raise _error(number, line, f"has the probability {text}", "it must be from 0 to 1")
    return value


def quoted(terminal: str) -> str:
    """A terminal as `read` takes it."""
    if "'" not in terminal:
        return f"'{terminal}'"
    if '"' not in terminal:
        return f'"{terminal}"'
    raise ValueError(f"the terminal {terminal!r} has both kinds of quotes and cannot be written as text")
