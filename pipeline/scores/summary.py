"""What is said of a run: how much of it there is, its models and CV score, what to do next, its submission; in
milliseconds where all is done.
"""

from collections.abc import Mapping, Sequence
from typing import Any

from pipeline.audit.doubt_lines import qualified
from pipeline.config import Config
from pipeline.files import InputError, inside, read_rows
from pipeline.freshness import Inputs
from pipeline.log import log
from pipeline.paths import all_folds, data_dir, fold_dir, run_dir
from pipeline.scores.ledger import seconds_of
from pipeline.scores.spent import LARGE, bound_by, read_spent, together
from pipeline.text_table import text_table

# Why the images are left out, without which scores.json has a score too.
_SEEN = {
    "without_versions": "have a version in another fold",
    "without_alike": "have a version in another fold or are alike to an image there (alike.csv)",
}


def say(cfg: Config, ready: Sequence[int | str], scores: Mapping[str, Any], inputs: Inputs) -> None:
    """Say what there is: models, CV score and spread, the submission, and its score where answers are known; of a run
    that is whole also a table of its models, where its files are, and what to do next.

    Args:
        cfg: the settings.
        ready: the models whose predictions are in the submission.
        scores: as scores.json holds them.
        inputs: what is here.
    """
    is_whole = bool(ready) and list(ready) == all_folds(cfg)
    if is_whole:
        for line in _models(cfg, scores):
            log.info("%s", line)
    elif len(ready) < len(all_folds(cfg)):
        log.info("ensemble: %s of %s models are ready so far", len(ready), len(all_folds(cfg)))
    if "probe" in scores:
        log.info("ensemble: %s", _of_probe(scores))
    _say_cv(cfg, scores, inputs)
    _say_doubts(cfg, scores)
    if cfg.data.answers:
        _say_score_on_answers(cfg, inputs, scores)
    if is_whole:
        log.info("files: %s/ (%s)", run_dir(cfg), ", ".join(_files(cfg)))
        _say_time(cfg)
        for step in scores.get("next", []):
            log.info("next: %s", step)
    for line in scores.get("warnings", []):
        log.warning("ensemble: warning: %s", line)
    log.info("submission: %s", run_dir(cfg) / "submission.csv")


def _models(cfg: Config, scores: Mapping[str, Any]) -> list[str]:
    """A table of the models: score, epochs, and minutes of training and inference, where they are known."""
    seconds: dict[str, float] = {}
    for row in seconds_of(cfg):
        if row["stage"] in ("train", "infer"):
            seconds[row["fold"]] = seconds.get(row["fold"], 0.0) + float(row["seconds"])
    rows = []
    for fold in map(str, all_folds(cfg)):
        score = scores["folds"].get(fold)
        epochs = len(read_rows(fold_dir(cfg, fold) / "history.csv"))
        minutes = f"{seconds[fold] / 60:.1f}" if fold in seconds else "-"
        rows.append([fold, "-" if score is None else f"{score:.5f}", str(epochs or "-"), minutes])
    return text_table(("fold", scores["metric"], "epochs", "minutes"), rows)


def _say_time(cfg: Config) -> None:
    """Say what training waited for, where that was long."""
    spent = together(list(read_spent(cfg).values()))
    if spent.waited >= LARGE:
        log.info("time: %s", bound_by(cfg, spent))


def _files(cfg: Config) -> list[str]:
    """The files of a run that are there, those of models by the folders that they are in."""
    names = ("oof.parquet", "test.parquet", "scores.json", "doubts.csv", "alike.csv", "audit.csv", "config.toml")
    models = [f"{fold_dir(cfg, fold).name}/" for fold in all_folds(cfg)]
    return [*models, *(name for name in names if (run_dir(cfg) / name).is_file())]


def _say_cv(cfg: Config, scores: Mapping[str, Any], inputs: Inputs) -> None:
    """Say the CV score, how sure it is, and what it is without images that have a version in another fold."""
    for fold, value in scores["folds"].items():
        if value is None:
            log.info("ensemble: %s is undefined on fold %s", scores["metric"], fold)
    if scores["cv"] is not None:
        spread = "one fold: no spread" if scores["std"] is None else f"std over folds {scores['std']:.5f}"
        interval = "; 95 % of resamples: {:.5f} to {:.5f}".format(*scores["interval"]) if "interval" in scores else ""
        log.info("CV %s: %.5f (%s%s)", scores["metric"], scores["cv"], spread, interval)
        for name, what in _SEEN.items():
            rest = scores.get(name, {"cv": None})
            if rest["cv"] is not None:
                log.info(
                    "CV %s: %.5f without %s images that %s", scores["metric"], rest["cv"], f"{rest['left_out']:,}", what
                )
    elif not scores["folds"]:
        why = "no fold is ready yet" if cfg.folds.num_folds else "folds.num_folds is 0"
        why = why if inputs.has_train else "there are no train images"
        log.info("CV %s: none, %s", scores["metric"], why)


def _say_doubts(cfg: Config, scores: Mapping[str, Any]) -> None:
    """Say how many labels may be wrong, where they are listed, and how far that can be trusted."""
    if scores.get("doubts"):
        where = run_dir(cfg) / "doubts.csv"
        log.info("labels that may be wrong: %s, the most doubtful first in %s", f"{scores['doubts']:,}", where)
    for line in qualified(scores):
        log.info("labels that may be wrong: %s", line)


def _of_probe(scores: Mapping[str, Any]) -> str:
    """What part the probe has in the submission, and why."""
    share = scores["probe"]["share"]
    known = {name: value for name, value in scores["probe"]["cv"].items() if value is not None}
    said = ", ".join(f"{name} {value:.5f}" for name, value in known.items() if len(known) > 1)
    said = f" ({scores['metric']} on the folds that are ready: {said})" if said else ""
    if share == 1:
        return f"the submission is the probe's, a classifier on the frozen network{said}"
    if share == 0:
        return f"the submission is the trained networks', without the probe{said}"
    return f"the submission is the trained networks' and to {share:.0%} the probe's{said}"


def _say_score_on_answers(cfg: Config, inputs: Inputs, scores: Mapping[str, Any]) -> None:
    """Say how the submission scores on `data.answers`: read here and nowhere else, after the submission is written."""
    path = inside(data_dir(cfg), cfg.data.answers, "data.answers")
    if not path.is_file():
        log.info("answers: %s is not there, so the test score is unknown", path)
        return
    from pipeline.scores.measure import score_on_answers

    try:
        value = score_on_answers(cfg, inputs, path, scores)
    except InputError as error:  # what only scores stops no run
        log.warning("answers: warning: the test score is unknown. %s", error)
        return
    if value is not None:
        log.info("score on the hidden answers: %.5f", value)
