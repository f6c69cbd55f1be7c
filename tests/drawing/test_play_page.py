"""The page to play with: rules, laws and clicks in a headless Chromium against this package; what it is made of."""

import json
import re
import shutil
import subprocess
from functools import partial
from pathlib import Path

import numpy as np
import pytest
import torch

from rhm_hf import Grammar, theory
from rhm_hf.drawing.play import play_page, write_page, write_space
from rhm_hf.inference import next_token_probs, posteriors
from rhm_hf.statistics import exact_correlation


CHROMIUM = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
needs_browser = pytest.mark.skipif(CHROMIUM is None, reason="no chromium here (apt-get install chromium)")
NAMES = [("v4-m2-s2-L3", 0), ("v16-m4-s2-L3", 1), ("v8-m8-s2-L3", 5), ("v5-m3-s3-L2", 2**63 - 1), ("v3-m2-s2-L4", 12)]
NUMBERS = """
const done = %s.map(([v, m, s, L, seed, sentence, hidden]) => {
  const g = new Grammar(v, m, s, L, seed), derivation = g.derivation(BigInt(sentence)), tokens = derivation.symbols[0];
  const laws = g.beliefs(g.evidence(tokens, hidden)), lists = (laws) => laws.map((row) => row.map((law) => [...law]));
  return {rules: g.rules.slice(1).reverse(), levels: derivation.symbols, index: String(g.index(derivation)),
    count: String(g.count), entropy: g.entropy, posterior: lists(laws.posterior), outside: lists(laws.outside)[0],
    next: tokens.map((_, i) => [...g.nextToken(tokens, i)]), correlations: g.correlations(),
    given: tokens.map((_, i) => [...g.nextTokenGiven(tokens, hidden, i)]),
    learning: g.sampleComplexity().map((row) => [row.level, String(row.transformer), String(row.cnn)])};
});
"""


def in_browser(tmp_path, script: str, query: str = "", page: str | None = None):
    """What a script that is put behind the page's own leaves in `done`."""
    path = tmp_path / "page.html"
    write = 'document.getElementById("written").textContent = JSON.stringify(done);'
    out = f'<pre id="written"></pre><script>{write}</script>'
    text = (page or play_page()).replace("</body>", f"<script>{script}</script>{out}</body>")
    path.write_text(text, encoding="utf-8")
    words = [CHROMIUM, "--headless", "--no-sandbox", "--disable-gpu", f"--user-data-dir={tmp_path / 'profile'}"]
    shown = subprocess.run(
        [*words, "--dump-dom", f"{path.as_uri()}{query}"], capture_output=True, text=True, check=True
    ).stdout
    found = re.search(r'<pre id="written">(.*?)</pre>', shown, re.DOTALL)[1]
    assert found, "a script of the page failed"
    return json.loads(found.replace("&lt;", "<").replace("&gt;", ">").replace("&amp;", "&"))


@needs_browser
def test_rules_and_laws_in_the_page_are_those_of_the_package(tmp_path):
    rng, asked, grammars = np.random.default_rng(0), [], []
    for name, seed in NAMES:
        grammar = Grammar.from_name(name, rules_seed=seed)
        sentence = int(rng.integers(2**40)) % grammar.num_sentences
        hidden = (rng.random(grammar.sentence_length) < 0.5).tolist()
        p = grammar.parameters
        asked.append([p.vocab_size, p.num_synonyms, p.tuple_size, p.depth, str(seed), str(sentence), hidden])
        grammars.append((grammar, sentence, np.array(hidden)))
    found = in_browser(tmp_path, NUMBERS % json.dumps(asked))
    close = partial(np.testing.assert_allclose, rtol=0, atol=1e-13)
    for (grammar, sentence, hidden), page in zip(grammars, found, strict=True):
        assert all(np.array_equal(a, b) for a, b in zip(page["rules"], grammar.rules, strict=True))
        tokens = grammar.sentence(sentence)[None]
        for ours, theirs in zip(grammar.parse(tokens), page["levels"], strict=True):
            assert ours[0].tolist() == theirs
        assert int(page["index"]) == sentence
        assert int(page["count"]) == grammar.num_sentences
        close(page["entropy"], grammar.entropy, atol=1e-11)
        close(page["next"], next_token_probs(grammar, tokens)[0])
        for law, theirs in zip(posteriors(grammar, tokens=tokens, mask=hidden[None]), page["posterior"], strict=True):
            close(law[0], theirs)
        v, d = grammar.vocab_size, grammar.sentence_length
        for i in range(d):  # the law of a token given the others, and given those before it that are visible
            alone, before = hidden.copy(), hidden | (np.arange(d) >= i)
            alone[i] = True
            close(posteriors(grammar, tokens=tokens, mask=alone[None])[0][0, i], page["outside"][i])
            close(posteriors(grammar, tokens=tokens, mask=before[None])[0][0, i], page["given"][i])
        close(page["correlations"], exact_correlation(grammar), atol=1e-14)
        for row in page["learning"]:
            for architecture, number in zip(("transformer", "cnn"), row[1:], strict=True):
                try:
                    expected = theory.sample_complexity(grammar.parameters, row[0], architecture=architecture)
                except ValueError:  # every tuple is a rule
                    expected = np.inf
                close(float(number.replace("Infinity", "inf")), expected, rtol=1e-12)
        assert torch.tensor(page["next"]).shape == (d, v)


CLICKS = """
const read = () => [...document.querySelectorAll(".node")].map((node) => node.querySelector("text").textContent);
const click = (level, node) => document.querySelector(`[data-level="${level}"][data-node="${node}"]`)
  .dispatchEvent(new MouseEvent("click", {bubbles: true}));
const all = (css) => [...document.querySelectorAll(css)];
const numbers = (id) => all(`#${id} .row > span:last-child`).map((p) => Number(p.textContent));
const done = {before: read(), error: document.getElementById("error").textContent};
click(0, 3);
done.hidden = read();
done.given = numbers("next");
done.texts = ["posterior-title", "next-text"].map((id) => document.getElementById(id).textContent);
click(0, 3);
done.shown = read();
done.redrawn = Array.from({length: 40}, () => { click(1, 1); return read(); });
done.marked = [...document.querySelectorAll("g.changed")].map((node) => node.getAttribute("aria-label"));
done.rules = [...document.querySelectorAll(".rule")].map((rule) => rule.textContent);
document.getElementById("hide").click();
done.root = numbers("posterior");
document.forms[0].m.value = 9;
document.forms[0].requestSubmit();
done.refused = document.getElementById("error").textContent;
"""


@needs_browser
def test_clicks_redraw_hide_and_show(tmp_path):
    grammar = Grammar.from_name("v4-m2-s2-L2", rules_seed=3)
    found = in_browser(tmp_path, CLICKS, "?v=4&m=2&s=2&L=2&seed=3&sentence=21")
    tokens = grammar.sentence(21)
    levels = [str(a) for level in grammar.parse(tokens[None])[::-1] for a in level[0]]
    assert found["error"] == ""
    assert found["before"] == found["shown"] == levels
    assert found["hidden"] == [*levels[:-1], "?"]
    np.testing.assert_allclose(found["given"], next_token_probs(grammar, tokens[None])[0, 3], atol=5e-5)
    assert found["texts"] == ["Posterior of token 4", "Given all 3 tokens before it; it is " + found["texts"][1][36:]]
    below = {tuple(row[-2:]) for row in found["redrawn"]}
    rules = grammar.rules_at(1)[int(levels[2])]
    assert below == {(str(a), str(b)) for a, b in rules}  # all synonyms of the node's symbol, and nothing else
    assert all(row[:5] == levels[:5] for row in found["redrawn"])
    assert set(found["marked"]) <= {"token 3", "token 4"}
    assert found["rules"] == [f"{levels[2]} → {a} {b}" for a, b in rules]
    np.testing.assert_allclose(
        found["root"], posteriors(grammar, tokens=tokens[None], mask=np.ones((1, 4)) > 0)[1][0, 1], atol=5e-5
    )
    assert "m is at most v^(s-1) = 4" in found["refused"]


@needs_browser
@pytest.mark.parametrize(
    "query", ["?v=40", "?m=9&v=2", "?seed=-1", "?seed=x", "?seed=9223372036854775808", "?s=1", "?L=0", "?v=2.5"]
)
def test_what_is_out_of_range_is_said_and_the_page_still_works(tmp_path, query):
    script = 'const done = [document.getElementById("error").textContent, document.querySelectorAll(".node").length];'
    error, nodes = in_browser(tmp_path, script, query)
    assert error
    assert nodes == 15  # of v8-m2-s2-L3


def test_the_page_is_one_file_that_asks_for_nothing(tmp_path):
    text = write_page(tmp_path / "made" / "page.html").read_text(encoding="utf-8")
    assert text == play_page()
    assert set(re.findall(r"https?://[^\s\"'<]+", text)) == {"http://www.w3.org/2000/svg"}  # a name, not an address
    assert not re.findall(r"\b(?:src|href|import|fetch|XMLHttpRequest|@import|url)\b\s*[=(]", text)
    assert "/*STYLE*/" not in text
    assert "/*START*/" not in text


def test_the_page_of_the_documentation_is_up_to_date():
    built = (Path(__file__).parents[2] / "docs" / "play" / "index.html").read_text(encoding="utf-8")
    assert built == play_page(), "run python -m rhm_hf.drawing.play docs/play/index.html"


def test_the_page_opens_with_a_grammar(tmp_path):
    grammar = Grammar.from_name("v5-m3-s3-L2", rules_seed=7)
    assert 'const START = {"v": 5, "m": 3, "s": 3, "L": 2, "seed": "7"};' in play_page(grammar)
    folder = write_space(grammar, tmp_path)
    assert sorted(path.name for path in folder.iterdir()) == ["README.md", "index.html"]
    assert "sdk: static" in (folder / "README.md").read_text()


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("v16-m4-s2-L3-zipf1.0@1", "a plain Random Hierarchy Model"),
        ("v8-m2-s2-L3-c4", "as many classes as symbols"),
        ("v8-m8-s2-L3-uncorrelated", "plain"),
        ("v16-m4-s2-L3-cut1", "plain"),
        ("pcfg-toy_english", "plain"),
        ("v32-m2-s2-L2", "vocab_size is at most 16"),
        ("v4-m2-s2-L7", "depth is at most 4"),
        ("v4-m2-s4-L4", "sentence_length is at most 81"),
    ],
)
def test_grammars_that_the_page_cannot_draw_are_refused(name, message):
    with pytest.raises(ValueError, match=message):
        play_page(Grammar.from_name(name))
