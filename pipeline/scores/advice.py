"""What to do next with a run: settings that would help, by rules that each name what the run shows."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from math import sqrt

import numpy as np

from pipeline.competition.answers.probs import Probs
from pipeline.competition.answers.task import Task
from pipeline.config import ENOUGH_FOR_POLICY, Config
from pipeline.files import read_rows
from pipeline.freshness import audited
from pipeline.paths import fold_dir
from pipeline.plan import read_plan

_MOST = 3


@dataclass(frozen=True)
class Evidence:
    """What a run shows.

    kind: of the labels.
    num_networks: how many are trained.
    histories: of each that has a fold to validate it, epoch by epoch, `train_loss` and `valid_loss`.
    sure: the mean probability of the likeliest class out of fold; right: how often that is right; of `num_images`.
        None where labels are no classes.
    side: the longer side of the test images, in pixels, the median; None where that is not known.
    asked_epochs: those that the config asks for, where a time limit has planned others.
    """

    cfg: Config
    kind: str
    num_networks: int
    histories: Sequence[Sequence[Mapping[str, float]]] = ()
    sure: float | None = None
    right: float | None = None
    num_images: int = 0
    side: float | None = None
    asked_epochs: int | None = None

    @property
    def num_epochs(self) -> int:
        """How many epochs each network was trained."""
        return self.cfg.train.num_epochs


def gather(cfg: Config, task: Task, targets: np.ndarray, probs: Probs, ready: Sequence[int | str]) -> Evidence:
    """Look at what a run has made.

    Args:
        cfg: its settings.
        task: kind and classes.
        targets: of the images that are predicted out of fold.
        probs: what is said of them.
        ready: the networks that are trained.
    """
    sure = right = None
    if task.kind in ("single", "ordinal"):
        best = probs.best(1)
        sure, right = float(probs.at(best)[:, 0].mean(dtype=float)), float((best[:, 0] == targets).mean())
    plan = read_plan(cfg) if cfg.planned else None
    return Evidence(
        cfg,
        task.kind,
        len(ready),
        [rows for fold in ready if fold != "full" and (rows := _losses(cfg, fold))],
        sure,
        right,
        len(targets),
        _side_of_test_images(cfg),
        plan["made_from"]["train"]["num_epochs"] if plan else None,
    )


def _losses(cfg: Config, fold: int | str) -> list[dict[str, float]]:
    names = ("train_loss", "valid_loss")
    rows = read_rows(fold_dir(cfg, fold) / "history.csv")
    return [{name: float(row[name]) for name in names} for row in rows if all(row.get(name) for name in names)]


def _side_of_test_images(cfg: Config) -> float | None:
    rows = audited(cfg, "split", "bad", "width", "height")
    sides = [max(int(width), int(height)) for split, bad, width, height in rows if split == "test" and not bad]
    return float(np.median(sides)) if sides else None


def next_steps(evidence: Evidence) -> list[str]:
    """The first three of the rules that have something to say: a setting, and what of the run speaks for it."""
    return [said for rule in RULES if (said := rule(evidence)) is not None][:_MOST]


def _train_networks(run: Evidence) -> str | None:
    if run.num_networks:
        return None
    return (
        "train networks: the submission is that of the probe alone. python -m pipeline train infer ensemble report "
        f"{run.cfg.options}"
    )


def _give_time(run: Evidence) -> str | None:
    if run.asked_epochs is None or run.asked_epochs <= run.num_epochs:
        return None
    limit = run.cfg.train.time_limit
    return f"a longer train.time_limit than {limit}: {run.num_epochs} of {run.asked_epochs} epochs fit into it"


def _change_images(run: Evidence) -> str | None:
    changes = run.cfg.augment
    if changes.policy != "none" or changes.mixup or changes.cutmix or changes.albumentations or run.kind == "number":
        return None
    if run.num_epochs * run.num_images < ENOUGH_FOR_POLICY:
        return None  # so few are known by heart in any case, and learnt less well from changed ones
    ends = [history[-1] for history in run.histories]
    if not ends or not all(map(_by_heart, ends)):
        return None
    losses = f"{_mean(ends, 'train_loss'):.3f} in training, {_mean(ends, 'valid_loss'):.3f} in validation"
    return f'augment.policy = "trivialaugment": the networks know their images by heart, the loss is {losses}'


def _by_heart(end: Mapping[str, float]) -> bool:
    """Whether a network knows its images by heart: it says much less of others."""
    return end["valid_loss"] >= 1.5 * end["train_loss"] + 0.02


def _stop_earlier(run: Evidence) -> str | None:
    if run.cfg.train.time_limit or not run.histories:
        return None  # under a limit epochs are as many as fit
    best = [int(np.argmin([epoch["valid_loss"] for epoch in history])) for history in run.histories]
    least = [history[place]["valid_loss"] for history, place in zip(run.histories, best, strict=True)]
    ends = [history[-1]["valid_loss"] for history in run.histories]
    if any(place + 1 > 0.75 * len(history) for place, history in zip(best, run.histories, strict=True)):
        return None
    if any(end < 1.1 * low for end, low in zip(ends, least, strict=True)):
        return None
    epochs = max(1, round(float(np.mean(best)) + 1))
    return (
        f"train.num_epochs = {epochs}: the validation loss was least there, {np.mean(least):.3f}, and is "
        f"{np.mean(ends):.3f} after {run.num_epochs}"
    )


def _train_longer(run: Evidence) -> str | None:
    if run.cfg.train.time_limit or not run.histories or min(len(history) for history in run.histories) < 2:
        return None
    ends = [history[-1] for history in run.histories]
    before = [history[-1 - max(1, len(history) // 5)] for history in run.histories]
    falls = all(
        old["valid_loss"] - end["valid_loss"] > max(0.03 * old["valid_loss"], 0.01)
        for end, old in zip(ends, before, strict=True)
    )
    if not falls or any(map(_by_heart, ends)):
        return None
    fell = f"from {_mean(before, 'valid_loss'):.3f} to {_mean(ends, 'valid_loss'):.3f}"
    return (
        f"train.num_epochs = {2 * run.num_epochs}: at the end of {run.num_epochs} epochs the validation loss still "
        f"fell {fell}, and is not far from that in training, {_mean(ends, 'train_loss'):.3f}"
    )


def _be_less_sure(run: Evidence) -> str | None:
    settings = run.cfg.train
    if run.sure is None or run.right is None or not run.num_networks:
        return None
    if settings.label_smoothing or settings.loss not in ("auto", "cross_entropy"):
        return None
    chance = 3 * sqrt(run.right * (1 - run.right) / run.num_images)
    if run.sure - run.right <= max(0.05, chance):
        return None
    return (
        f"train.label_smoothing = 0.1: out of fold the likeliest class has a probability of {run.sure:.2f} and is "
        f"right in {run.right:.2f} of {run.num_images:,} images"
    )


def _look_closer(run: Evidence) -> str | None:
    size = run.cfg.image.size
    if run.cfg.trains_smaller:
        return None  # by the plan of a time limit
    larger = 32 * round(1.5 * size / 32)
    if run.side is None or not run.num_networks or run.side < 2 * size or not size < larger <= 384:
        return None
    return f"image.size = {larger}: test images have {run.side:.0f} pixels on their longer side, networks see {size}"


def _look_twice(run: Evidence) -> str | None:
    if not run.num_networks or not run.cfg.augment.hflip or run.cfg.infer.views != ("identity",):
        return None
    return 'infer.views = ["identity", "hflip"]: networks were trained on flipped images too; none is trained again'


def _mean(rows: Sequence[Mapping[str, float]], name: str) -> float:
    return float(np.mean([row[name] for row in rows]))


# The first help most, as far as one can tell beforehand.
RULES: tuple[Callable[[Evidence], str | None], ...] = (
    _train_networks,
    _give_time,
    _change_images,
    _stop_earlier,
    _train_longer,
    _look_closer,
    _be_less_sure,
    _look_twice,
)
