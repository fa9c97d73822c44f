"""What does not learn, where that is asked for: at first all but the classifier, and the batch norms all along.

A new classifier's first gradients are those of random weights: they distort what a published network knows (Kumar et
al. 2022, "Fine-Tuning can Distort Pretrained Features and Underperform Out-of-Distribution", section 3). Statistics and
parameters of batch norms are better kept as published where batches are small or images few.
"""

from torch import nn
from torch.nn.modules.batchnorm import _BatchNorm

from pipeline.config import TrainConfig
from pipeline.model.weights import head_prefixes


def freeze(model: nn.Module, cfg: TrainConfig, epoch: int) -> None:
    """Have a network in training mode learn what it is to learn in an epoch, and nothing else.

    What does not learn is in evaluation mode and has no gradients: statistics stay, nothing is dropped there.

    Args:
        model: in training mode.
        cfg: freeze_epochs, freeze_norms.
        epoch: under way, from 0 on.
    """
    if not cfg.freeze_epochs and not cfg.freeze_norms:
        return
    head, waits = head_prefixes(model), epoch < cfg.freeze_epochs
    for name, module in model.named_modules():
        is_frozen = bool(name) and (waits or (cfg.freeze_norms and isinstance(module, _BatchNorm)))
        learns = not is_frozen or f"{name}.".startswith(head)
        module.training = learns
        for parameter in module.parameters(recurse=False):
            parameter.requires_grad_(learns and (bool(name) or not waits))
