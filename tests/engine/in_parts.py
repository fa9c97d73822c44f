"""Trainings of which two processes hold a part each, against the same by one: a script, which `test_shards.py` starts.

An uneven batch, three images and five, so that a wrong mean shows.
"""

import sys
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import timm
import torch
from torch import Tensor, nn
from torch.nn import functional

from pipeline.config import TrainConfig
from pipeline.engine.learn import learn
from pipeline.engine.machine import Machine
from pipeline.engine.recompute import recompute
from pipeline.engine.resume import Store
from pipeline.engine.shards import own_part
from pipeline.engine.state import TrainState
from pipeline.files import InputError
from pipeline.images.batches import Batch, Share
from pipeline.processes import ONE, Team, team
from states import gather

DEVICE = torch.device("cuda", 0) if torch.cuda.is_available() else torch.device("cpu")
OWN = (slice(0, 3), slice(3, 8))
SIZE, NUM_STEPS, NUM_EPOCHS = 32, 4, 2
FROZEN = {"freeze_epochs": 1, "freeze_norms": True}
RESNET = partial(timm.create_model, "test_resnet", num_classes=3)
VIT = partial(timm.create_model, "test_vit", num_classes=3, img_size=SIZE, proj_drop_rate=0.2)
# Networks, settings, precision, and how far the weights may be apart.
VARIANTS: dict[str, tuple[Any, dict[str, Any], str, float]] = {
    "average and norm": (RESNET, {"optimizer": "adamw", "ema": 0.9, "clip_grad": 0.1}, "float32", 1e-4),
    "accumulated": (RESNET, {"optimizer": "rmsprop", "lr": 1e-4, "accumulate": 2}, "float32", 1e-4),
    "frozen": (
        RESNET,
        {"optimizer": "nesterov", "lr": 0.05, **FROZEN},
        "float32",
        1e-4,
    ),
    "dropout": (VIT, {"optimizer": "adam"}, "float32", 1e-4),
    "computed again": (VIT, {"optimizer": "sgd", "grad_checkpointing": True, "lr": 0.05}, "float32", 1e-4),
    "bfloat16": (RESNET, {"optimizer": "sgd", "lr": 0.01}, "bfloat16", 1e-4),
    "float16, some steps left out": (RESNET, {"optimizer": "sgd", "lr": 0.01, "clip_grad": 1.0}, "float16", 1e-4),
}


def state_of(variant: str, members: Team, seed: int = 0, *, shard: bool = True) -> TrainState:
    network, settings, precision, _ = VARIANTS[variant]
    torch.default_generator.manual_seed(seed)
    model = network()
    cfg = TrainConfig(num_epochs=NUM_EPOCHS, shard=shard, **settings)
    if cfg.grad_checkpointing:
        for module in model.modules():  # what is drawn is drawn by each process for itself then
            if isinstance(module, nn.Dropout):
                module.p = 0.0
        recompute(model, "it", SIZE, 3)
    machine = Machine(DEVICE, precision, members.size)
    # Both in one memory format, as kernels of others round otherwise.
    model = model if shard else model.to(DEVICE)
    return TrainState(cfg, 0, model, machine, [8] * NUM_STEPS, gather(8 * NUM_STEPS), members)


def loss(logits: Tensor, targets: Tensor) -> Tensor:
    return functional.cross_entropy(logits.float(), targets, reduction="none")


def step(state: TrainState) -> None:
    """Make one; at an epoch's end go on to the next."""
    drawn = torch.Generator().manual_seed(100 * state.epoch + state.step)
    images, targets = torch.randn(8, 3, SIZE, SIZE, generator=drawn), torch.randint(3, (8,), generator=drawn)
    own, share = slice(0, 8), None
    if state.members.size > 1:
        own = OWN[state.members.rank]
        share = Share(state.step, 0, 8, own, torch.arange(own.start, own.stop).numpy(), None, counts=True)
    batch = Batch(images[own].to(DEVICE), targets[own].to(DEVICE), state.step, share)
    learn(state.network(), batch, state.machine, loss, state)
    state.take_step()
    if state.step == state.num_steps:
        state.have_all_alike()
        state.end_epoch({})


def must_be_what_whole_networks_become(variant: str, state: TrainState) -> None:
    """Of one process; in bfloat16, where eight images round otherwise than three and five, of two."""
    members = ONE if state.machine.precision == "float32" else state.members
    whole = state_of(variant, members, shard=False)
    before = {name: value.clone().cpu() for name, value in whole.final.state_dict().items()}
    for _ in range(NUM_STEPS * NUM_EPOCHS):
        step(whole)
    weights, tolerance = state.whole().state_dict(), VARIANTS[variant][3]
    moved = 0.0
    for name, value in whole.final.state_dict().items():
        torch.testing.assert_close(weights[name], value.cpu(), rtol=tolerance, atol=tolerance)
        moved = max(moved, float((value.cpu().float() - before[name].float()).abs().max()))
    assert moved > 10 * tolerance, "it learned nothing that could differ"


def must_hold_a_part(state: TrainState) -> None:
    """Of weights, average and what the optimizer keeps: about half of what there is."""
    whole = sum(weight.numel() for weight in state.model.parameters())
    kept = {"weights": list(state.model.parameters())}
    if state.ema:
        kept["average"] = list(state.ema.module.parameters())
    for name, weights in kept.items():
        assert 0.4 * whole < sum(own_part(weight).numel() for weight in weights) < 0.6 * whole, name
    entries = [value for one in state.optimizer.state.values() for value in one.values() if value.ndim]
    for entry in entries:
        assert own_part(entry).numel() <= 0.75 * entry.numel() or len(entry) == 1


def main(folder: Path) -> None:
    members = team()
    torch.set_num_threads(1)
    for variant in VARIANTS:
        state = state_of(variant, members)
        for _ in range(6):
            step(state)
        must_hold_a_part(state)
        store = Store(folder / variant, {}, 0, members, is_in_parts=True)
        store.save(state, wait=True)
        members.meet()  # the first has written what names the parts
        for _ in range(2):
            step(state)
        must_be_what_whole_networks_become(variant, state)

        resumed, after = state_of(variant, members, seed=1), Store(folder / variant, {}, 0, members, is_in_parts=True)
        saved = after.load(resumed.machine)
        assert saved is not None
        resumed.load_state_dict(saved)
        assert resumed.at == (1, 2)
        for _ in range(2):
            step(resumed)
        for one, other in zip(resumed.model.state_dict().values(), state.model.state_dict().values(), strict=True):
            assert torch.equal(own_part(one), own_part(other)), variant
        with pytest.raises(InputError, match=r"begun on .*2 processes.*Go on there, or delete it"):
            after.load(Machine(DEVICE, resumed.machine.precision, 3))

        # One process alone sees that its part is not finite, or not whole.
        if not members.is_first:
            parts = (own_part(weight.detach()) for weight in state.model.parameters())
            next(part for part in parts if part.numel()).fill_(float("nan"))
            next((folder / variant / "resume-parts").glob("*/1.safetensors")).write_bytes(b"x")
        assert state.is_finite() == members.is_first
        assert after.load(resumed.machine) is None
        store.close()
        after.close()
        if members.is_first:
            print(f"{variant}: well", flush=True)


if __name__ == "__main__":
    main(Path(sys.argv[1]))
