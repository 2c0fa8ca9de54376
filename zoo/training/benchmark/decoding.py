"""Times the search for translations: ours, and the one that calls the model anew for each token."""

import time
from collections.abc import Callable
from pathlib import Path

import torch
from rich.console import Console
from rich.progress import track
from torch import Tensor

from zoo.data.pair_loader import PairBatch
from zoo.data.tokenizing import BEGIN, END, PAD
from zoo.decoding.beam import beam_search, length_penalty
from zoo.tasks.translation import Translation
from zoo.training.benchmark.cases import Case
from zoo.training.benchmark.measure import Measured
from zoo.training.benchmark.ways import built_for


@torch.inference_mode()
def search_anew(
    model: Callable[[Tensor, Tensor], Tensor], source: Tensor, max_length: int, beam: int, alpha: float
) -> list[int]:
    """Looks for the translation that `beam_search` looks for, of one sentence and without a cache.

    Args:
        model: In eval mode; scores what comes next at each position: `(B, S)` and `(B, T)` give `(B, T, V)`.
        source: `(S,)`, with its end.
        max_length: Tokens after which the translation is broken off, at least 1, the end not counted.
        beam: How many hypotheses are alive at a time.
        alpha: Strength of the length penalty.

    Returns:
        The tokens of the best translation, without begin and end.
    """
    live: list[tuple[float, list[int]]] = [(0.0, [])]  # log-probabilities and tokens
    finished: list[tuple[float, list[int]]] = []  # scores and tokens
    for _ in range(max_length):
        prefixes = torch.tensor([[BEGIN, *tokens] for _, tokens in live], device=source.device)
        scores = model(source.expand(len(live), -1), prefixes)[:, -1]  # (beam, V)
        before = torch.tensor([log_probability for log_probability, _ in live], device=source.device)
        extended = before[:, None] + scores.log_softmax(dim=1)
        best, where = extended.flatten().topk(min(2 * beam, extended.numel()))
        going: list[tuple[float, list[int]]] = []
        for place, (log_probability, number) in enumerate(zip(best.tolist(), where.tolist(), strict=True)):
            origin, token = divmod(number, extended.shape[1])
            tokens = live[origin][1]
            if token != END:
                going.append((log_probability, [*tokens, token]))
            elif place < beam:
                finished.append((log_probability / length_penalty(len(tokens) + 1, alpha), tokens))
        live = going[:beam]
        finished = sorted(finished, reverse=True)[:beam]
        # Whatever a live hypothesis may still become, its score stays below this.
        reachable = live[0][0] / length_penalty(max_length + 1, alpha)
        if len(finished) == beam and finished[-1][0] >= reachable:
            break
    else:  # broken off, as they stand
        finished += [(each / length_penalty(len(tokens) + 1, alpha), tokens) for each, tokens in live]
    return max(finished)[1]


def _limits(batch: PairBatch) -> Tensor:
    """Returns how many tokens the references have, `(B,)`, their ends counted.

    Weights that were never trained hardly ever end a sentence: this gives translations the lengths of real ones.
    """
    return (batch.target[:, 1:] != PAD).sum(dim=1)


def measure_decoding(case: Case, rounds: int, folder: Path) -> Measured:
    """Times a case in sentences per second: ours on the whole test split, the other search on a sample of it.

    Args:
        case: What is timed; its model has the weights that it begins with.
        rounds: How often each way is timed, after a round that is not counted.
        folder: Where the run's folder goes.

    Raises:
        ZooError: The data is missing, or the hardware.
    """
    built, _ = built_for((*case.words, *case.settings), folder)
    task, loader = built.task.to(built.trainer.strategy.root_device).eval(), built.data.dataset.test_loader()
    assert isinstance(task, Translation)
    rows = [row for batch in loader for row in zip(batch.source, _limits(batch).tolist(), strict=True)]
    each = max(1, len(rows) // case.steps)
    chosen = range(each // 2, len(rows), each)[: case.steps]  # of all lengths: the loader sorts by them

    def ours() -> list[list[int]]:
        found = []
        for batch in loader:
            beams = beam_search(
                task.translator, batch.source.to(task.device), BEGIN, END, _limits(batch), task.beam,
                task.length_penalty, wanted=1,
            )  # fmt: skip
            found += [hypotheses[0].tokens for hypotheses in beams]
        return found

    def anew() -> list[list[int]]:
        sample = [rows[number] for number in chosen]
        return [
            search_anew(task.model, source[source != PAD].to(task.device), limit, task.beam, task.length_penalty)
            for source, limit in sample
        ]

    speeds: dict[str, list[float]] = {"zoo": [], "usual": []}
    for _ in track(range(rounds + 1), case.name, transient=True, console=Console(stderr=True)):
        found, speed = _timed(ours)
        speeds["zoo"].append(speed)
        expected, speed = _timed(anew)
        speeds["usual"].append(speed)
    others = sum(found[number] != tokens for number, tokens in zip(chosen, expected, strict=True))
    speeds = {name: values[1:] for name, values in speeds.items()}
    return Measured(case, speeds, differing=(others, len(chosen)))


def _timed(search: Callable[[], list[list[int]]]) -> tuple[list[list[int]], float]:
    """Returns the translations, and how many were found per second; they are on the CPU, so nothing is left to do."""
    start = time.perf_counter()
    found = search()
    return found, len(found) / (time.perf_counter() - start)
