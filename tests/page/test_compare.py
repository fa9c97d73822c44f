"""Runs beside each other: the page, the table, and who may not be compared."""

import json
import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from pipeline import ensemble, infer, ledger, report
from pipeline.competition.answers.predictions import Predictions
from pipeline.competition.answers.probs import Probs
from pipeline.config import Config
from pipeline.page.compare import compared, read_run, settings_that_differ
from running import CONFIG, RUN

OTHER = ["--config", "configs/other.toml"]


@pytest.fixture
def two(trained: Config) -> None:
    """A run, and another of the same models that looks at mirrored images."""
    shutil.copytree(RUN, "output/other")
    text = Path("configs/tiny.toml").read_text()
    Path("configs/other.toml").write_text(f'{text}\n[infer]\nviews = ["hflip"]\n')
    assert report.main(CONFIG) == infer.main(OTHER) == ensemble.main(OTHER) == report.main(OTHER) == 0


def cv_of(name: str) -> float:
    return float(json.loads(Path(f"output/{name}/scores.json").read_text())["cv"])


def test_the_difference_is_that_of_the_scores(two: None, capsys: pytest.CaptureFixture[str]) -> None:
    assert ledger.main(["other", "0.25"]) == ledger.main(["tiny", "0.875"]) == 0
    capsys.readouterr()
    assert report.main(["tiny", "other"]) == 0
    out = capsys.readouterr().out
    page = Path("output/compare.html").read_text(encoding="utf-8")
    difference = cv_of("other") - cv_of("tiny")
    assert difference < -0.2, "the corner that shows the label is another one in the mirror"
    found = compared(read_run("tiny"), read_run("other"))
    assert found.num_images == 24 and found.value == pytest.approx(difference)
    assert found.interval is not None and found.interval.low <= difference <= found.interval.high < 0
    assert found.verdict(higher_is_better=True) == "worse" and found.verdict(higher_is_better=False) == "better"
    head, first, second, *settings = out.splitlines()[:-1]
    assert " ".join(head.split()) == "run CV 95 % of resamples minutes leaderboard less that of tiny"
    assert first.startswith("tiny ") and f"accuracy {cv_of('tiny'):.5f}" in first and "0.875" in first
    assert second.startswith("other ") and " 0.25 " in second and f"{difference:+.5f}" in second
    assert settings == ['infer.views: ["identity"] in tiny, ["hflip"] in other']
    assert out.splitlines()[-1] == "report: output/compare.html"
    assert f'data-key="{difference}"' in page and "infer.views" in page and "0.2500" in page and "worse" in page
    assert "<figcaption>CV against leaderboard</figcaption>" in page


def test_a_run_and_its_copy_are_not_told_apart(two: None) -> None:
    found = compared(read_run("tiny"), read_run("tiny"))
    assert found.value == 0 and found.verdict(higher_is_better=True) == "not told apart"


def test_images_are_paired_by_their_ids(two: None) -> None:
    """Whatever their order, and where each run predicts some that the other does not."""
    generator, first, other = np.random.default_rng(0), read_run("tiny"), read_run("other")
    assert first.facts.labelled is not None and first.facts.oof is not None
    truth = dict(zip(first.facts.labelled.samples.ids, first.facts.labelled.targets, strict=True))
    right, runs = [], []
    for run, ids in ((first, list(truth)[:20]), (other, list(truth)[:3:-1])):
        probs = generator.dirichlet([1, 1, 1], len(ids))
        right.append({id_: own.argmax() == truth[id_] for id_, own in zip(ids, probs, strict=True)})
        oof = Predictions(ids, first.facts.oof.classes, Probs.dense(probs.astype(np.float32)))
        runs.append(replace(run, facts=replace(run.facts, oof=oof)))
    both = [id_ for id_ in right[0] if id_ in right[1]]
    found = compared(*runs)
    assert found.num_images == len(both) == 16
    assert found.value == pytest.approx(np.mean([int(right[1][id_]) - int(right[0][id_]) for id_ in both]))
    assert found.value != 0 and found.interval is not None and found.interval.low < found.value < found.interval.high


def test_settings_are_those_of_the_call_too(trained: Config) -> None:
    assert report.main([*CONFIG, "--set", "train.checkpoint_minutes=7"]) == 0
    run = read_run("tiny")
    assert run.facts.cfg.train.checkpoint_minutes == 7
    assert settings_that_differ([run, run]) == []


def test_another_metric_is_not_compared(two: None) -> None:
    first, other = read_run("tiny"), read_run("other")
    task = replace(other.facts.task, metric="macro_f1")
    found = compared(first, replace(other, facts=replace(other.facts, task=task)))
    assert (found.value, found.verdict(True)) == (None, "another metric or other classes")


@pytest.mark.parametrize(
    ("names", "said"),
    [
        (["tiny"], "two runs or more must be named to be compared, each once. Got: tiny"),
        (["tiny", "tiny"], "each once"),
        (["tiny", "nobody"], "RUN must be the name of a run that has a page. Got nobody"),
    ],
)
def test_mistakes(two: None, capsys: pytest.CaptureFixture[str], names: list[str], said: str) -> None:
    assert report.main(names) == 1
    assert said in capsys.readouterr().err


def test_a_config_that_was_changed_since_is_said(two: None, capsys: pytest.CaptureFixture[str]) -> None:
    path = Path("configs/other.toml")
    path.write_text(path.read_text().replace("hflip", "vflip"))
    assert report.main(["tiny", "other"]) == 1
    assert "Those of other are others than its page's: run it again, or undo the change" in capsys.readouterr().err
