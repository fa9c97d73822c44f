"""A network whose training does not fit one device: of each weight every process of a team holds a part.

PyTorch's FSDP2 (Rajbhandari et al. 2020, "ZeRO: Memory Optimizations Toward Training Trillion Parameter Models",
section 5; Zhao et al. 2023, "PyTorch FSDP: Experiences on Scaling Fully Sharded Data Parallel"). Gradients, averaged
weights and what the optimizer keeps are divided like the weights. A block's weights are brought together for its
forward and for its backward pass, and freed behind it.
"""

import copy
from collections.abc import Iterator, Mapping
from typing import Any

import torch
from torch import Tensor, nn

from pipeline.config import TrainConfig
from pipeline.processes import Team, group

# A block holds at most one of so many parts of the parameters, where it can be divided.
_NUM_PARTS = 8


def is_sharded(cfg: TrainConfig, members: Team) -> bool:
    """Whether a team trains a network in parts: a process by itself has nobody to share it with."""
    return cfg.shard and members.size > 1


class Shards:
    """What a team knows of a network that it holds in parts.

    Args:
        model: whole, on the CPU, without gradients; its weights are divided in place, and brought to the device.
        average: of its weights, likewise; None where there is none.
        members: the processes; the weights are those of the first.
        device: of this process.
    """

    def __init__(self, model: nn.Module, average: nn.Module | None, members: Team, device: torch.device) -> None:
        from torch.distributed.device_mesh import DeviceMesh  # a second, which the others need not wait
        from torch.distributed.fsdp import fully_shard

        self._empty = _without_weights(model)
        mesh = DeviceMesh.from_group(group(), device.type)
        for network in (model, average):
            if network is not None:
                members.spread(list(network.state_dict().values()))
                for part in (*blocks(network), network):
                    fully_shard(part, mesh=mesh)

    def whole(self, model: nn.Module) -> nn.Module:
        """Copy the network, with the weights that all processes together have, to the CPU of each.

        On the device one weight is whole at a time.
        """
        weights = {name: _whole(value).cpu() for name, value in model.state_dict().items()}
        network = copy.deepcopy(self._empty)
        network.load_state_dict(weights, assign=True)
        return network

    def load(self, model: nn.Module, own: Mapping[str, Tensor]) -> None:
        """Replace what this process has of the weights, and the statistics."""
        with torch.no_grad():
            for name, value in model.state_dict().items():
                own_part(value).copy_(own[name])

    def of_optimizer(self, optimizer: torch.optim.Optimizer, own: Mapping[str, Any]) -> dict[str, Any]:
        """A state that the optimizer can load, from what this process has of it: all but numbers is a part of something
        that is like its weight.
        """
        weights = [weight for settings in optimizer.param_groups for weight in settings["params"]]
        state = {
            index: {
                name: _part_like(weights[index], value) if isinstance(value, Tensor) and value.ndim else value
                for name, value in entries.items()
            }
            for index, entries in own["state"].items()
        }
        return {**own, "state": state}


def blocks(model: nn.Module) -> list[nn.Module]:
    """The parts of a network that are brought together one after the other: what it has in lists, by size.

    A block is an entry of a `Sequential` or a `ModuleList` that has layers of its own and at most an eighth of the
    parameters; a larger one is divided likewise, where it has such lists. What is in no block comes with the network.
    """
    return list(_blocks(model, sum(parameter.numel() for parameter in model.parameters()) // _NUM_PARTS))


def _blocks(module: nn.Module, largest: int) -> Iterator[nn.Module]:
    lists = (nn.Sequential, nn.ModuleList)
    for child in module.children():
        inside = list(_blocks(child, largest))
        # Whose entries are called one by one, in timm, a list itself is not.
        is_block = isinstance(module, lists) and not isinstance(child, lists) and any(child.children())
        if is_block and (not inside or sum(parameter.numel() for parameter in child.parameters()) <= largest):
            yield child
        else:
            yield from inside


def _without_weights(model: nn.Module) -> nn.Module:
    """Copy a network, but for its parameters, which take no memory."""
    weights: dict[int, Any] = {
        id(weight): nn.Parameter(torch.empty_like(weight, device="meta"), weight.requires_grad)
        for weight in model.parameters()
    }
    return copy.deepcopy(model, weights)


def is_part(tensor: Tensor) -> bool:
    """Whether other processes have the rest of a tensor: those of DTensor alone have this method."""
    return hasattr(tensor, "to_local")


def own_part(value: Any) -> Any:
    """What this process has of a tensor, or of all tensors in dictionaries, lists and tuples; not copied."""
    if isinstance(value, Tensor):
        return value.to_local() if is_part(value) else value  # type: ignore[attr-defined]
    if isinstance(value, dict):
        return {key: own_part(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return type(value)(own_part(item) for item in value)
    return value


def _whole(value: Tensor) -> Tensor:
    return value.full_tensor() if is_part(value) else value  # type: ignore[attr-defined]


def _part_like(weight: Any, own: Tensor) -> Tensor:
    """Make a process's part a part of what is like a weight in shape and place."""
    from torch.distributed.tensor import DTensor

    where = {"shape": weight.shape, "stride": weight.stride()}
    return DTensor.from_local(own.to(weight.device), weight.device_mesh, weight.placements, run_check=False, **where)
