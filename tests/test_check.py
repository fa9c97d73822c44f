"""A submission made elsewhere goes through the gate; and what speaks against one is said before the last line."""

import json
from collections.abc import Callable

import numpy as np
import pytest
from sklearn.metrics import accuracy_score, f1_score, log_loss, mean_absolute_error, roc_auc_score

from making import write_table
from pipeline import check, ensemble
from pipeline.competition.answers.probs import Probs
from pipeline.competition.answers.scoring import prior_score
from pipeline.competition.answers.task import Task
from pipeline.config import Config
from running import CONFIG, RUN

IDS = [f"{number:03d}" for number in range(8)]
ROWS = [[id_, ["ant", "bee", "cow"][number % 3]] for number, id_ in enumerate(IDS)]


@pytest.mark.parametrize(
    ("header", "rows", "message"),
    [
        (["id", "label"], ROWS, ""),
        (["id", "name"], ROWS, "the header must be id,label. Got id,name"),
        (
            ["id", "label"],
            [*ROWS[2:], ["999", "ant"], ["002", "ant"]],
            "Of 8, 2 are missing (000, 001), 1 are not in the sample (999), 1 appear more than once (002)",
        ),
        (["id", "label"], ROWS[::-1], "Of 8, some are in another order"),
        (["id", "label"], [[id_, "x" * 500] for id_ in IDS], f"labels are no train class ({'x' * 80}...)"),
        (["id;label"], [[f"{id_};{name}"] for id_, name in ROWS], "cells must have ',' between them. Got ';'"),
    ],
)
def test_the_gate_alone(
    competition: Callable[..., Config],
    capsys: pytest.CaptureFixture[str],
    header: list[str],
    rows: list[list[object]],
    message: str,
) -> None:
    cfg = competition()
    write_table(cfg.root / "mine.csv", header, rows)
    status = check.main([str(cfg.root / "mine.csv"), *CONFIG])
    said = capsys.readouterr()
    if message:
        assert status == 1 and message in said.err and said.err.count("\n") == 1 and len(said.err) < 400
    else:
        assert status == 0 and "mine.csv has the form that is asked for: 8 rows" in said.out
    assert check.main([str(cfg.root / "none.csv"), *CONFIG]) == 1 and "does not exist" in capsys.readouterr().err


def test_one_answer_for_all_is_said(competition: Callable[..., Config], capsys: pytest.CaptureFixture[str]) -> None:
    cfg = competition()
    write_table(cfg.root / "mine.csv", ["id", "label"], [[id_, "bee"] for id_ in IDS])
    assert check.main([str(cfg.root / "mine.csv"), *CONFIG]) == 0
    assert "every row says the same, 'bee'" in capsys.readouterr().out


@pytest.mark.parametrize("metric", ["accuracy", "log_loss", "roc_auc", "mae", "micro_f1"])
def test_the_score_of_always_saying_the_same_is_that_of_scikit_learn(metric: str) -> None:
    draws = np.random.default_rng(0)
    targets = (draws.random(50) < 0.3).astype(np.int64)
    kind = {"mae": "number", "micro_f1": "multi"}.get(metric, "single")
    task = Task(kind, ("no", "yes"), metric, ("y",))
    wanted = {
        "accuracy": lambda own: accuracy_score(own, np.zeros(len(own))),
        "log_loss": lambda own: log_loss(own, np.tile([1 - own.mean(), own.mean()], (len(own), 1))),
        "roc_auc": lambda own: roc_auc_score(own, np.full(len(own), own.mean())),
        "mae": lambda own: mean_absolute_error(own, np.full(len(own), own.mean())),
        "micro_f1": lambda own: f1_score(own, np.tile([1, 0], (len(own), 1)), average="micro"),
    }[metric]
    if kind == "multi":
        targets = np.stack([1 - targets, targets], 1).astype(np.float32)
    elif kind == "number":
        targets = draws.random((50, 1)).astype(np.float32)
    oof = {"0": (np.arange(0, 40, 2), Probs.dense(np.zeros((20, task.num_outputs), np.float32)))}
    assert prior_score(task, targets, oof) == pytest.approx(wanted(targets[:40:2]), abs=1e-6)
    assert prior_score(task, targets, {}) is None


def test_a_run_that_has_learnt_nothing_says_so_before_its_last_line(
    trained: Config, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """The scores of a run that is well have no word of it."""
    assert not {"warnings", "prior"} & set(json.loads((RUN / "scores.json").read_text()))
    monkeypatch.setattr("pipeline.scores.measure.prior_score", lambda *arguments: 1.0)
    monkeypatch.setattr("pipeline.competition.answers.submission.one_answer", lambda *arguments: "'bee'")
    (RUN / "ensemble.json").unlink()
    capsys.readouterr()
    for _ in range(2):
        assert ensemble.main(CONFIG) == 0
        *_, warning, last = capsys.readouterr().out.splitlines()
        assert last == "submission: output/tiny/submission.csv"
        assert warning.startswith(
            "ensemble: warning: every row of the submission says the same, 'bee'; the CV accuracy"
        )
        assert "is no better than always saying the commonest class, or how often each is (1.00000)" in warning
