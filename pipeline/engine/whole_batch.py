"""One batch over several processes as one process has it: what depends on the whole batch, or is drawn for it.

A process has some of a batch's images. Batch norms that learn take the statistics of all (Ioffe and Szegedy 2015,
"Batch Normalization", section 3; synchronised as in Peng et al. 2018, "MegDet", section 3.2), and dropout and
stochastic depth draw for the whole batch, of which each process keeps its images' part. So networks learn the same,
but for rounding, however many processes there are.

torch's functions are intercepted where they are called, so that no layer is replaced: `nn.SyncBatchNorm` runs on GPUs
alone, and layers of timm's own, which call the same functions, would lose what they add.
"""

from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional
from torch.nn.modules.batchnorm import _BatchNorm
from torch.overrides import TorchFunctionMode

from pipeline.images.batches import Share
from pipeline.processes import Team

_DROPOUTS = (functional.dropout, functional.dropout1d, functional.dropout2d, functional.dropout3d)


class WholeBatch(TorchFunctionMode):
    """Have forward passes see the whole batch; around the forward pass of one process's images.

    Args:
        share: what this process has of the batch.
        members: the processes that have the rest.
        sync_norms: whether batch norms that learn take the statistics of all images.
    """

    def __init__(self, share: Share, members: Team, *, sync_norms: bool) -> None:
        super().__init__()
        self.share, self.members, self.sync_norms = share, members, sync_norms

    def __torch_function__(
        self, func: Callable[..., Any], types: Sequence[type], args: Sequence[Any] = (), kwargs: Any = None
    ) -> Any:
        kwargs = kwargs or {}
        if func in _DROPOUTS:
            return self._dropout(func, *args, **kwargs)
        if func is Tensor.bernoulli_:
            return self._bernoulli(*args, **kwargs)
        if func is functional.batch_norm and self.sync_norms:
            return self._batch_norm(*args, **kwargs)
        return func(*args, **kwargs)

    def _dropout(
        self, func: Callable[..., Tensor], input: Tensor, p: float = 0.5, training: bool = True, inplace: bool = False
    ) -> Tensor:
        if not training or p == 0.0:
            return func(input, p, training, inplace)
        with torch.no_grad():
            # By the function itself, as its mask of the whole batch is what one process draws.
            factor = self._own(lambda whole: func(whole.fill_(1.0), p, True, False), input)
        return input.mul_(factor) if inplace else input * factor

    def _bernoulli(self, tensor: Tensor, *args: Any, **kwargs: Any) -> Tensor:
        return tensor.copy_(self._own(lambda whole: whole.bernoulli_(*args, **kwargs), tensor))

    def _own(self, draw: Callable[[Tensor], Tensor], like: Tensor) -> Tensor:
        """Draw for the whole batch, and take the part of this process's images.

        Images may stand for several rows each, as windows of a picture do.
        """
        length = self.share.own.stop - self.share.own.start
        times, rest = divmod(len(like), length)
        assert rest == 0, "rows of a batch are the same for every image"
        shape = (self.share.length * times, *like.shape[1:])
        is_last = like.ndim == 4 and like.is_contiguous(memory_format=torch.channels_last)
        order = torch.channels_last if is_last else torch.contiguous_format
        whole = draw(torch.empty(shape, dtype=like.dtype, device=like.device, memory_format=order))
        return whole[self.share.own.start * times : self.share.own.stop * times]

    def _batch_norm(
        self,
        input: Tensor,
        running_mean: Tensor | None,
        running_var: Tensor | None,
        weight: Tensor | None = None,
        bias: Tensor | None = None,
        training: bool = False,
        momentum: float = 0.1,
        eps: float = 1e-5,
    ) -> Tensor:
        if not training or running_mean is None or running_var is None:
            # Statistics that nobody keeps are no batch's: some networks standardise their weights so.
            return functional.batch_norm(input, running_mean, running_var, weight, bias, training, momentum, eps)
        with torch.autocast(input.device.type, enabled=False):
            x = input.float()
            others = [dimension for dimension in range(x.ndim) if dimension != 1]
            shape = [1, -1, *[1] * (x.ndim - 2)]
            counts = float(self.share.counts)
            values = x.numel() / x.shape[1] * counts
            # By two passes, as the difference of large squares would lose what float32 can say.
            own = torch.cat([x.sum(others) * counts, x.new_tensor([values])])
            sums = _sum(own, self.members)
            number = sums[-1].detach()
            mean = sums[:-1] / number
            centred = x - mean.view(shape)
            variance = _sum(centred.square().sum(others) * counts, self.members) / number
            with torch.no_grad():
                unbiased = variance * (number / (number - 1).clamp(min=1))
                running_mean.lerp_(mean, momentum)
                running_var.lerp_(unbiased, momentum)
            scaled = centred * (variance + eps).rsqrt().view(shape)
            scaled = scaled if weight is None else scaled * weight.view(shape)
            scaled = scaled if bias is None else scaled + bias.view(shape)
        return scaled.to(input.dtype)


class _Sum(torch.autograd.Function):
    """The sum of a tensor over the processes, and of its gradients on the way back."""

    @staticmethod
    def forward(ctx: Any, tensor: Tensor, members: Team) -> Tensor:
        ctx.members = members
        total = tensor.clone()
        members.add_up(total)
        return total

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, None]:
        total = gradient.clone()
        ctx.members.add_up(total)
        return total, None


def _sum(tensor: Tensor, members: Team) -> Tensor:
    total: Tensor = _Sum.apply(tensor, members)  # type: ignore[no-untyped-call]
    return total


def depends_on_batch(model: nn.Module, *, sync_norms: bool) -> bool:
    """Whether a network in training mode draws, or takes statistics over the batch, so that it needs `WholeBatch`."""
    return any(
        (sync_norms and isinstance(module, _BatchNorm) and module.training) or _draws(module)
        for module in model.modules()
    )


def _draws(module: nn.Module) -> bool:
    rates = (getattr(module, name, 0) for name in ("p", "drop_prob", "drop_rate"))
    return any(isinstance(rate, float) and rate > 0 for rate in rates)
