"""All tasks by name, as a table that imports nothing."""

import importlib
from typing import TYPE_CHECKING

from zoo.errors import unknown

if TYPE_CHECKING:
    from zoo.tasks.task import Task

TASKS: dict[str, str] = {
    "image_classification": "zoo.tasks.image_classification.ImageClassification",
    "language_modeling": "zoo.tasks.language_modeling.LanguageModeling",
    "translation": "zoo.tasks.translation.Translation",
    "q_learning": "zoo.tasks.q_learning.QLearning",
    "adversarial": "zoo.tasks.adversarial.Adversarial",
}


def task_class(name: str) -> "type[Task]":
    """Returns the task of that name, importing its file on first use.

    Raises:
        ZooError: There is no such task.
    """
    if name not in TASKS:
        raise unknown("task", name, TASKS)
    module, _, attribute = TASKS[name].rpartition(".")
    return getattr(importlib.import_module(module), attribute)
