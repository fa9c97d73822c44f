"""The ledger: a line for every finished run, a score of the leaderboard that nothing overwrites; what a run says."""

import json
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from pipeline import ensemble, ledger, report
from pipeline.config import Config
from pipeline.files import InputError
from pipeline.freshness import config_hash
from pipeline.scores import ledger as kept
from pipeline.scores.ledger import FIELDS, LEDGER, Line, leaderboard_of, seconds_by_stage
from running import CONFIG, RUN, run_all, run_sh


def read_ledger() -> list[Line]:
    return list(kept.read_ledger().lines)


def test_a_finished_run_is_entered_once(trained: Config) -> None:
    for _ in range(2):
        assert report.main(CONFIG) == 0
    (line,) = read_ledger()
    scores = json.loads((RUN / "scores.json").read_text())
    assert (line.run, line.metric, line.leaderboard) == ("tiny", "accuracy", "")
    assert float(line.cv) == pytest.approx(scores["cv"], rel=1e-5)
    assert [float(line.low), float(line.high)] == pytest.approx(scores["interval"], rel=1e-5)


def test_a_run_with_other_settings_has_another_line(trained: Config) -> None:
    assert report.main(CONFIG) == 0
    views = ["--set", 'infer.views=["hflip"]']
    from pipeline import infer

    assert infer.main([*CONFIG, *views]) == ensemble.main([*CONFIG, *views]) == report.main([*CONFIG, *views]) == 0
    first, second = read_ledger()
    assert first.run == second.run and first.config != second.config
    assert ledger.main(["tiny", "0.5"]) == 0
    assert [line.leaderboard for line in read_ledger()] == ["", "0.5"], "the last is what was submitted last"


def test_a_run_that_is_not_whole_has_none(trained: Config) -> None:
    shutil.rmtree(RUN / "fold1")
    assert ensemble.main(CONFIG) == report.main(CONFIG) == 0
    assert read_ledger() == []


def test_a_leaderboard_score_is_not_overwritten_in_silence(trained: Config, capsys: pytest.CaptureFixture[str]) -> None:
    assert report.main(CONFIG) == 0
    (RUN / "report.json").unlink()
    assert ledger.main(["tiny", "0.8125"]) == ledger.main(["tiny", "0.8125"]) == 0
    assert ledger.main(["tiny", "0.9"]) == 1
    said = capsys.readouterr().err
    assert "is 0.8125 already" in said and said.strip().endswith("python -m pipeline.ledger --replace tiny 0.9")
    (line,) = read_ledger()
    assert line.leaderboard == "0.8125"
    # Nor by the run itself, whatever it is by now.
    (RUN / "seconds.csv").write_text("stage,fold,seconds\ntrain,0,90.000\n")
    assert report.main(CONFIG) == 0 and read_ledger() == [line]
    assert ledger.main(["tiny", "0.9", "--replace"]) == 0
    assert [line.leaderboard for line in read_ledger()] == ["0.9"]


def test_without_a_leaderboard_score_the_line_is_that_of_the_last_run(trained: Config) -> None:
    assert report.main(CONFIG) == 0
    (RUN / "seconds.csv").write_text("stage,fold,seconds\ntrain,0,90.000\n")
    assert report.main(CONFIG) == 0
    assert [line.minutes for line in read_ledger()] == ["1.5"]


@pytest.mark.parametrize(
    "setting", ["train.num_epochs=9", 'infer.views=["hflip"]', "data.sample_submission=answers.csv"]
)
def test_settings_that_the_run_was_not_made_with_are_not_entered(trained: Config, setting: str) -> None:
    assert report.main([*CONFIG, "--set", setting]) == 0
    assert read_ledger() == []


@pytest.mark.parametrize(
    ("arguments", "status", "said"),
    [
        (["other", "0.5"], 1, "must be a finished run in output/ledger.csv. Got other, of tiny; a line is added by"),
        (["tiny", "nan"], 2, "argument SCORE: must be a number, with a point. Got 'nan'"),
        (["tiny", "0,99"], 2, "argument SCORE: must be a number, with a point. Got '0,99'"),
        (
            ["tiny", "-1"],
            1,
            "SCORE must be what the leaderboard says, for accuracy from 0 to 1, or in percent. Got -1.0",
        ),
        (["tiny", "100.5"], 1, "or in percent. Got 100.5"),
        (
            ["-dash", "0.5"],
            2,
            "A name that begins with a dash stands behind --: python -m pipeline.ledger -- RUN SCORE",
        ),
        (["--", "a b", "0.5"], 1, "python -m pipeline.report --config 'configs/a b.toml'"),
        (["tiny"], 2, "SCORE"),
    ],
)
def test_mistakes(
    workplace: Path, capsys: pytest.CaptureFixture[str], arguments: list[str], status: int, said: str
) -> None:
    write(TINY)
    try:
        found = ledger.main(arguments)
    except SystemExit as end:
        found = end.code  # type: ignore[assignment]
    assert found == status and said in capsys.readouterr().err


TINY = ("tiny", "abc", "accuracy", "0.5", "0.4", "0.6", "1.0", "")


def write(*rows: tuple[str, ...], separator: str = ",", encoding: str = "utf-8", more: tuple[str, ...] = ()) -> None:
    """A ledger as spreadsheets save one."""
    lines = [separator.join(row) for row in [(*FIELDS, *more), *rows]]
    LEDGER.write_bytes("\r\n".join([*lines, ""]).encode(encoding))


@pytest.mark.parametrize("separator", [",", ";", "\t"])
@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16"])
def test_what_spreadsheets_make_of_it_is_read_and_kept(workplace: Path, separator: str, encoding: str) -> None:
    """Other separators, a mark before the text, UTF-16; columns and rows of the user's own; cells that are left out."""
    write((*TINY, "my best"), TINY[:7], ("",) * 9, separator=separator, encoding=encoding, more=("note",))
    assert ledger.main(["tiny", "0.8123456"]) == 0
    text = LEDGER.read_bytes().decode(encoding)
    assert text.splitlines() == [
        separator.join((*FIELDS, "note")),
        separator.join((*TINY, "my best")),
        separator.join((*TINY[:7], "0.8123456", "")),
    ]
    assert (encoding == "utf-8-sig") == LEDGER.read_bytes().startswith(b"\xef\xbb\xbf")


def test_columns_may_stand_in_any_order(workplace: Path) -> None:
    LEDGER.write_text("note,leaderboard,run,config,metric,cv,low,high,minutes\nmine,0.5,tiny,abc,accuracy,1,2,3,4\n")
    assert kept.read_ledger().lines == [Line("tiny", "abc", "accuracy", "1", "2", "3", "4", "0.5", ("mine",))]


@pytest.mark.parametrize("cell", ["0.98%", "'0,98'", "nan", "good"])
def test_a_score_that_is_none_is_said_and_can_be_replaced(
    workplace: Path, capsys: pytest.CaptureFixture[str], cell: str
) -> None:
    write((*TINY[:7], cell), separator=";")
    assert ledger.main(["tiny", "0.98"]) == 1
    said = capsys.readouterr().err
    assert "must be a number, with a point. Got" in said
    assert said.strip().endswith("python -m pipeline.ledger --replace tiny SCORE")
    with pytest.raises(InputError, match="must be a number"):
        assert read_ledger()[0].score
    assert ledger.main(["tiny", "0.98", "--replace"]) == 0 and read_ledger()[0].score == 0.98


def test_a_hash_is_no_number_and_lines_of_before_are_known(trained: Config) -> None:
    """Of 12345e67 and of 00123456 a spreadsheet makes another number."""
    assert report.main(CONFIG) == 0
    (line,) = read_ledger()
    assert line.config == f"h{config_hash(trained)}"
    write((line.run, config_hash(trained), line.metric, line.cv, line.low, line.high, line.minutes, "0.75"))
    assert report.main(CONFIG) == 0
    (line,) = read_ledger()
    assert line.leaderboard == "0.75" and leaderboard_of(trained) == 0.75


@pytest.mark.parametrize("text", ["a,b\n1,2\n", f"{','.join(FIELDS)}\n{','.join(TINY)},,too many\n", "run,\xff\n"])
def test_another_table_in_its_place_is_left_alone_and_stops_no_page(
    trained: Config, capsys: pytest.CaptureFixture[str], text: str
) -> None:
    LEDGER.write_bytes(text.encode("latin-1"))
    assert report.main(CONFIG) == 0
    said = capsys.readouterr().out
    assert "report: warning: the run is not in the ledger. output/ledger.csv must " in said
    assert LEDGER.read_bytes() == text.encode("latin-1") and (RUN / "report.html").is_file()
    assert ledger.main(["tiny", "0.5"]) == 1


def test_a_whole_run_ends_with_its_models_files_and_submission(
    competition: Callable[..., Config], capsys: pytest.CaptureFixture[str]
) -> None:
    competition()
    assert run_sh() == 0
    lines = capsys.readouterr().out.splitlines()
    table = lines.index("fold  accuracy  epochs  minutes")
    scores = json.loads((RUN / "scores.json").read_text())
    for fold in (0, 1):
        name, score, epochs, minutes = lines[table + 1 + fold].split()
        assert (name, score, epochs) == (str(fold), f"{scores['folds'][str(fold)]:.5f}", "2")
        assert minutes == "-" or float(minutes) >= 0
    assert lines[table + 3].startswith(f"CV accuracy: {scores['cv']:.5f}")
    files = next(line for line in lines if line.startswith("files: output/tiny/ ("))
    assert "fold0/, fold1/, oof.parquet" in files
    assert lines[-2:] == ["submission: output/tiny/submission.csv", "report: output/tiny/report.html"]
    assert sum(line.startswith("fold  ") for line in lines) == 1, "once, where all models are there"


def test_a_line_that_a_kill_cut_is_passed_over(trained: Config) -> None:
    path = RUN / "seconds.csv"
    path.write_text("stage,fold,seconds\ntrain,0,90.000\ntrain,1,30.000\ninfer,0,30.000\ntra")
    assert seconds_by_stage(trained) == {"train": 120.0, "infer": 30.0}
    path.write_text(path.read_text().removesuffix("tra") + "train,1,")
    assert seconds_by_stage(trained) == {"train": 120.0, "infer": 30.0}
    assert report.main(CONFIG) == 0 and read_ledger()[0].minutes == "2.5"


def test_a_run_without_all_its_models_has_no_such_end(
    competition: Callable[..., Config], capsys: pytest.CaptureFixture[str]
) -> None:
    competition()
    assert run_all() == 0
    shutil.rmtree(RUN / "fold1")
    capsys.readouterr()
    assert ensemble.main(CONFIG) == 0
    out = capsys.readouterr().out
    assert "1 of 2 models are ready" in out and "files: " not in out and "next: " not in out
