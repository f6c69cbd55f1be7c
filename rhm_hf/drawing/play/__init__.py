"""A page to play with: one HTML file that draws a grammar by its seed and computes its exact laws in the browser.

`laws.js` draws the rules as [`~rhm_hf.grammar.layered.random_rules`] does, number for number, so that a seed means the
same grammar here and there; its laws are belief propagation in float64. The tests hold both against this package.
"""

import json
from pathlib import Path
from typing import Any

from ...files import write_atomically


PARTS = {"/*STYLE*/": "style.css", "/*LAWS*/": "laws.js", "/*PAGE*/": "page.js"}
LIMITS = {
    "vocab_size": 16,
    "num_synonyms": 32,
    "depth": 4,
    "sentence_length": 81,
}  # `refusal` of laws.js says the same
OPENS_WITH: dict[str, int | str] = {"v": 8, "m": 2, "s": 2, "L": 3, "seed": "0"}


def play_page(grammar: Any = None) -> str:
    """The page as text: no server, and no file beside it.

    Args:
        grammar ([`~rhm_hf.grammar.Source`], *optional*, defaults to `v8-m2-s2-L3`): what the page opens with; a named
            Random Hierarchy Model, as the page draws its rules itself.

    Raises:
        `ValueError`: for other grammars, and those that are too large to be seen.
    """
    folder = Path(__file__).parent
    page = (folder / "page.html").read_text(encoding="utf-8")
    for mark, name in PARTS.items():
        page = page.replace(mark, (folder / name).read_text(encoding="utf-8"))
    before, _, rest = page.partition("/*START*/")
    return before + json.dumps(OPENS_WITH if grammar is None else _start(grammar)) + rest[rest.index(";") :]


def write_page(path: str | Path, grammar: Any = None) -> Path:
    """Writes [`play_page`] into a file."""
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    write_atomically(path, play_page(grammar))
    return path


def write_space(grammar: Any, folder: Path) -> Path:
    """Writes the page and its card into a folder: a static Space of the Hub."""
    from huggingface_hub import SpaceCardData

    from ...cards import CITATION, LICENSE

    write_page(folder / "index.html", grammar)
    data = SpaceCardData(
        title="Random Hierarchy Model",
        sdk="static",
        license=LICENSE,
        tags=["random-hierarchy-model", "arxiv:2307.02129"],
        short_description="A grammar, its trees and its exact laws, to play with",
    )
    text = (
        f"---\n{data.to_yaml()}\n---\n\n# A grammar to play with\n\nMade by `rhm push page`. One HTML file: all laws "
    )
    text += f"are computed in the browser.\n\n```bibtex\n{CITATION}\n```\n"
    write_atomically(folder / "README.md", text)
    return folder


def _start(grammar: Any) -> dict[str, Any]:
    """v, m, s, L and the seed of a plain Random Hierarchy Model that fits the page."""
    keywords = {} if grammar.parameters is None else grammar.parameters.keywords
    given = {name: value for name, value in keywords.items() if value is not None and value is not False}
    shape = {"vocab_size": "v", "num_synonyms": "m", "tuple_size": "s", "depth": "L"}
    classes = given.pop("num_classes", given.get("vocab_size"))
    if set(given) != {*shape, "rules_seed"} or classes != given["vocab_size"]:
        raise ValueError(
            f"grammar={grammar.name}: the page draws rules itself, those of a plain Random Hierarchy Model with as "
            "many classes as symbols, such as v8-m2-s2-L3"
        )
    sizes = given | {"sentence_length": grammar.sentence_length}
    for name, limit in LIMITS.items():
        if sizes[name] > limit:
            raise ValueError(
                f"grammar={grammar.name}: {name} is at most {limit} on the page, which is to be looked at"
            )
    return {letter: given[name] for name, letter in shape.items()} | {"seed": str(given["rules_seed"])}
