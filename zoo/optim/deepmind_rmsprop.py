"""RMSProp as in DeepMind's code of 2015."""

from collections.abc import Callable, Iterable
from typing import Any

import torch
from torch.optim import Optimizer


class DeepMindRMSprop(Optimizer):
    """Centred RMSProp with its floor under the root (Mnih et al. 2015, Extended Data Table 1, and the authors' code).

    With g the gradient, m and v running averages of g and g²: w becomes w - lr g / sqrt(v - m² + floor). What the paper
    calls gradient momentum is the decay of m; there is no velocity. The gradient is meant to be the sum over a
    minibatch: with the mean of 32 the floor weighs a thousand times as much. `torch.optim.RMSprop(centered=True)` adds
    its `eps` to the root instead.

    Args:
        params: What is optimised.
        lr: Step size.
        decay: Of both averages.
        floor: The smallest variance, the paper's "min squared gradient".

    Raises:
        ValueError: A number out of its range.
    """

    def __init__(self, params: Iterable[Any], lr: float = 0.00025, decay: float = 0.95, floor: float = 0.01) -> None:
        if lr <= 0 or not 0 <= decay < 1 or floor <= 0:
            raise ValueError(
                f"expected lr > 0, decay in [0, 1) and floor > 0, got lr={lr}, decay={decay}, floor={floor}"
            )
        super().__init__(params, {"lr": lr, "decay": decay, "floor": floor})

    @torch.no_grad()
    def step(self, closure: Callable[[], Any] | None = None) -> Any:
        """Makes one update."""
        loss = None
        if closure is not None:
            with torch.enable_grad():
                loss = closure()
        for group in self.param_groups:
            parameters = [parameter for parameter in group["params"] if parameter.grad is not None]
            gradients = [parameter.grad for parameter in parameters]
            for parameter in parameters:
                if not self.state[parameter]:
                    self.state[parameter]["mean"] = torch.zeros_like(parameter)
                    self.state[parameter]["square"] = torch.zeros_like(parameter)
            means = [self.state[parameter]["mean"] for parameter in parameters]
            squares = [self.state[parameter]["square"] for parameter in parameters]
            if not parameters:
                continue
            # All parameters in one go: one by one each small operation costs more than its arithmetic.
            torch._foreach_lerp_(means, gradients, 1 - group["decay"])
            torch._foreach_mul_(squares, group["decay"])
            torch._foreach_addcmul_(squares, gradients, gradients, 1 - group["decay"])
            roots = torch._foreach_addcmul(squares, means, means, -1)
            torch._foreach_add_(roots, group["floor"])
            torch._foreach_sqrt_(roots)
            torch._foreach_addcdiv_(parameters, gradients, roots, -group["lr"])
        return loss
