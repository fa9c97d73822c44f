"""What to do next: each rule speaks where the run shows it, and is silent where not."""

from typing import Any

import pytest

from pipeline.config import Config
from pipeline.config_file import check
from pipeline.scores.advice import RULES, Evidence, next_steps


def run(settings: dict[str, dict[str, Any]] | None = None, **shown: Any) -> Evidence:
    """A run of five networks, of which nothing speaks for a change."""
    values = Config().model_dump(mode="json")
    for section, changed in (settings or {}).items():
        values[section] |= changed
    usual = {"kind": "single", "num_networks": 5, "sure": 0.8, "right": 0.8, "num_images": 1000, "side": 224.0}
    return Evidence(check(values), **{**usual, "histories": [epochs([1.0, 0.7, 0.6, 0.6])] * 5, **shown})


def epochs(valid: list[float], train: list[float] | None = None) -> list[dict[str, float]]:
    """The losses of a training."""
    return [{"train_loss": t, "valid_loss": v} for t, v in zip(train or valid, valid, strict=True)]


FALLING = [2.0, 1.8, 1.6, 1.4, 1.3, 1.2, 1.1, 1.0, 0.9, 0.8]
RISING = [1.0, 0.6, 0.5, 0.6, 0.7, 0.8, 0.9, 0.9]
LOW = [0.9, 0.5, 0.3, 0.2, 0.1, 0.1, 0.1, 0.1]
ALIKE = {"augment": {"policy": "trivialaugment"}}


@pytest.mark.parametrize(
    ("shown", "begins"),
    [
        (run(num_networks=0, histories=[]), "train networks: the submission is that of the probe alone. python -m "),
        (
            run({"train": {"time_limit": "15m", "num_epochs": 4}}, asked_epochs=10),
            "a longer train.time_limit than 15m: 4 of 10 epochs fit into it",
        ),
        (
            run(histories=[epochs([1.0, 0.8], [1.0, 0.2])] * 2, num_images=20_000),
            'augment.policy = "trivialaugment": the networks know their images by heart, the loss is 0.200 in '
            "training, 0.800 in validation",
        ),
        (
            run(ALIKE | {"train": {"num_epochs": 8}}, histories=[epochs(RISING, LOW)] * 2),
            "train.num_epochs = 3: the validation loss was least there, 0.500, and is 0.900 after 8",
        ),
        (
            run(histories=[epochs(FALLING)] * 2),
            "train.num_epochs = 20: at the end of 10 epochs the validation loss still fell from 1.000 to 0.800, and is "
            "not far from that in training, 0.800",
        ),
        (
            run(histories=[epochs([1.9, 1.2, 0.9], [1.8, 1.1, 0.7])] * 3),
            "train.num_epochs = ",
        ),
        (
            run({"image": {"size": 128}}, side=533.0),
            "image.size = 192: test images have 533 pixels on their longer side, networks see 128",
        ),
        (
            run(sure=0.93, right=0.81),
            "train.label_smoothing = 0.1: out of fold the likeliest class has a probability of 0.93 and is right in "
            "0.81 of 1,000 images",
        ),
        (run({"augment": {"hflip": 0.5}}), 'infer.views = ["identity", "hflip"]: '),
    ],
)
def test_what_a_run_shows_is_said(shown: Evidence, begins: str) -> None:
    (step,) = next_steps(shown)
    assert step.startswith(begins)


@pytest.mark.parametrize(
    "shown",
    [
        run(),
        run(kind="number", sure=None, right=None, histories=[epochs([1.0, 0.8], [1.0, 0.2])], num_images=20_000),
        run(histories=[]),  # models of all images alone
        run(histories=[epochs([1.0, 0.8], [1.0, 0.2])], num_images=1000),  # few images are learnt better as they are
        run(histories=[epochs([1.0, 0.8], [1.0, 0.2]), epochs([0.5, 0.5])], num_images=20_000),  # of one fold alone
        run(ALIKE, histories=[epochs([1.0, 0.8], [1.0, 0.2])], num_images=20_000),  # they are changed already
        run({"train": {"time_limit": "15m"}}, histories=[epochs(FALLING)], asked_epochs=10),
        run(sure=0.93, right=0.81, num_images=20),  # too few to say so
        run({"train": {"label_smoothing": 0.1}}, sure=0.95, right=0.8),
        run(sure=0.7, right=0.9),
        run({"image": {"size": 128}}, side=200.0),
        run({"image": {"size": 384}}, side=2000.0),
        run({"augment": {"hflip": 0.5}, "infer": {"views": ["identity", "hflip"]}}),
        run(num_images=0, sure=None, right=None, side=None),
    ],
)
def test_where_nothing_is_certain_nothing_is_said(shown: Evidence) -> None:
    assert next_steps(shown) == []


def test_there_are_three_at_most() -> None:
    shown = run(
        {"image": {"size": 128}, "augment": {"hflip": 0.5}},
        histories=[epochs(RISING, LOW)],
        sure=0.95,
        right=0.8,
        num_images=20_000,
        side=600.0,
    )
    steps = next_steps(shown)
    assert len(steps) == 3 < len(RULES)
    assert [step.split(" ")[0] for step in steps] == ["augment.policy", "train.num_epochs", "image.size"]
