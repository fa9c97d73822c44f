"""Optimizer, and the schedule of the learning rate."""

import math
from typing import Any

import torch
from torch import nn

from pipeline.config import ConfigError, TrainConfig
from pipeline.engine.muon import Muon
from pipeline.engine.nested import take_apart
from pipeline.engine.shards import is_part
from pipeline.model.weights import first_layers, head_prefixes
from pipeline.nearest import did_you_mean

OWN_OPTIMIZERS = ("sgd", "nesterov", "adam", "adamw", "rmsprop", "muon", "normed_muon")
# Devices with fused kernels of SGD, Adam and AdamW in torch >= 2.4: one pass over the weights instead of several.
_FUSED = ("cpu", "cuda", "mps", "xpu")


def make_optimizer(cfg: TrainConfig, model: nn.Module) -> torch.optim.Optimizer:
    """The optimizer that the settings name.

    sgd, nesterov, adam, adamw and rmsprop are torch's, muon and normed_muon are of this room; every other name is
    timm's, with `train.momentum` where timm has a momentum and its own betas. Weight decay is left off one-dimensional
    parameters (biases, norms) and what a network of timm lists in `no_weight_decay` (tokens, position embeddings).

    Args:
        cfg: optimizer, lr, momentum, weight decay.
        model: on its device; parameters that need no gradient are left out.

    Raises:
        ConfigError: an unknown name, or an optimizer that cannot be had with these settings here.
    """
    groups = _groups(model, cfg)
    weight = groups[0]["params"][0]
    # Of parts of weights there is no fused SGD (torch 2.13).
    can_fuse = weight.device.type in _FUSED and not is_part(weight)
    fast: dict[str, Any] = {"fused": True} if can_fuse else {"foreach": True}
    match cfg.optimizer:
        case "sgd" | "nesterov":
            nesterov = cfg.optimizer == "nesterov"
            if nesterov and not cfg.momentum:
                raise ConfigError("train.momentum must be above 0 for the optimizer nesterov. Got 0.0: or take sgd")
            return torch.optim.SGD(groups, cfg.lr, momentum=cfg.momentum, nesterov=nesterov, **fast)
        case "adam":
            return torch.optim.Adam(groups, cfg.lr, betas=(cfg.momentum, 0.999), **fast)
        case "adamw":
            return torch.optim.AdamW(groups, cfg.lr, betas=(cfg.momentum, 0.999), **fast)
        case "muon" | "normed_muon":
            keeps_norms = cfg.optimizer == "normed_muon"
            return Muon(_muon_groups(model, groups), cfg.lr, cfg.momentum, keeps_norms=keeps_norms)
        case "rmsprop":
            return torch.optim.RMSprop(groups, cfg.lr, momentum=cfg.momentum, foreach=True)
    return _timm_optimizer(cfg, groups)


def _groups(model: nn.Module, cfg: TrainConfig) -> list[dict[str, Any]]:
    """Parameters with one rate, with and without weight decay; the classifier's apart where it learns before the rest,
    as optimizers count the steps of a group.
    """
    listed, scales, head = _listed(model), _lr_scales(model, cfg), head_prefixes(model)
    groups: dict[tuple[bool, float, bool], list[nn.Parameter]] = {}
    for name, parameter in model.named_parameters():
        if parameter.requires_grad:
            plain = parameter.ndim <= 1 or name in listed
            waits = cfg.freeze_epochs > 0 and not name.startswith(head)
            groups.setdefault((plain, scales[name], waits), []).append(parameter)
    in_order = sorted(groups.items(), key=lambda item: item[0])
    return [
        {"params": parameters, "weight_decay": 0.0 if plain else cfg.weight_decay, "lr": cfg.lr * scale}
        for (plain, scale, _), parameters in in_order
    ]


def _lr_scales(model: nn.Module, cfg: TrainConfig) -> dict[str, float]:
    """Each parameter's rate / `train.lr`: a power of `layer_decay`, 0 for the last layer and one more a layer before,
    as timm groups them, times `head_lr` for the classifier.

    Raises:
        ConfigError: layers are to be told apart in a network that does not group them.
    """
    head, decays = head_prefixes(model), dict.fromkeys((name for name, _ in model.named_parameters()), 1.0)
    if cfg.layer_decay < 1:
        if not hasattr(model, "group_matcher"):
            raise ConfigError(
                f"train.layer_decay must be 1 for networks that do not group their layers, as timm's do. Got "
                f"{cfg.layer_decay}"
            )
        from timm.optim import param_groups_layer_decay  # it takes seconds

        names = {id(parameter): name for name, parameter in model.named_parameters()}
        for group in param_groups_layer_decay(model, layer_decay=cfg.layer_decay):
            decays |= dict.fromkeys((names[id(parameter)] for parameter in group["params"]), group["lr_scale"])
    return {name: scale * (cfg.head_lr if name.startswith(head) else 1.0) for name, scale in decays.items()}


def _listed(model: nn.Module) -> set[str]:
    """Names that a network of timm wants without weight decay."""
    no_weight_decay: Any = getattr(model, "no_weight_decay", tuple)
    return set(no_weight_decay())


def _muon_groups(model: nn.Module, groups: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """The groups, with the matrices of hidden layers apart: neither the first layers nor the classifier."""
    outer = (*(f"{name}." for name in first_layers(model)), *head_prefixes(model))
    # Tokens and position embeddings are no matrices; they are listed.
    listed = _listed(model)
    hidden = {
        id(parameter)
        for name, parameter in model.named_parameters()
        if parameter.ndim > 1 and name not in listed and not name.startswith(outer)
    }
    split = []
    for group in groups:
        for matrix in (True, False):
            chosen = [parameter for parameter in group["params"] if (id(parameter) in hidden) == matrix]
            split += [{**group, "params": chosen, "matrix": matrix}] if chosen else []
    return split


def _timm_optimizer(cfg: TrainConfig, groups: list[dict[str, Any]]) -> torch.optim.Optimizer:
    # Imported here: it takes seconds.
    from timm.optim import create_optimizer_v2, get_optimizer_info, list_optimizers

    known = list_optimizers()
    name = cfg.optimizer.lower().removeprefix("lookahead_")
    if name not in known:
        raise ConfigError(
            f"'train.optimizer' must be one of {', '.join(OWN_OPTIMIZERS)} or an optimizer of timm. "
            f"Got {cfg.optimizer!r}{did_you_mean(name, sorted({*OWN_OPTIMIZERS, *known}))}"
        )
    if get_optimizer_info(name).second_order:
        raise ConfigError(f"train.optimizer must work with first derivatives. Got {cfg.optimizer!r}: take another")
    try:
        optimizer: torch.optim.Optimizer = create_optimizer_v2(
            groups, cfg.optimizer, lr=cfg.lr, weight_decay=cfg.weight_decay, momentum=cfg.momentum
        )
        take_apart(optimizer.state_dict())  # or a training that is stopped could not go on
    except (AssertionError, ImportError, TypeError, ValueError, RuntimeError) as error:
        raise ConfigError(
            f"train.optimizer {cfg.optimizer!r} must work with these settings on this machine. It does not: {error}"
        ) from None
    return optimizer


def lr_factor(cfg: TrainConfig, step: int, num_steps: int, steps_per_epoch: int) -> float:
    """The factor of `cfg.lr` at a step; a pure function, so that a resumed training goes on as it would have.

    constant, step, linear (to 0) and cosine (to 0; Loshchilov and Hutter 2017, equation 5) rise linearly over the share
    `cfg.warmup` of the steps. onecycle is torch's OneCycleLR with its defaults: cosine from 1/25 up to 1 over the share
    `cfg.warmup` (0: 0.3) of the steps, then cosine down to 1/250,000 at the last (Smith and Topin 2018, page 4). A
    training of fewer steps than `cfg.full_lr_steps` has that part of all of it.

    Args:
        cfg: schedule, warmup, step_epochs, step_factor, full_lr_steps.
        step: optimizer steps made so far, 0 to num_steps - 1.
        num_steps: of the whole training.
        steps_per_epoch: of an epoch.

    Returns:
        In (0, 1].
    """
    part = min(1.0, num_steps / cfg.full_lr_steps) if cfg.full_lr_steps else 1.0
    return part * _scheduled(cfg, step, num_steps, steps_per_epoch)


def _scheduled(cfg: TrainConfig, step: int, num_steps: int, steps_per_epoch: int) -> float:
    """The factor by the schedule alone."""
    if cfg.schedule == "onecycle":
        return _onecycle(step, num_steps, cfg.warmup or 0.3)
    warm = cfg.warmup * num_steps
    if step < warm:
        # The first step is not 0, and the one after the warm-up is the first at the full rate.
        return (step + 1) / (math.ceil(warm) + 1)
    if cfg.schedule == "step":
        return float(cfg.step_factor ** (step // steps_per_epoch // cfg.step_epochs))
    if cfg.schedule == "cosine":
        return _cosine(1.0, 0.0, (step - warm) / (num_steps - warm))
    if cfg.schedule == "linear":
        return 1.0 - (step - warm) / (num_steps - warm)
    return 1.0


def _onecycle(step: int, num_steps: int, fraction: float) -> float:
    start, end = 1 / 25, 1 / 25 / 1e4
    top, last = fraction * num_steps - 1, num_steps - 1
    if step < top:
        return _cosine(start, 1.0, step / top)
    # A training of one step would have the last rate only, and learn nothing.
    return _cosine(1.0, end, (step - top) / (last - top)) if last > max(top, 0) else 1.0


def _cosine(first: float, last: float, fraction: float) -> float:
    """From first to last along half a cosine."""
    return last + (first - last) * (1 + math.cos(math.pi * fraction)) / 2
