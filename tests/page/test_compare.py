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
from pipeline.scores.ledger import LEDGER
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


def test_ids_that_name_other_images_or_have_other_labels_are_left_out_and_counted(two: None) -> None:
    first, other = read_run("tiny"), read_run("other")
    assert first.facts.labelled is not None and first.facts.oof is not None and other.facts.oof is not None
    ids, targets = first.facts.labelled.samples.ids, first.facts.labelled.targets
    audit = [{**row, "sha256": "another"} if row["id"] in ids[:5] else row for row in other.facts.audit]
    relabelled = targets.copy()
    relabelled[3:9] = (relabelled[3:9] + 1) % 3
    facts = replace(other.facts, audit=audit, labelled=replace(first.facts.labelled, targets=relabelled))
    found = compared(first, replace(other, facts=facts))
    assert (found.num_images, found.num_other_images, found.num_other_labels) == (15, 5, 4)
    assert found.left_out == "of the ids in both are left out: 5 name other images, 4 have other labels"
    hits = []
    for oof in (first.facts.oof, other.facts.oof):
        said = dict(zip(oof.ids, oof.probs.full().argmax(1), strict=True))
        hits.append(np.mean([said[id_] == target for id_, target in list(zip(ids, targets, strict=True))[9:]]))
    assert found.value == pytest.approx(hits[1] - hits[0])
    nothing = compared(first, replace(other, facts=replace(other.facts, audit=[])))
    assert (nothing.value, nothing.num_other_images) == (None, 24), "unless an audit says so, nothing is the same"


def test_settings_are_those_that_models_were_trained_with(two: None, capsys: pytest.CaptureFixture[str]) -> None:
    assert ledger.main(["other", "0.25"]) == 0
    path = Path("configs/other.toml")
    path.write_text(path.read_text().replace("num_epochs = 2", "num_epochs = 7"))
    assert report.main(OTHER) == 0
    warning = "warning: model 0, model 1: train.num_epochs (2 -> 7) changed since"
    assert f"report: {warning}" in capsys.readouterr().out
    assert report.main(["tiny", "other"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert " 0.25 " in lines[2], "the score on the leaderboard is of the run as it was made"
    assert [line for line in lines if line.startswith("train.")] == []
    assert warning.replace("warning:", "warning: other:") in lines
    assert warning.removeprefix("warning: ") in Path("output/compare.html").read_text().replace("&gt;", ">")


def test_a_page_that_was_moved_or_copied_is_another_runs(two: None, capsys: pytest.CaptureFixture[str]) -> None:
    shutil.copytree("output/other", "output/a b")
    Path("output/other").rename("output/moved")
    for name, quoted in (("moved", "moved"), ("a b", "'configs/a b.toml'")):
        assert report.main(["tiny", name]) == 1
        said = capsys.readouterr().err
        assert f"output/{name} holds a page of other, moved or copied: compare other" in said and quoted in said


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
        (["--", "-dash", "tiny"], "Got -dash: output/-dash/report.json is not there or older"),
        (["tiny", "no body"], "made by: python -m pipeline.report --config 'configs/no body.toml'"),
        (["tiny", "nobody"], "RUN must be the name of a run that has a page. Got nobody"),
    ],
)
def test_mistakes(two: None, capsys: pytest.CaptureFixture[str], names: list[str], said: str) -> None:
    assert report.main(names) == 1
    assert said in capsys.readouterr().err


def test_a_name_that_begins_with_a_dash(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        report.main(["-dash", "tiny"])
    said = capsys.readouterr().err
    assert "A name that begins with a dash stands behind --: python -m pipeline.report -- RUN RUN ..." in said


def test_a_ledger_that_is_none_stops_no_comparison(two: None, capsys: pytest.CaptureFixture[str]) -> None:
    LEDGER.write_text("a,b\n1,2\n")
    assert report.main(["tiny", "other"]) == 0
    out = capsys.readouterr().out
    assert "warning: tiny: output/ledger.csv must have the columns" in out and "report: output/compare.html" in out


def test_a_config_that_was_changed_since_is_said(two: None, capsys: pytest.CaptureFixture[str]) -> None:
    path = Path("configs/other.toml")
    path.write_text(path.read_text().replace("hflip", "vflip"))
    assert report.main(["tiny", "other"]) == 1
    assert "Those of other are others than its page's: run it again, or undo the change" in capsys.readouterr().err
