"""One file per task. A task knows how rows become a batch, its loss, the exact law it is judged against and what it
reports; the training loop knows none of these."""

from .classification import Classification
from .diffusion import Diffusion
from .last_token import LastToken
from .masked import Masked
from .next_token import NextToken
from .task import Task


TASKS = {task.name: task for task in (NextToken, LastToken, Masked, Diffusion, Classification)}

__all__ = ["TASKS", "Classification", "Diffusion", "LastToken", "Masked", "NextToken", "Task"]
