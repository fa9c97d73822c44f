"""Running statistics of batch norms that are right from the first batch on.

A norm begins at mean 0 and variance 1 and moves a share, its momentum, towards each batch. After ten batches, which may
be all that a small competition has, a third of that beginning is still there: the network predicts with statistics that
it never had. Here each batch counts as Adam counts gradients (Kingma and Ba 2015, "Adam", section 3: bias correction).
"""

from torch import nn
from torch.nn.modules.batchnorm import _BatchNorm


class FreshNorms:
    """The batch norms of a network that have seen no batch yet, so none of those with published statistics.

    Args:
        model: before its first step.
    """

    def __init__(self, model: nn.Module) -> None:
        self._norms = [
            (norm, norm.momentum)
            for norm in model.modules()
            if isinstance(norm, _BatchNorm) and norm.momentum and _is_fresh(norm)
        ]

    def count(self, seen: int) -> None:
        """Have the next batch count as it should, after so many others: the first for all, late ones by the momentum.

        Args:
            seen: batches before, 0 or more.
        """
        for norm, momentum in self._norms:
            norm.momentum = momentum / (1 - (1 - momentum) ** (seen + 1))


def _is_fresh(norm: _BatchNorm) -> bool:
    mean, variance = norm.running_mean, norm.running_var
    return mean is not None and variance is not None and not bool(mean.any()) and bool((variance == 1).all())
