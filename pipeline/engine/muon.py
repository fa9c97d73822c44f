"""Muon: orthogonalised momentum for the weight matrices of hidden layers, AdamW for everything else.

Jordan et al. 2024, "Muon: An optimizer for hidden layers in neural networks"; a convolution's weight counts as the
matrix (out, in * height * width). Updates are scaled as Liu et al. 2025, "Muon is scalable for LLM training", equation
4, so that learning rate and weight decay are those of AdamW, and one rate serves both kinds of parameters.

Where each hidden layer is followed by a norm, the size of its weights changes nothing but how far a step turns them:
they may keep the norm that they began with, so that the schedule alone says how far that is, for all of them alike (as
in the code of Jordan 2024, "94% on CIFAR-10 in 3.29 Seconds on a Single GPU").

timm's Muon cannot do that, and its step takes three times as long on CPUs: matrix by matrix, in bfloat16.
"""

import math
from collections import defaultdict
from typing import Any

import torch
from torch import Tensor

# Of the quintic iteration whose slope at zero is as large as it can be (Jordan et al. 2024).
_COEFFICIENTS = (3.4445, -4.7750, 2.0315)
_NUM_ITERATIONS = 5
_ADAM_BETAS = (0.9, 0.999)
# How far a step at the rate 1 moves a matrix that keeps its norm, in norms: about what equation 4 gives for 3 x 3
# convolutions of 180 channels. The same for all shapes, see the benchmarks' README.
_TURN = 8.0
_TINY = 1e-7


class Muon(torch.optim.Optimizer):
    """Parameter groups with `matrix = True` get Muon, the others AdamW.

    Args:
        groups: parameter groups with `params`, `weight_decay` and `matrix`.
        lr: learning rate of both kinds.
        momentum: of the matrices, in Nesterov's form.
        keeps_norms: whether each matrix keeps the norm that it began with; weight decay then does nothing to it.
    """

    def __init__(self, groups: list[dict[str, Any]], lr: float, momentum: float, *, keeps_norms: bool = False) -> None:
        super().__init__(groups, {"lr": lr, "momentum": momentum, "weight_decay": 0.0, "matrix": False})
        self.keeps_norms = keeps_norms

    @torch.no_grad()
    def step(self, closure: None = None) -> None:  # type: ignore[override]
        """Change the parameters by their gradients."""
        assert closure is None, "gradients are computed before the step"
        for group in self.param_groups:
            parameters: list[Tensor] = [parameter for parameter in group["params"] if parameter.grad is not None]
            keeps_norms = self.keeps_norms and group["matrix"]
            if parameters and group["weight_decay"] and not keeps_norms:
                torch._foreach_mul_(parameters, 1 - group["lr"] * group["weight_decay"])
            if parameters:
                gradients = [parameter.grad for parameter in parameters if parameter.grad is not None]
                (self._matrix_step if group["matrix"] else self._adam_step)(parameters, gradients, group)

    def _matrix_step(self, parameters: list[Tensor], gradients: list[Tensor], group: dict[str, Any]) -> None:
        norms = self._norms(parameters) if self.keeps_norms else []
        moving = self._state(parameters, "momentum")
        torch._foreach_mul_(moving, group["momentum"])
        torch._foreach_add_(moving, gradients)
        updates = torch._foreach_add(gradients, moving, alpha=group["momentum"])
        alike: dict[tuple[int, ...], list[int]] = defaultdict(list)
        for index, parameter in enumerate(parameters):
            alike[(len(parameter), parameter[0].numel())].append(index)
        for shape, indices in alike.items():
            stacked = torch.stack([updates[index].reshape(shape) for index in indices])
            for index, update in zip(indices, orthogonalise(stacked), strict=True):
                kept = norms[index] if norms else 0.0
                reach = _TURN * kept / math.sqrt(min(shape)) if kept else 0.2 * math.sqrt(max(shape))
                parameters[index].add_(update.view(parameters[index].shape), alpha=-group["lr"] * reach)
        if any(norms):
            # What began as zeros has no norm to keep.
            sized = [parameter for parameter, norm in zip(parameters, norms, strict=True) if norm]
            sizes = torch._foreach_norm(sized)
            torch._foreach_clamp_min_(sizes, _TINY)
            torch._foreach_div_(sized, torch._foreach_div(sizes, [norm for norm in norms if norm]))

    def _adam_step(self, parameters: list[Tensor], gradients: list[Tensor], group: dict[str, Any]) -> None:
        means, squares = self._state(parameters, "mean"), self._state(parameters, "square")
        steps = self._state(parameters, "step", scalar=True)
        torch._foreach_add_(steps, 1)
        # All parameters of a group are stepped together, so one count serves them; it is kept on the CPU.
        step = int(steps[0])
        first, second = _ADAM_BETAS
        torch._foreach_lerp_(means, gradients, 1 - first)
        torch._foreach_mul_(squares, second)
        torch._foreach_addcmul_(squares, gradients, gradients, 1 - second)
        roots = torch._foreach_sqrt(squares)
        torch._foreach_div_(roots, math.sqrt(1 - second**step))
        torch._foreach_add_(roots, 1e-8)
        torch._foreach_addcdiv_(parameters, means, roots, -group["lr"] / (1 - first**step))

    def _norms(self, parameters: list[Tensor]) -> list[float]:
        """The norm that each matrix had before its first step; 0 for one of zeros."""
        for parameter in parameters:
            if "norm" not in self.state[parameter]:
                norm = float(torch.linalg.vector_norm(parameter))
                self.state[parameter]["norm"] = norm if norm > _TINY else 0.0
        return [self.state[parameter]["norm"] for parameter in parameters]

    def _state(self, parameters: list[Tensor], name: str, *, scalar: bool = False) -> list[Tensor]:
        """One tensor of the state for each parameter, zeros at first."""
        for parameter in parameters:
            if name not in self.state[parameter]:
                self.state[parameter][name] = torch.zeros(()) if scalar else torch.zeros_like(parameter)
        return [self.state[parameter][name] for parameter in parameters]


def orthogonalise(matrices: Tensor) -> Tensor:
    """The nearest matrices with singular values of about 1 (0.7 to 1.2), by Newton-Schulz iterations.

    Shapes: float (batch, rows, columns); returns the same in float32, computed in bfloat16 on a GPU.
    """
    tall = matrices.shape[1] > matrices.shape[2]
    x = matrices.mT if tall else matrices
    x = x.to(torch.bfloat16 if matrices.is_cuda else torch.float32)
    x = x / torch.linalg.vector_norm(x.flatten(1), dim=1).clamp_min(_TINY)[:, None, None]
    a, b, c = _COEFFICIENTS
    for _ in range(_NUM_ITERATIONS):
        gram = x @ x.mT
        x = torch.baddbmm(x, torch.baddbmm(gram, gram, gram, beta=b, alpha=c), x, beta=a)
    return (x.mT if tall else x).float()
