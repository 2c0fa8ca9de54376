"""SGD whose step size and weight decay differ from layer to layer, as rules over the parameters' names."""

import math
from collections.abc import Iterable, Mapping, Sequence
from fnmatch import fnmatchcase
from typing import Any

from torch import nn
from torch.optim import SGD

_NAMED_IN_ERRORS = 20  # parameters


class GroupedSGD(SGD):
    """`torch.optim.SGD` with groups that rules make: the first rule that matches a parameter's name decides.

    A rule is a mapping with the keys `match`, a wildcard pattern over names such as `fc*.weight`; `lr_factor`, which
    multiplies `lr` (1 where it is left out); `weight_decay`, which takes the place of the optimizer's. A schedule
    multiplies the step sizes of all groups alike.

    Args:
        params: Names and parameters, as `model.named_parameters()` gives them.
        lr: The step size of what no rule matches.
        momentum: The share of the last step that is kept.
        weight_decay: The L2 penalty where no rule sets one.
        nesterov: Whether to look ahead along the momentum.
        groups: The rules.

    Raises:
        ValueError: A parameter has no name, a rule has other keys or impossible values, or is left without parameters.
    """

    def __init__(
        self,
        params: Iterable[tuple[str, nn.Parameter]],
        lr: float = 0.001,
        momentum: float = 0.0,
        weight_decay: float = 0.0,
        nesterov: bool = False,
        groups: Sequence[Mapping[str, Any]] = (),
    ) -> None:
        named = list(params)
        if not all(isinstance(entry, tuple) for entry in named):
            raise ValueError("GroupedSGD groups by names: give it model.named_parameters()")
        for rule in groups:
            _check(rule)
        matched = [_first_match(name, groups) for name, _ in named]
        # What no rule matches comes first: the first group's step size is the one that is logged.
        made: list[dict[str, Any]] = [{"params": _chosen(named, matched, None)}]
        for index, rule in enumerate(groups):
            chosen = _chosen(named, matched, index)
            if not chosen:
                raise ValueError(_left_without(rule, [name for name, _ in named]))
            decay = rule.get("weight_decay", weight_decay)
            made.append({"params": chosen, "lr": lr * rule.get("lr_factor", 1.0), "weight_decay": decay})
        super().__init__(
            [group for group in made if group["params"]],
            lr=lr,
            momentum=momentum,
            weight_decay=weight_decay,
            nesterov=nesterov,
        )


def _check(rule: Mapping[str, Any]) -> None:
    if set(rule) - {"lr_factor", "weight_decay"} != {"match"} or not isinstance(rule["match"], str):
        raise ValueError(f"a rule has the keys match, lr_factor and weight_decay, got {dict(rule)}")
    for key in ("lr_factor", "weight_decay"):
        value = rule.get(key, 0.0)
        if isinstance(value, bool) or not isinstance(value, int | float) or not 0 <= value < math.inf:
            raise ValueError(f"{key} is a number of at least 0, got {value!r} for {rule['match']!r}")


def _first_match(name: str, rules: Sequence[Mapping[str, Any]]) -> int | None:
    return next((index for index, rule in enumerate(rules) if fnmatchcase(name, rule["match"])), None)


def _chosen(
    named: list[tuple[str, nn.Parameter]], matched: list[int | None], index: int | None
) -> list[tuple[str, nn.Parameter]]:
    return [entry for entry, rule in zip(named, matched, strict=True) if rule == index]


def _left_without(rule: Mapping[str, Any], names: list[str]) -> str:
    more = f" and {len(names) - _NAMED_IN_ERRORS} more" if len(names) > _NAMED_IN_ERRORS else ""
    return (
        f"the rule {rule['match']!r} matches no parameter that an earlier rule has not taken; the parameters are "
        f"{', '.join(names[:_NAMED_IN_ERRORS])}{more}"
    )
