"""From raw input to answers: one pipeline per task, imported on first use with what that task's input needs."""

import importlib
from pathlib import Path
from typing import TYPE_CHECKING

from zoo.errors import ZooError
from zoo.pretrained.card import task_name
from zoo.pretrained.hub import find_release

if TYPE_CHECKING:
    from zoo.pretrained.pipelines.image_classification import ImageClassificationPipeline

# Task -> module and class; the class is called with the model and its card.
PIPELINES = {
    "image_classification": ("zoo.pretrained.pipelines.image_classification", "ImageClassificationPipeline"),
}


def pipeline(name_or_path: str | Path) -> "ImageClassificationPipeline":
    """Returns what turns raw input into answers with a pretrained model, e.g. pictures into labels.

    Args:
        name_or_path: A name out of `zoo.list_pretrained()`, or the path of a finished run or of a release.

    Raises:
        ZooError: No such release, one that is damaged, or one of a task that has no pipeline.
    """
    from zoo.pretrained.release import load_release

    folder = find_release(name_or_path)
    model, card = load_release(folder)
    task = task_name(card)
    if task not in PIPELINES:
        raise ZooError(
            f"{folder.name} is of the task {task!r}, which has no pipeline (there is {', '.join(PIPELINES)}): "
            "take the model itself with zoo.load_pretrained"
        )
    module, name = PIPELINES[task]
    return getattr(importlib.import_module(module), name)(model, card)
