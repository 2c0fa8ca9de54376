"""Drawing a text from a language model, token by token, with its state kept between the tokens."""

from collections.abc import Callable, Iterator, Sequence
from typing import Any

import torch
from torch import Tensor

from zoo.errors import ZooError

# (tokens (1, T), state) -> (logits (1, T, V), state), as language models of the zoo are called.
Step = Callable[[Tensor, Any], tuple[Tensor, Any]]


def keep_likely(logits: Tensor, top_k: int | None = None, top_p: float | None = None) -> Tensor:
    """Forbids unlikely tokens by setting their logits to minus infinity.

    Args:
        logits: `(V,)`.
        top_k: Only the k most likely tokens stay (Fan et al. 2018, arXiv:1805.04833); ties with the last one stay too.
        top_p: Only the fewest tokens whose probabilities add up to p stay (Holtzman et al. 2020, arXiv:1904.09751).

    Returns:
        `(V,)`; the most likely token always stays.
    """
    if top_k is not None and top_k < len(logits):
        logits = logits.masked_fill(logits < logits.topk(top_k).values[-1], -torch.inf)
    if top_p is not None and top_p < 1:
        ordered, order = logits.sort(descending=True, stable=True)
        before = ordered.softmax(0).cumsum(0) - ordered.softmax(0)  # what the more likely tokens add up to
        logits = logits.index_fill(0, order[before >= top_p], -torch.inf)
    return logits


def check_sampling(max_tokens: int, temperature: float, top_k: int | None, top_p: float | None) -> None:
    """Refuses settings that make no sense.

    Raises:
        ZooError: One of them is out of its range.
    """
    if type(max_tokens) is not int or max_tokens < 0:
        raise ZooError(f"max_tokens={max_tokens} is not possible: expected a whole number of at least 0")
    if not 0 <= temperature < float("inf"):
        raise ZooError(f"temperature={temperature} is not possible: expected 0 (always the likeliest) or more")
    if top_k is not None and (type(top_k) is not int or top_k < 1):
        raise ZooError(f"top_k={top_k} is not possible: expected a whole number of at least 1")
    if top_p is not None and not 0 < top_p <= 1:
        raise ZooError(f"top_p={top_p} is not possible: expected a probability above 0, at most 1")


def sample(
    step: Step,
    prompt: Tensor,
    max_tokens: int,
    generator: torch.Generator,
    *,
    temperature: float = 1.0,
    top_k: int | None = None,
    top_p: float | None = None,
    forbidden: Sequence[int] = (),
) -> Iterator[int]:
    """Draws tokens that continue a prompt; each costs the same time however many came before.

    Args:
        step: The model.
        prompt: `(T,)` int64 on the model's device, at least one token.
        max_tokens: How many to draw.
        generator: On the CPU; the same one gives the same tokens on every device, rounding aside.
        temperature: Divides the logits; 0 takes the likeliest token always.
        top_k: As in `keep_likely`.
        top_p: As in `keep_likely`, after the temperature.
        forbidden: Tokens never drawn, such as `<unk>`.

    Yields:
        Token numbers.

    Raises:
        ZooError: A setting makes no sense, or the scores are not finite.
    """
    check_sampling(max_tokens, temperature, top_k, top_p)
    tokens, state = prompt.view(1, -1), None
    for _ in range(max_tokens):
        with torch.inference_mode():
            logits, state = step(tokens, state)
        last = logits[0, -1].double().cpu()  # (V,)
        if not bool(last.isfinite().all()):
            raise ZooError("the model's scores are not finite: these weights are of no use")
        last = last.index_fill(0, torch.tensor(forbidden, dtype=torch.int64), -torch.inf)
        if temperature == 0:
            number = int(last.argmax())
        else:
            # The largest becomes 0 first: divided by a tiny temperature it would be infinite.
            shares = keep_likely((last - last.max()) / temperature, top_k, top_p).softmax(0)
            number = int(torch.multinomial(shares, 1, generator=generator))
        yield number
        tokens = torch.tensor([[number]], device=prompt.device)
