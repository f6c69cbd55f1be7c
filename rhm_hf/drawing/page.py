"""A page of HTML in one file: no script, no style sheet, no picture outside it."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any


@dataclass
class Section:
    """A part of the page.

    Args:
        title (`str`): its heading.
        facts (`Mapping`): names and values.
        table (`tuple`, *optional*): names of columns, and rows of text.
        pictures (`Mapping[str, str]`): what a picture shows -> its data URI.
        remark (`str`): a sentence below the table.
        files (`tuple[str, ...]`): names of files that it has taken in.
        listed (`bool`): whether the contents name it.
    """

    title: str
    facts: Mapping[str, Any] = field(default_factory=dict)
    table: tuple[Sequence[str], Sequence[Sequence[str]]] | None = None
    pictures: Mapping[str, str] = field(default_factory=dict)
    remark: str = ""
    files: tuple[str, ...] = ()
    listed: bool = True


TEMPLATE = """<!DOCTYPE html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>{{ title }}</title>
<style>
:root { color-scheme: light dark; --line: #8884; --soft: #8881; }
body { font: 15px/1.5 system-ui, sans-serif; max-width: 72rem; margin: 2rem auto; padding: 0 1rem; }
h1 { font-size: 1.5rem; } h2 { font-size: 1.15rem; margin-top: 2rem; border-bottom: 1px solid var(--line); }
nav { columns: 18rem; font-size: .9rem; } nav a { display: block; }
dl { display: grid; grid-template-columns: max-content 1fr; gap: .15rem 1.2rem; }
dt { opacity: .7; } dd { margin: 0; overflow-wrap: anywhere; font-variant-numeric: tabular-nums; }
.wide { overflow-x: auto; max-height: 32rem; overflow-y: auto; }
table { border-collapse: collapse; font-size: .85rem; font-variant-numeric: tabular-nums; }
th, td { padding: .2rem .6rem; text-align: right; white-space: nowrap; border-bottom: 1px solid var(--line); }
th { position: sticky; top: 0; background: Canvas; } td:first-child, th:first-child { text-align: left; }
tr:nth-child(even) td { background: var(--soft); }
figure { margin: 1rem 0; } img { max-width: 100%; background: white; }
</style>
</head>
<body>
<h1>{{ title }}</h1>
{% if sections|length > 2 %}<nav>{% for section in sections %}
{% if section.listed %}<a href="#s{{ loop.index }}">{{ section.title }}</a>
{% endif %}{% endfor %}</nav>{% endif %}
{% for section in sections %}
<section id="s{{ loop.index }}">
<h2>{{ section.title }}</h2>
{% if section.facts %}<dl>{% for name, value in section.facts.items() %}
<dt>{{ name }}</dt><dd>{{ value }}</dd>{% endfor %}</dl>{% endif %}
{% for name, data in section.pictures.items() %}
<figure><img alt="{{ name }}" src="{{ data }}"></figure>{% endfor %}
{% if section.table and section.table[1] %}<div class="wide"><table>
<thead><tr>{% for name in section.table[0] %}<th>{{ name }}</th>{% endfor %}</tr></thead>
<tbody>{% for row in section.table[1] %}
<tr>{% for cell in row %}<td>{{ cell }}</td>{% endfor %}</tr>{% endfor %}
</tbody></table></div>{% endif %}
{% if section.remark %}<p>{{ section.remark }}</p>{% endif %}
</section>
{% endfor %}
</body>
</html>
"""


def render(title: str, sections: Sequence[Section]) -> str:
    """The page; whatever text it shows is escaped."""
    from jinja2 import Environment

    page = Environment(autoescape=True, trim_blocks=True).from_string(TEMPLATE)
    return page.render(title=title, sections=sections)
