"""A network's name -> the network: our own few, and all of timm's."""

from logging import INFO
from pathlib import Path
from typing import Any

import torch
from torch import nn

from pipeline.config import ConfigError, ModelConfig
from pipeline.files import InputError
from pipeline.log import say_once
from pipeline.model.checkpoint import saved_normalisation
from pipeline.model.networks import MLP, CifarNet, LeNet5, Net, ResNet9
from pipeline.model.pretrained import create, from_elsewhere, with_published_weights
from pipeline.model.published import find_in
from pipeline.model.sizes import refuse_size
from pipeline.model.trial import REFUSED, refuse_ignored_rates, try_out
from pipeline.model.weight_names import FETCHED, OWN, searched
from pipeline.model.weights import load_weights, published_channels, timm_adapts
from pipeline.nearest import did_you_mean

_OWN: dict[str, type[LeNet5] | type[Net] | type[MLP] | type[ResNet9] | type[CifarNet]] = dict(
    zip(OWN, (LeNet5, Net, MLP, ResNet9, CifarNet), strict=True)
)


def build_model(cfg: ModelConfig, size: int, channels: int, num_outputs: int, seed: int) -> nn.Module:
    """Build the network that the settings name, on the CPU, in training mode.

    Its initial weights are a function of `seed` alone; no generator of the process is disturbed. Nothing is fetched
    unless `cfg.pretrained` asks for published weights that are nowhere here. A timm network is tried on one black
    image, so that what it cannot do with this size is known before training.

    Args:
        cfg: name, pretrained or weights, dropout, drop path, width.
        size: height and width of the images, in pixels.
        channels: of the images.
        num_outputs: logits per image.
        seed: of the initial weights.

    Raises:
        ConfigError: an unknown name, or a setting that the network does not have or cannot use.
        InputError: weights that cannot be fetched or read, or that are another network's.
    """
    if cfg.pretrained and cfg.weights:
        raise ConfigError("model.pretrained and model.weights exclude each other. Got both: leave one out")
    with torch.random.fork_rng(devices=[]):
        # Not torch.manual_seed: that one would seed the GPUs' generators too, which fork_rng does not bring back here.
        torch.default_generator.manual_seed(seed)
        if cfg.name in _OWN:
            model = _own_network(cfg, size, channels, num_outputs)
        else:
            model = _timm_network(cfg, size, channels, num_outputs)
        if cfg.weights:
            _load_weights(model, cfg, channels)
    return model.train()


def pretrained_statistics(model: nn.Module) -> tuple[tuple[float, ...], tuple[float, ...]] | None:
    """Look up mean and standard deviation per channel, of pixels in [0, 1], that timm's weights were trained with.

    None for a network that is not timm's. The channels are those of the published weights, whatever the images'.
    """
    known = getattr(model, "pretrained_cfg", None) or {}
    if not known.get("mean") or not known.get("std"):
        return None
    return tuple(float(value) for value in known["mean"]), tuple(float(value) for value in known["std"])


def timm_name(cfg: ModelConfig, model: nn.Module, size: int, channels: int, num_outputs: int) -> str:
    """Find timm's own name of a network fetched by another, by which it is built again; "" for all others.

    Raises:
        ConfigError: by that name alone it would be another network: what was fetched has arguments of its own.
    """
    if not cfg.name.lower().startswith(FETCHED):
        return ""
    name = str(getattr(model, "pretrained_cfg", {}).get("architecture", ""))
    plain = cfg.model_copy(update={"name": name, "pretrained": False})
    again = build_model(plain, size, channels, num_outputs, 0).state_dict()
    shapes = {key: value.shape for key, value in model.state_dict().items()}
    if shapes != {key: value.shape for key, value in again.items()}:
        raise ConfigError(
            f"model.name must be a network of timm as it is. {cfg.name} is a {name} with arguments of its own: take "
            "one that is listed by timm"
        )
    return name


def _own_network(cfg: ModelConfig, size: int, channels: int, num_outputs: int) -> nn.Module:
    if cfg.pretrained:
        raise ConfigError(
            f"model.pretrained must be false for {cfg.name}: only timm's networks have published weights. "
            "Set model.weights to a file instead"
        )
    if cfg.drop_path:
        raise ConfigError(f"model.drop_path must be 0 for {cfg.name}, which has no such layers. Got {cfg.drop_path}")
    network = _OWN[cfg.name]
    if size < network.min_size:
        raise ConfigError(f"image.size must be at least {network.min_size} for {cfg.name}. Got {size}")
    if network is ResNet9 or network is CifarNet:
        return network(size, channels, num_outputs, cfg.dropout, cfg.width)
    return network(size, channels, num_outputs, cfg.dropout)


def _timm_network(cfg: ModelConfig, size: int, channels: int, num_outputs: int) -> nn.Module:
    arguments: dict[str, Any] = {"in_chans": channels, "num_classes": num_outputs}
    if cfg.dropout:
        arguments["drop_rate"] = cfg.dropout
    if cfg.drop_path:
        arguments["drop_path_rate"] = cfg.drop_path
    fetched = cfg.name.lower().startswith(FETCHED)
    if fetched and not cfg.pretrained:
        raise ConfigError(
            f"model.name {cfg.name!r} is looked up outside timm, which needs model.pretrained = true. "
            "Else take timm's own name of the network, with model.weights for a local file"
        )
    published = None if fetched else _published(cfg)
    # timm itself passes a default img_size to every network whose entry says fixed_input_size (ViT, Swin, MaxViT ...),
    # so those take the argument. The others follow the image and may refuse it. Of names that timm does not list
    # (fetched, deprecated) it is not known, so they are asked.
    if published is None or published.fixed_input_size:
        arguments["img_size"] = size
    asked = ", ".join(
        [f"image.size = {size}", f"image.channels = {channels}"]
        + [f"model.{key} = {value}" for key, value in (("dropout", cfg.dropout), ("drop_path", cfg.drop_path)) if value]
    )
    try:
        # Names that are fetched have no network without their weights.
        model = from_elsewhere(cfg.name, arguments) if fetched else create(cfg.name, arguments)
        used = try_out(model, size, channels, num_outputs)
    except InputError:
        raise
    except REFUSED as error:
        if published is not None:
            refuse_size(cfg.name, arguments, size, published, pretrained=cfg.pretrained)
        raise ConfigError(
            f"model.name {cfg.name!r} must work with {asked}. It does not: {type(error).__name__}: {str(error)[:200]}"
        ) from None
    refuse_ignored_rates(cfg, used)
    _refuse_random_start(cfg, model, channels)
    if cfg.pretrained and not fetched:
        if published is not None and "img_size" in arguments:
            refuse_size(cfg.name, arguments, size, published, pretrained=True)
        return with_published_weights(cfg.name, arguments)
    return model


def _published(cfg: ModelConfig) -> Any:
    """Look up timm's entry of a name: what is published of the network; None for names that are deprecated.

    Raises:
        ConfigError: timm has no such name, or no weights where they are asked for.
    """
    # Imported here: it takes seconds, and our own networks do without.
    import timm

    known = timm.is_model(cfg.name) and not set(cfg.name) & set("/\\:")
    if not known:
        raise ConfigError(
            f"'model.name' must be {', '.join(_OWN)} or a network of timm. Got {cfg.name!r}"
            + did_you_mean(cfg.name, [*_OWN, *timm.list_models()])
        )
    try:
        published = timm.models.get_pretrained_cfg(cfg.name)
    except RuntimeError:
        tagged = timm.list_models(cfg.name.partition(".")[0] + ".*", pretrained=True)
        raise ConfigError(
            f"'model.name' must have no tag or one of timm's: {', '.join(tagged) or 'none here'}. Got {cfg.name!r}"
        ) from None
    if cfg.pretrained and published is not None and not published.has_weights:
        raise ConfigError(f"model.pretrained must be false for {cfg.name}: timm has no published weights of it")
    return published


def _load_weights(model: nn.Module, cfg: ModelConfig, channels: int) -> None:
    """Fill a network with the file that `model.weights` means: itself, or in a folder the one called as the network."""
    named = Path(cfg.weights)
    path = named
    if named.is_dir():
        path = find_in(named, searched(cfg.name)).path
        say_once(f"{cfg.name} {path}", INFO, "model: the weights of %s are %s", cfg.name, path)
    load_weights(model, path, channels)
    if path != named and saved_normalisation(path) is not None:
        raise ConfigError(
            f"model.weights must be the file where it is a model of this pipeline, whose images have a mean and std of "
            f"their own. Set it to {path}"
        )


def _refuse_random_start(cfg: ModelConfig, model: nn.Module, channels: int) -> None:
    """Refuse channels for which timm would leave the first layer of its published weights at random."""
    published = published_channels(model)
    if cfg.pretrained and channels != published and not timm_adapts(model, channels):
        raise ConfigError(
            f"image.channels must be {published} for the published weights of {cfg.name}: timm would start its first "
            f"layer at random for others. Got {channels}. Set model.pretrained to false to start all of it at random"
        )
