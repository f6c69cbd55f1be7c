"""Docstrings in the Hugging Face form, as mkdocstrings reads them.

`name (`type`, *optional*, defaults to `x`): ..` becomes `name (type): ..` (the default is in the signature), arguments
that are described together get a line each, and `[`Name`]` becomes a link where the reference has that name.
"""

import re
import sys
from pathlib import Path

from griffe import Extension


sys.path.insert(0, str(Path(__file__).parent))

from hooks import REFERENCE, documented


SECTION = re.compile(r"^( *)Args:\n((?:\1    .*\n?|\n(?=\1    ))+)", re.MULTILINE)
ONE = r"(\*{0,2}\w+)(?: \(((?:[^()]|\((?:[^()]|\([^()]*\))*\))+)\))?"
TOGETHER = re.compile(rf"({ONE}(?:, {ONE})*)[:.]\s*(.*)", re.DOTALL)
DEFAULT = re.compile(r",?\s*\*optional\*|,?\s*defaults to .*$", re.DOTALL)
ERROR = re.compile(r"^( +)`(\w+(?:Error|Supported|Exception))`:", re.MULTILINE)
NAME = re.compile(r"\[`(~?)([\w.]+)(?:\(\))?`\]")
PLACES = {name.rpartition(".")[2]: name for page in REFERENCE for name in documented(page)}


def section(match: re.Match) -> str:
    """The section Args, every argument on a line of its own."""
    space, body = match.groups()
    lines = []
    for entry in re.split(rf"\n(?={space}    \S)", body.rstrip("\n")):
        found = TOGETHER.fullmatch(" ".join(entry.split()))
        if found is None:
            lines.append(entry)
            continue
        for name, kind in re.findall(ONE, found[1]):
            kind = re.sub(r"[`\[\]~]", "", DEFAULT.sub("", kind)) if "[`" in kind else DEFAULT.sub("", kind)
            kind = kind.replace("`", "").strip(" ,")
            lines.append(f"{space}    {name}{f' ({kind})' * bool(kind)}: {found[found.re.groups] or 'See above.'}")
    return f"{space}Args:\n" + "\n".join(lines) + "\n"


def link(match: re.Match) -> str:
    """A link that no page has to answer."""
    short, name = match.groups()
    last = name.rpartition(".")[2]
    shown = last if short else name
    return f'<autoref optional identifier="{PLACES.get(last, name)}"><code>{shown}</code></autoref>'


class HuggingFaceDocstrings(Extension):
    """Rewrites every docstring once, before it is parsed."""

    def on_object(self, *, obj, **kwargs) -> None:
        """Of modules, classes, functions and attributes."""
        if obj.docstring is not None:
            text = ERROR.sub(r"\1\2:", SECTION.sub(section, obj.docstring.value))
            obj.docstring.value = NAME.sub(link, text)
