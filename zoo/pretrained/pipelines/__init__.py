"""From raw input to answers: one pipeline per task, imported on first use with what that task's input needs."""

import importlib
import inspect
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any, get_args

from zoo.errors import ZooError
from zoo.pretrained.card import read_card, task_name
from zoo.pretrained.hub import find_release

if TYPE_CHECKING:
    import torch

    from zoo.pretrained.pipelines.adversarial import AdversarialPipeline
    from zoo.pretrained.pipelines.image_classification import ImageClassificationPipeline
    from zoo.pretrained.pipelines.language_modeling import LanguageModelingPipeline
    from zoo.pretrained.pipelines.q_learning import QLearningPipeline
    from zoo.pretrained.pipelines.translation import TranslationPipeline

    Pipeline = (
        ImageClassificationPipeline
        | LanguageModelingPipeline
        | TranslationPipeline
        | QLearningPipeline
        | AdversarialPipeline
    )

# Task -> module and class.
PIPELINES = {
    "image_classification": ("zoo.pretrained.pipelines.image_classification", "ImageClassificationPipeline"),
    "language_modeling": ("zoo.pretrained.pipelines.language_modeling", "LanguageModelingPipeline"),
    "translation": ("zoo.pretrained.pipelines.translation", "TranslationPipeline"),
    "q_learning": ("zoo.pretrained.pipelines.q_learning", "QLearningPipeline"),
    "adversarial": ("zoo.pretrained.pipelines.adversarial", "AdversarialPipeline"),
}


def _pipeline_class(folder: Path) -> "type[Pipeline]":
    task = task_name(read_card(folder))
    if task not in PIPELINES:
        raise ZooError(
            f"{folder.name} is of the task {task!r}, which has no pipeline (there is {', '.join(PIPELINES)}): "
            "take the model itself with zoo.load_pretrained"
        )
    module, name = PIPELINES[task]
    return getattr(importlib.import_module(module), name)


def pipeline(name_or_path: str | Path, *, device: "torch.device | str" = "cpu") -> Any:
    """Returns what turns raw input into answers with a pretrained model: pictures into labels, a prompt into text.

    Args:
        name_or_path: A name out of `zoo.list_pretrained()`, or the path of a finished run or of a release.
        device: Where its model computes; what goes in and comes out is the same everywhere.

    Raises:
        ZooError: No such release, one that is damaged, or one of a task that has no pipeline; a device that is not
            there.
    """
    from zoo.pretrained.outputs import placed  # torch, on first use

    folder = find_release(name_or_path)
    made = _pipeline_class(folder).from_release(folder)
    placed(made.model, device)
    return made


def answer_of(name_or_path: str | Path) -> Callable[..., Any]:
    """Returns the method of a release's pipeline that answers a command line.

    Raises:
        ZooError: As `pipeline`.
    """
    return _pipeline_class(find_release(name_or_path)).answer


def answer_options(name_or_path: str | Path) -> dict[str, Callable[[str], Any]]:
    """Returns what a pipeline can be told on the command line: option -> what reads its value.

    They are the keyword-only arguments of the pipeline's `answer`: numbers, words, or `bool` for a flag without value.

    Raises:
        ZooError: As `pipeline`.
    """
    parameters = inspect.signature(answer_of(name_or_path), eval_str=True).parameters
    return {
        name: next((kind for kind in get_args(p.annotation) if kind is not type(None)), p.annotation)
        for name, p in parameters.items()
        if p.kind is p.KEYWORD_ONLY
    }
