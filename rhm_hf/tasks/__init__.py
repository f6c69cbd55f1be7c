"""One file per task. A task knows how sentences become a batch, its loss, the exact law it is judged against and what
it reports; the training loop knows none of these."""

from .next_token import NextToken


TASKS = {task.name: task for task in (NextToken,)}

__all__ = ["TASKS", "NextToken"]
