"""The documentation: every page runs, every name in it is there, and the site builds without a warning."""

import importlib.util
import os
import re
import shlex
from collections import defaultdict

import pytest
from documented_page import (
    ELSEWHERE,
    LISTED,
    LISTED_PAGES,
    PAGES,
    ROOT,
    blocks,
    commands,
    missing,
    parse,
    reason,
    run_apart,
)
from forked import exit_code, write_to


TESTS = ROOT / "tests"


def with_something_to_run(page: str) -> bool:
    return bool(commands(page)) or any(block.language == "python" for block in blocks(page))


@pytest.mark.parametrize("page", [page for page in PAGES if with_something_to_run(page)])
def test_every_block_of_a_page_runs(page, tmp_path):
    folder, output = tmp_path / "page", tmp_path / "output.txt"
    folder.mkdir()
    assert exit_code(run_apart, page, folder, output) == 0, output.read_text(encoding="utf-8")[-6000:]


RECIPES = sorted(path.relative_to(ROOT).as_posix() for path in ROOT.glob("recipes/*/README.md"))


@pytest.mark.parametrize("page", RECIPES)
def test_commands_of_recipes_name_what_is_there(page):
    """They train for minutes to days; `tests/recipes/test_dry_runs.py` runs each script with each YAML file."""
    for command in commands(page):
        assert not missing(command), command
        if command.startswith("rhm "):
            parse(shlex.split(command)[1:])


def test_all_pages_are_looked_at():
    assert not [
        command for page in PAGES for command in commands(page) if "figures" not in command and missing(command)
    ]
    assert {"README.md", "docs/index.md", "docs/tutorial.md", "docs/cli.md"} <= set(PAGES)
    for page, test in ELSEWHERE.items():
        assert page in (TESTS / test).read_text().replace('" / "', "/"), page


def test_what_is_not_run_is_there_to_be_run():
    """An entry that no page needs any more would hide a new command."""
    everything = [(page, command) for page in PAGES for command in commands(page)]
    for start in LISTED:
        assert any(command.startswith(start) for page, command in everything if page not in LISTED_PAGES), start
    assert sum(reason(page, command) is None for page, command in everything) > 2 * len(LISTED)


@pytest.mark.parametrize("page", PAGES)
def test_the_tests_that_a_page_names_exist(page):
    files = defaultdict(str)
    for path in TESTS.rglob("*.py"):
        files[path.name] += path.read_text(encoding="utf-8")
    text = (ROOT / page).read_text(encoding="utf-8")
    for file, function in re.findall(r"`(?:tests/(?:\w+/)*)?(test_\w+\.py)(?:::(\w+))?`", text):
        assert file in files, file
        assert not function or f"def {function}(" in files[file], (file, function)


@pytest.mark.parametrize("page", PAGES)
def test_links_of_a_page_lead_somewhere(page):
    text = re.sub(
        r"^```.*?^```$|`[^`\n]*`", "", (ROOT / page).read_text(encoding="utf-8"), flags=re.DOTALL | re.MULTILINE
    )
    targets = re.findall(r"\]\(([^()\s]+)\)|src=\"([^\"]+)\"", text)
    for target in (first or second for first, second in targets):
        if re.match(r"[a-z]+:", target) or target.startswith("#"):
            continue
        place = (ROOT / page).parent / target.partition("#")[0]
        generated = place.resolve().relative_to(ROOT).as_posix().startswith("docs/reference/")
        assert generated or place.exists(), f"{page}: {target}"


def test_the_readme_fits_a_screen_and_says_first_what_registers():
    text = (ROOT / "README.md").read_text(encoding="utf-8")
    assert len(text.splitlines()) <= 120
    assert text.index("`import rhm_hf` comes first") < text.index("```")
    assert text.count("docs/figures/") == 4


def build_site(folder, output):
    """`mkdocs build`, in a process that has imported what the site is about."""
    write_to(output, 1, 2)
    os.chdir(ROOT)
    os.environ["NO_MKDOCS_2_WARNING"] = "1"
    from mkdocs.__main__ import cli

    cli(["build", "--strict", "--site-dir", str(folder)])


def test_the_site_builds_without_a_warning(tmp_path):
    if importlib.util.find_spec("mkdocs") is None or importlib.util.find_spec("material") is None:
        pytest.skip("mkdocs-material is not installed: pip install -e '.[docs]'")
    assert exit_code(build_site, tmp_path / "site", tmp_path / "said") == 0, (tmp_path / "said").read_text()[-4000:]
    pages = {path.relative_to(tmp_path / "site").as_posix() for path in (tmp_path / "site").rglob("*.html")}
    assert {
        "index.html",
        "theory.html",
        "reference/inference.html",
        "recipes/last_token.html",
        "changes.html",
    } <= pages
    inference = (tmp_path / "site" / "reference" / "inference.html").read_text(encoding="utf-8")
    assert 'id="rhm_hf.inference.next_token_probs"' in inference
    theory = (tmp_path / "site" / "theory.html").read_text(encoding="utf-8")
    assert 'href="reference/theory.html#rhm_hf.theory.sample_complexity"' in theory
    assert "<math" in theory
    for page in pages:  # nothing is asked of anybody's server
        html = (tmp_path / "site" / page).read_text(encoding="utf-8")
        assert not re.findall(r"<(?:script|link|img)[^>]+(?:src|href)=\"https?://", html), page
