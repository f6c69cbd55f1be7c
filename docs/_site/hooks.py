"""What mkdocs does not do by itself: pages from outside of docs/, links to them, formulas, the pages of the reference.

The same Markdown is read on the site and in the repository. So links are written as paths of the repository; here
those to another page become links of the site, and those to a file that is no page (a test, a script) become its path
alone. A link to nothing stays, and `mkdocs build --strict` ends with it.
"""

import html
import importlib
import inspect
import posixpath
import re
from functools import cache
from pathlib import Path

from latex2mathml.converter import convert
from mkdocs.structure.files import File


ROOT = Path(__file__).parents[2]
OUTSIDE = {  # path in the repository (a pattern) -> path on the site
    "CHANGELOG.md": "changes.md",
    "CONTRIBUTING.md": "contributing.md",
    "recipes/*/README.md": "recipes/{}.md",
    "hub_cards/*.md": "cards/{}.md",
}
REFERENCE = {  # page -> what it shows
    "grammar": "Families of grammars, and what all sources offer",
    "inference": "Exact laws: next tokens, posteriors, parses, plateaus",
    "data": "Data sets, texts, the tokenizer, export",
    "models": "Oracles, n-grams, and what transformers lacks",
    "metrics": "The functions behind `evaluate.load(..)`",
    "statistics": "Correlations, effective contexts, learning curves",
    "theory": "Closed forms",
    "diffusion": "Discrete diffusion, judged exactly",
    "tasks": "What a model can be trained on",
    "training": "Runs and sweeps",
    "judging": "How a model is read and compared with a law",
}
LINK = re.compile(r"(!?)\[((?:[^\[\]]|\[[^\[\]]*\])*)\]\(([^()\s]+)\)")
CODE = re.compile(r"(^```.*?^```$|`[^`\n]+`)", re.DOTALL | re.MULTILINE)
FORMULA = re.compile(r"\$([^$\n]+)\$")
NAME = re.compile(r"`((?:\w+\.)+\w+)`")  # in running text: of a function, with or without rhm_hf. before it


def pages_from_outside() -> dict[str, str]:
    """Path in the repository -> path on the site."""
    found = {}
    for pattern, place in OUTSIDE.items():
        for path in sorted(ROOT.glob(pattern)):
            name = path.parent.name if path.name == "README.md" else path.stem
            found[path.relative_to(ROOT).as_posix()] = place.format(name)
    return found


@cache
def documented(page: str) -> list[str]:
    """The full names that a page of the reference shows, from what the package exports."""
    if page == "metrics":
        from rhm_hf.metrics import metric_folders

        return [name for metric in metric_folders() for name in _functions_of(metric)]
    module = importlib.import_module(f"rhm_hf.{page}")
    if page == "models":
        import rhm_hf

        names = [name for name, place in rhm_hf._EXPORTS.items() if place.startswith("models.")]
        return sorted(f"rhm_hf.{rhm_hf._EXPORTS[name]}.{name}" for name in names)
    return [f"rhm_hf.{page}.{name}" for name in module.__all__]


def _functions_of(metric: str) -> list[str]:
    """The functions of a metric's folder that its `evaluate` module calls."""
    folder = f"rhm_hf.metrics.{metric}"
    module = importlib.import_module(f"{folder}.{metric}")
    functions = [value for value in vars(module).values() if inspect.isfunction(value)]
    return [f"{f.__module__}.{f.__name__}" for f in functions if f.__module__.startswith(f"{folder}.")]


def _reference(page: str) -> str:
    module = f"rhm_hf.{page}"
    about = inspect.getdoc(importlib.import_module(module)) or REFERENCE[page]
    about = re.sub(r"\[`~?([\w.]+)`\]", r"`\1`", about)
    lines = [f"# `{module}`", "", about, ""]
    for name in documented(page):
        lines += [f"::: {name}", ""]
    return "\n".join(lines)


def on_config(config):
    """Puts the pages that are found into the places of the navigation that name their folder."""
    found = {"RECIPES": "recipes/", "CARDS": "cards/"}
    for section in config.nav:
        for entries in section.values():
            for entry in entries:
                if isinstance(entry, dict) and (folder := found.get(next(iter(entry.values()), None) or "")):
                    title = next(iter(entry))
                    entry[title] = [place for place in pages_from_outside().values() if place.startswith(folder)]
    return config


def on_files(files, config):
    """Adds the pages that do not lie in docs/."""
    for path, place in pages_from_outside().items():
        files.append(File.generated(config, place, content=(ROOT / path).read_text(encoding="utf-8")))
    for page in REFERENCE:
        files.append(File.generated(config, f"reference/{page}.md", content=_reference(page)))
    return files


def on_page_markdown(markdown, page, config, files):
    """Links of the repository become links of the site, formulas become MathML."""
    places = pages_from_outside()
    here = {place: path for path, place in places.items()}.get(page.file.src_uri, f"docs/{page.file.src_uri}")

    def link(match):
        picture, text, target = match.groups()
        path, _, fragment = target.partition("#")
        if not path or re.match(r"[a-z]+:", target):
            return match[0]
        path = posixpath.normpath(posixpath.join(posixpath.dirname(here), path))
        path = f"{path}/README.md" if f"{path}/README.md" in places else path
        place = places.get(path, path.removeprefix("docs/") if path.startswith("docs/") else None)
        if place is None or (place not in {f.src_uri for f in files} and (ROOT / path).exists()):
            if not (ROOT / path).exists():
                return match[0]
            return text if text.startswith("`") or text == path else f"{text} (`{path}`)"
        there = posixpath.relpath(place, posixpath.dirname(page.file.src_uri) or ".")
        return f"{picture}[{text}]({there}{'#' + fragment if fragment else ''})"

    parts = CODE.split(markdown)
    for i, part in enumerate(parts):
        if i % 2 == 0:
            parts[i] = FORMULA.sub(lambda found: convert(html.unescape(found[1])), part)
        elif not parts[i - 1].endswith("["):
            parts[i] = NAME.sub(_name, part) if not part.startswith("```") else part
    return LINK.sub(link, "".join(parts))


def _name(match: re.Match) -> str:
    """A name of the reference in running text, with its link; anything else as it was."""
    full = match[1] if match[1].startswith("rhm_hf.") else f"rhm_hf.{match[1]}"
    known = {name for page in REFERENCE for name in documented(page)}
    if full not in known and full.rpartition(".")[0] not in known:
        return match[0]
    return f"[`{match[1]}`][{full}]"
