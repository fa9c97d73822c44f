"""Where time goes: what is written is what is read, and what is said follows from it by rule."""

from collections.abc import Callable
from pathlib import Path

import pytest

from pipeline import ensemble, infer, report
from pipeline import train as train_stage
from pipeline.config import Config
from pipeline.files import read_rows
from pipeline.paths import decoding_path
from pipeline.scores import spent as spent_module
from pipeline.scores.spent import (
    PARTS,
    Decoded,
    Spent,
    add_epoch,
    bound_by,
    decoded_by,
    fold_seconds,
    read_decoded,
    read_spent,
    together,
)
from running import CONFIG, RUN, run_all


def spent(gather: float = 0, augment: float = 0, step: float = 0, validate: float = 0, save: float = 0) -> Spent:
    seconds = dict(zip(PARTS, (gather, augment, step, validate, save), strict=True))
    return Spent(seconds, images=100, not_kept=0, memory=500)


def with_augment(**changed: object) -> Config:
    cfg = Config()
    return cfg.model_copy(update={"augment": cfg.augment.model_copy(update=changed)})


@pytest.mark.parametrize(
    ("changed", "parts", "said"),
    [
        ({}, {"gather": 1, "step": 93, "validate": 6}, "the steps take 93 % of the training: a smaller image.size"),
        ({}, {"step": 30, "validate": 60, "save": 10}, "validation takes 60 % of the training: fewer infer.views"),
        ({}, {"step": 30, "validate": 10, "save": 60}, "saving takes 60 % of the training: a faster disk"),
        (
            {"policy": "randaugment"},
            {"augment": 41, "step": 59},
            "training waited 41 % of its time for augmented images: augment.policy = 'trivialaugment' (one operation",
        ),
        (
            {"policy": "trivialaugment"},
            {"gather": 1, "augment": 40, "step": 59},
            "training waited 41 % of its time for augmented images: augment.policy = 'none' or a smaller image.size",
        ),
        (
            {"min_area": 0.3},
            {"augment": 41, "step": 59},
            "training waited 41 % of its time for augmented images: augment.min_area = 1.0 or a smaller image.size",
        ),
        (
            {"albumentations": "pipeline.json"},
            {"gather": 41, "step": 59},
            "training waited 41 % of its time for images that augment.albumentations changes one by one",
        ),
        ({}, {"gather": 41, "step": 59}, "training waited 41 % of its time for decoded images to be read: more memory"),
        ({}, {"gather": 19, "step": 81}, "the steps take 81 % of the training"),
        ({}, {}, "the steps take 0 % of the training"),
    ],
)
def test_what_bounds_a_training_is_said_by_rule(changed: dict[str, object], parts: dict[str, float], said: str) -> None:
    assert bound_by(with_augment(**changed), spent(**parts)).startswith(said)


def test_images_that_are_not_kept_are_named() -> None:
    own = Spent(spent(gather=50, step=50).seconds, 100, 1234, 0)
    assert "as 1,234 are not kept: make room on the disk, or raise image.cache_limit" in bound_by(Config(), own)


def test_prepare_is_bound_by_what_took_its_threads_longer() -> None:
    # 120 MB in ten seconds.
    assert decoded_by(Decoded(1000, 120.0, 10.0, reading=15.0, decoding=5.0)).startswith(
        "prepare read 12.0 MB/s from the disk, which took 75 % of its time"
    )
    assert decoded_by(Decoded(1000, 120.0, 10.0, reading=2.0, decoding=18.0)).startswith(
        "prepare decoded 100 files/s (12.0 MB/s), which took 90 % of its time"
    )


def test_epochs_add_up_over_lines_and_a_part_of_one_counts_nothing(competition: Callable[..., Config]) -> None:
    cfg = competition()
    path = fold_seconds(cfg, 0)
    path.parent.mkdir(parents=True)
    for epoch in (1, 2):
        add_epoch(
            path,
            {"epoch": epoch, "images": 10 * epoch, "not_kept": 3, "memory": 100 * epoch},
            {"gather": 1.0, "augment": 2.0, "step": 4.5, "save": 0.5},
        )
    with path.open("a") as stream:
        stream.write("3,30,3,300,1.0")  # it was killed
    found = read_spent(cfg)
    assert list(found) == ["0"]
    assert found["0"].seconds == {"gather": 2.0, "augment": 4.0, "step": 9.0, "validate": 0.0, "save": 1.0}
    assert (found["0"].images, found["0"].not_kept, found["0"].memory) == (30, 3, 200)
    assert found["0"].waited == pytest.approx(6 / 16)
    assert read_decoded(cfg) is None
    decoding_path(cfg).write_text("split,files,megabytes,seconds,reading,decoding\ntrain,2,1.5,3.0,4.0,2.0\ntest,2,1.")
    assert read_decoded(cfg) == Decoded(2, 1.5, 3.0, 4.0, 2.0)
    both = together([found["0"], found["0"]])
    assert both.total == 32.0 and both.images == 60 and both.memory == 200


def test_a_run_says_where_its_time_went_and_only_a_long_wait_at_its_end(
    competition: Callable[..., Config], capsys: pytest.CaptureFixture[str]
) -> None:
    cfg = competition()
    assert run_all() == 0
    capsys.readouterr()
    for fold in (0, 1):
        rows = read_rows(RUN / f"fold{fold}" / "seconds.csv")
        assert [row["epoch"] for row in rows] == ["1", "2"] and [row["images"] for row in rows] == ["12", "12"]
        assert all(int(row["memory"]) > 50 for row in rows), "torch alone takes more"
    decoded = read_decoded(cfg)
    num_bytes = sum(path.stat().st_size for path in [*cfg.root.glob("train/*.png"), *cfg.root.glob("test/*.png")])
    assert decoded is not None and decoded.files == 32 and decoded.megabytes == pytest.approx(num_bytes / 1e6, abs=1e-3)

    header = ",".join(("epoch", "images", "not_kept", "memory", *PARTS)) + "\n"
    for waited, is_said in ((20, True), (19, False)):
        for fold in (0, 1):
            fold_seconds(cfg, fold).write_text(f"{header}1,24,0,900,{waited}.0,0.0,{90 - waited}.0,10.0,0.0\n")
        decoding_path(cfg).write_text("split,files,megabytes,seconds,reading,decoding\ntrain,24,36.0,3.0,4.0,2.0\n")
        assert ensemble.main(CONFIG) == 0
        said = capsys.readouterr().out
        assert ("time: training waited 20 % of its time for decoded images to be read" in said) == is_said
    (RUN / "report.json").unlink(missing_ok=True)
    assert report.main(CONFIG) == 0
    page = (RUN / "report.html").read_text()
    assert "Seconds of training by what it did" in page and "The steps take 71 % of the training" in page
    assert "Prepare read 12.0 MB/s from the disk, which took 67 % of its time" in page


def test_a_training_that_goes_on_adds_to_its_seconds_and_a_new_one_begins_them(
    competition: Callable[..., Config], monkeypatch: pytest.MonkeyPatch
) -> None:
    competition()
    assert run_all() == 0
    path = RUN / "fold0" / "seconds.csv"
    before = path.read_text()
    (RUN / "fold0" / "model.safetensors").unlink()
    (RUN / "fold0" / "train.json").unlink()

    def killed(*arguments: object) -> None:
        add_epoch(*arguments)  # type: ignore[arg-type]
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(spent_module, "add_epoch", killed)
        assert train_stage.main([*CONFIG, "--fold", "0"]) == 130
    assert path.read_text() != before and [row["epoch"] for row in read_rows(path)] == ["1"]
    assert train_stage.main([*CONFIG, "--fold", "0"]) == infer.main([*CONFIG, "--fold", "0"]) == 0
    assert [row["epoch"] for row in read_rows(path)] == ["1", "2"]
    assert not list(Path(RUN).glob("fold0/resume*"))
