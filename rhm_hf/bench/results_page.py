"""A page of records: sortable tables, each row with the command that made it; and a snippet for a model's card."""

import html
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from .ranking import differences, halves
from .records import check_comparable
from .tables import interval, place, predicted, task_rows


KINDS = {"next_token": "text-generation", "last_token": "text-generation", "masked": "fill-mask"}
SORTER = """
<script>
for (const head of document.querySelectorAll("table.records th")) {
  head.style.cursor = "pointer";
  head.onclick = () => {
    const table = head.closest("table"), body = table.tBodies[0], column = head.cellIndex;
    const down = table.dataset.column == column && table.dataset.down != "1";
    table.dataset.column = column; table.dataset.down = down ? "1" : "";
    const key = row => row.cells[column].dataset.value ?? row.cells[column].textContent;
    const order = (a, b) => isNaN(key(a)) || isNaN(key(b)) ? key(a).localeCompare(key(b)) : key(a) - key(b);
    const rows = [...body.rows].sort((a, b) => down ? order(b, a) : order(a, b));
    body.append(...rows);
  };
}
</script>
"""


def results_page(records: Sequence[Mapping[str, Any]], picture: str) -> str:
    """The Markdown page of records of one suite.

    Args:
        records (`Sequence`): of benches that were run.
        picture (`str`): the path of their picture, from the page.

    Raises:
        `ValueError`: for records that do not compare.
    """
    check_comparable(records)
    suite = records[0]["suite"]
    parts = [
        f"# Results of {suite}",
        "Made from the JSON files beside this page by `rhm bench --compare docs/bench --page docs/bench/results.md`: "
        "edit none of it by hand. What is not here was not run. What columns mean, and how to add a row, is in "
        "[the page of the benchmark](../bench.md). A click on the head of a column sorts by it.",
        f"![Learning curves of every task]({picture})",
        "## What is left, and what it costs",
        _table(_task_cells(records), {}),
        "## At which P a level is learnt",
        _table(_level_cells(records), {"P half way": "half_way", "P onset": "onset"}),
    ]
    if len(records) > 1:
        parts += ["## Which differences are more than noise", _table(differences(records), {})]
        parts += ["## Do two halves of the members agree", _table(halves(records), {})]
    return "\n\n".join(parts) + "\n" + SORTER


def card_snippet(record: Mapping[str, Any]) -> str:
    """The metadata that a model's card on the Hub begins with: a result for every task, with where it is from."""
    from huggingface_hub import EvalResult, ModelCardData

    results = []
    for name, task in record["tasks"].items():
        kind = {"task_type": KINDS.get(task["task"], "text-classification"), "task_name": task["question"]}
        data = {"dataset_type": record["suite"], "dataset_name": record["suite"]}
        data |= {"dataset_config": f"{name}: {task['grammar']}", "dataset_split": "evaluation"}
        left = {"metric_type": "distance_left", "metric_name": "Distance to the truth that is left, mean over P"}
        results.append(EvalResult(**kind, **data, **left, metric_value=round(task["left"], 4)))
        for level in task["levels"]:
            sign = {"at least": "at least ", "at most": "at most "}.get(level["half_way_bound"], "")
            metric = {"metric_type": "sentences_half_way", "metric_name": f"{sign}P half way, {level['level']}"}
            results.append(EvalResult(**kind, **data, **metric, metric_value=round(level["half_way"])))
    card = ModelCardData(model_name=record["architecture"]["name"], library_name="transformers", eval_results=results)
    return f"---\n{card.to_yaml()}\n---\n\nBenched with `{record['command']}`.\n"


def write_page(records: Sequence[Mapping[str, Any]], path: Path) -> list[Path]:
    """Writes the page and, beside it, the picture of its name."""
    from ..files import write_atomically
    from .pictures import draw_records

    picture = path.with_suffix(".png")
    path.parent.mkdir(parents=True, exist_ok=True)
    draw_records(records, picture)
    write_atomically(path, results_page(records, picture.name))
    return [path, picture]


def _task_cells(records: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
    commands = {record["architecture"]["name"]: record["command"] for record in records}
    return [row | {"command": commands[row["architecture"]]} for row in task_rows(records)]


def _level_cells(records: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """Places with the number that they sort by."""
    return [
        {
            "architecture": record["architecture"]["name"],
            "task": name,
            "level": level["level"],
            "P half way": place(level, "half_way"),
            "half_way": level["half_way"],
            "95 %": interval(level),
            "P onset": place(level, "onset"),
            "onset": level["onset"],
            "members": level["members"],
            "theory": predicted(task, level["level"]),
        }
        for record in records
        for name, task in record["tasks"].items()
        for level in task["levels"]
    ]


def _table(rows: Sequence[Mapping[str, Any]], sorted_by: Mapping[str, str]) -> str:
    """An HTML table; a column in `sorted_by` sorts by the number in another one, which is not shown."""
    hidden = set(sorted_by.values())
    names = [name for name in dict.fromkeys(key for row in rows for key in row) if name not in hidden]
    lines = [
        '<table class="records">',
        "<thead><tr>" + "".join(f"<th>{_text(n)}</th>" for n in names) + "</tr></thead>",
    ]
    lines.append("<tbody>")
    for row in rows:
        cells = (_cell(row.get(name), row.get(sorted_by.get(name, name))) for name in names)
        lines.append(f"<tr>{''.join(cells)}</tr>")
    return "\n".join([*lines, "</tbody>", "</table>"])


def _cell(shown: Any, value: Any) -> str:
    number = isinstance(value, int | float) and not isinstance(value, bool)
    return f'<td data-value="{value:.6g}">{_text(shown)}</td>' if number else f"<td>{_text(shown)}</td>"


def _text(value: Any) -> str:
    text = "" if value is None else f"{value:.4g}" if isinstance(value, float) else str(value)
    return html.escape(text)
