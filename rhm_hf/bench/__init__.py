"""How many examples does a model need? Fixed suites of questions about hierarchy, each with an exact truth.

Names are imported when they are first used: torch and transformers take seconds.
"""

from typing import TYPE_CHECKING

from .._lazy import lazy_attributes


if TYPE_CHECKING:
    from .architectures import Architecture, read_architecture
    from .conducting import Waiting, conduct
    from .pictures import draw_records
    from .planning import Plan
    from .ranking import differences, halves
    from .records import read_record
    from .suite import BenchTask, Suite, load_suite
    from .tables import level_rows, task_rows
    from .tryout import cost_rows

_EXPORTS = {
    "Architecture": "architectures",
    "BenchTask": "suite",
    "Plan": "planning",
    "Suite": "suite",
    "Waiting": "conducting",
    "conduct": "conducting",
    "cost_rows": "tryout",
    "differences": "ranking",
    "draw_records": "pictures",
    "halves": "ranking",
    "level_rows": "tables",
    "load_suite": "suite",
    "read_architecture": "architectures",
    "read_record": "records",
    "task_rows": "tables",
}

__all__ = [
    "Architecture",
    "BenchTask",
    "Plan",
    "Suite",
    "Waiting",
    "conduct",
    "cost_rows",
    "differences",
    "draw_records",
    "halves",
    "level_rows",
    "load_suite",
    "read_architecture",
    "read_record",
    "task_rows",
]
__getattr__, __dir__ = lazy_attributes(__name__, _EXPORTS)
