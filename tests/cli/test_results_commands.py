"""`rhm status`, `rhm plot`, `rhm report`."""

import json
import re
import shutil
import subprocess
import time
from html.parser import HTMLParser

import pytest
from filelock import FileLock

from rhm_hf.cli.commands.folders import run_state
from rhm_hf.training import best_row
from rhm_hf.training.results import read_csv


def write(folder, arguments, finished=False, events=(), output=None):
    """The folder of a run as training leaves it."""
    folder.mkdir(parents=True)
    (folder / "run.json").write_text(json.dumps({"arguments": arguments, "finished": finished}))
    (folder / "log.jsonl").write_text("".join(json.dumps(event) + "\n" for event in events))
    if output is not None:
        (folder / "output.txt").write_text(output)


def at(seconds, **event):
    return {"time": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(1_700_000_000 + seconds)), **event}


def test_status_of_a_finished_sweep(rhm, sweep_folder):
    result = json.loads(rhm("status", sweep_folder, "--json").stdout)
    assert result["counts"] == {"finished": 2, "running": 0, "failed": 0, "stopped": 0, "waiting": 0}
    for row in result["best"]:
        best = best_row(read_csv(sweep_folder / row["run"] / "results.csv"))
        assert row["kl"] == best["kl"]
    assert "2 finished" in rhm("status", sweep_folder).stdout
    assert json.loads(rhm("status", sweep_folder / "num_train-64", "--json").stdout)["counts"]["finished"] == 1


def test_states_of_runs(rhm, tmp_path):
    arguments = {"max_steps": 100}
    begun = [at(0, event="start", step=0), at(30, event="evaluation", step=10), at(60, event="evaluation", step=20)]
    write(tmp_path / "running", arguments, events=begun)
    write(tmp_path / "failed", arguments, events=begun[:1], output="..\nrhm train: num_train=9 do not fit")
    write(tmp_path / "done", arguments, True, [*begun, at(90, event="end", step=30, stopped_early=True)])
    (tmp_path / "waiting").mkdir()
    (tmp_path / "waiting" / "arguments.yaml").write_text("max_steps: 100\n")
    now = 1_700_000_000 + 61
    state = {name: run_state(tmp_path / name, now) for name in ("running", "failed", "done", "waiting")}
    assert (state["running"].state, state["running"].step, state["running"].seconds_left) == ("running", 20, 240.0)
    assert run_state(tmp_path / "running", now + 3600).state == "stopped"
    (tmp_path / "running" / "progress.json").write_text(json.dumps({"step": 50, "max_steps": 100, "time": now + 49}))
    later = run_state(tmp_path / "running", now + 50)
    assert (later.state, later.step, later.seconds_left) == ("running", 50, pytest.approx(110))
    assert run_state(tmp_path / "running", now + 49 + 31).state == "stopped"  # it would have written since
    (tmp_path / "running" / "progress.json").write_text("{")  # half written by something else
    assert run_state(tmp_path / "running", now).step == 20
    assert (state["failed"].state, state["failed"].remark) == ("failed", "rhm train: num_train=9 do not fit")
    assert (state["done"].state, state["done"].remark) == ("finished", "done, stopped early")
    assert state["waiting"].state == "waiting"
    printed = rhm("status", tmp_path).stdout
    assert "4: 1 finished, 1 failed, 1 stopped, 1 waiting" in printed
    with FileLock(tmp_path / "running" / ".lock"):  # held by a process of this machine, however long ago it spoke
        assert run_state(tmp_path / "running", now + 3600).state == "running"


def test_a_log_that_was_cut_by_a_kill_is_read_up_to_there(tmp_path):
    write(
        tmp_path / "run", {"max_steps": 10}, events=[at(0, event="start", step=0), at(5, event="evaluation", step=5)]
    )
    with open(tmp_path / "run" / "log.jsonl", "a") as file:
        file.write('{"time": "20')
    assert run_state(tmp_path / "run", 1_700_000_000).step == 5


def test_plot_of_any_results(rhm, sweep_folder, tmp_path):
    files = json.loads(rhm("plot", sweep_folder, "--out", tmp_path, "--json").stdout)
    assert [path.rpartition("/")[2] for path in files] == ["results_sizes.png", "results_steps.png"]
    alone = json.loads(rhm("plot", sweep_folder / "results.csv", "--out", tmp_path / "b", "--json").stdout)
    assert len(alone) == 2
    (tmp_path / "odd.csv").write_text("a,b\n1,2\n")
    refused = rhm("plot", tmp_path / "odd.csv")
    assert refused.exit_code == 1
    assert "columns a, b" in refused.stderr


class Page(HTMLParser):
    """What a page asks for."""

    def __init__(self):
        super().__init__()
        self.places, self.headings, self.tags, self._inside = [], [], [], None

    def handle_starttag(self, tag, attrs):
        self.tags.append(tag)
        self._inside = tag
        self.places += [value for name, value in attrs if name in ("src", "href")]

    def handle_data(self, data):
        if self._inside == "h2":
            self.headings.append(data)
            self._inside = None


def test_report_is_one_self_contained_page(rhm, sweep_folder, tmp_path):
    path = tmp_path / "page.html"
    assert rhm("report", sweep_folder, "--out", path).stdout.strip() == str(path)
    page, text = Page(), path.read_text()
    page.feed(text)
    assert page.places
    assert all(place.startswith(("#", "data:image/png;base64,")) for place in page.places)
    assert not {"script", "link", "iframe"} & set(page.tags)
    assert "url(" not in text
    assert {"The best row of every run", "Parameters (2 runs)", "All evaluations", "Versions"} <= set(page.headings)
    best = best_row(read_csv(sweep_folder / "num_train-32" / "results.csv"))
    assert f"<td>{best['kl']:.6g}</td>" in text
    assert "torch" in text


def test_report_of_findings_and_of_a_file(rhm, tmp_path):
    folder = tmp_path / "o"
    assert rhm("kl", "oracle:v4-m2-s2-L2,level=1", "v4-m2-s2-L2", "--out", folder).exit_code == 0
    assert rhm("report", folder).exit_code == 0
    text = (folder / "report.html").read_text()
    assert "KL of oracle:v4-m2-s2-L2,level=1 to v4-m2-s2-L2" in text
    assert text.count("data:image/png;base64,") == 1
    assert rhm("report", folder / "kl.json").stdout.strip() == str(folder / "kl.html")
    assert rhm("report", folder / "kl.csv", "--out", folder / "csv.html").exit_code == 0
    (folder / "other.json").write_text("[1, 2]")
    assert rhm("report", folder / "other.json").exit_code == 1
    empty = tmp_path / "empty"
    empty.mkdir()
    assert "holds no results" in rhm("report", empty).stderr


def test_a_page_shows_names_as_text(tmp_path, rhm):
    (tmp_path / "results.csv").write_text("run,step,kl\n<script>alert(1)</script>,1,0.5\n")
    assert rhm("report", tmp_path / "results.csv", "--out", tmp_path / "p.html").exit_code == 0
    assert "<script>" not in (tmp_path / "p.html").read_text()


CHROMIUM = next(
    (path for name in ("chromium", "chromium-browser", "google-chrome") if (path := shutil.which(name))), None
)


@pytest.mark.skipif(CHROMIUM is None, reason="no Chromium is installed: the page is not opened in a browser")
def test_a_browser_shows_the_page(rhm, sweep_folder, tmp_path):
    path = tmp_path / "page.html"
    assert rhm("report", sweep_folder, "--out", path).exit_code == 0
    options = ["--headless", "--no-sandbox", "--disable-gpu", f"--user-data-dir={tmp_path / 'profile'}"]
    command = [CHROMIUM, *options, "--dump-dom", f"file://{path}"]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    assert "<h2>The best row of every run</h2>" in done.stdout
    assert len(re.findall(r"<img ", done.stdout)) == 2
    picture = tmp_path / "page.png"
    subprocess.run([CHROMIUM, *options, f"--screenshot={picture}", f"file://{path}"], capture_output=True, check=True)
    from matplotlib.image import imread

    assert imread(picture).std() > 0.05  # not a white page
