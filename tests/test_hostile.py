"""Files, names and settings that are meant to harm: nothing outside the roots is read or written, nothing hangs."""

import csv
import os
import re
import signal
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from PIL import Image

from making import picture, read_table, write_table
from pipeline import detect, prepare
from pipeline.config import Config
from running import CONFIG, RUN, run_all

ROOT = Path("input/tiny")
ESCAPES = "\x1b[31mred\x1b]0;title\x07\x9b2J<script>alert(1)</script>\u202e"


@pytest.fixture(autouse=True)
def nothing_hangs() -> Iterator[None]:
    def give_up(number: int, frame: object) -> None:
        raise AssertionError("it hangs")

    signal.signal(signal.SIGALRM, give_up)
    signal.alarm(600)  # however slow the machine is at the moment
    yield
    signal.alarm(0)


@pytest.mark.parametrize("name", ["train/003.png", "test/003.png", "train.csv", "sample_submission.csv"])
@pytest.mark.parametrize("kind", ["pipe", "device", "endless", "loop", "folder"])
def test_what_is_no_file_is_not_opened(
    competition: Callable[..., Config], capsys: pytest.CaptureFixture[str], name: str, kind: str
) -> None:
    competition()
    path = ROOT / name
    path.unlink()
    if kind == "pipe":
        os.mkfifo(path)
    elif kind == "folder":
        path.mkdir()
    else:
        path.symlink_to({"device": "/dev/tty", "endless": "/dev/zero", "loop": path.name}[kind])
    assert run_all() == 1
    said = capsys.readouterr().err
    assert said.count("\n") == 1 and re.search("does not exist|are missing|leads to itself", said)
    capsys.readouterr()
    assert detect.main(["--config", str(ROOT)]) in (0, 1)


def test_a_label_changes_no_terminal_and_arrives_as_it_is(
    competition: Callable[..., Config], capsys: pytest.CaptureFixture[str]
) -> None:
    competition()
    table = ROOT / "train.csv"
    table.write_text(table.read_text().replace("cow", ESCAPES), encoding="utf-8")
    (ROOT / "answers.csv").unlink()
    assert run_all() == 0
    header, rows = read_table(RUN / "submission.csv")
    assert {label for _, label in rows} <= {"ant", "bee", ESCAPES}
    write_table(ROOT / "answers.csv", header, [[id_, f"{ESCAPES}?"] for id_, _ in rows])
    assert run_all() == 0
    for said in (*capsys.readouterr(), (RUN / "log.txt").read_text(encoding="utf-8")):
        assert said.replace("\n", "").isprintable()
    assert "\\x1b[31mred" in said


@pytest.mark.parametrize(
    "name", ["\x1b[2J\nx", "<img src=x onerror=alert(1)>", "\u202egnp", "$(touch harmed)", "`id`", "-rf"]
)
def test_a_files_name_harms_nothing(
    competition: Callable[..., Config], capsys: pytest.CaptureFixture[str], name: str
) -> None:
    competition()
    path = ROOT / "train" / f"{name}.png".replace("/", "_")
    path.write_bytes(b"no image")
    with (ROOT / "train.csv").open("a", newline="", encoding="utf-8") as stream:
        csv.writer(stream, lineterminator="\n").writerow([path.stem, "ant"])
    assert run_all() == 1
    said = capsys.readouterr().err
    assert "1 images cannot be read" in said and said.count("\n") == 1 and said.strip().isprintable()
    assert run_all("data.bad_images=drop") == 0
    assert not Path("harmed").exists()


@pytest.mark.parametrize("root", ["$HOME", "~", "${PWD}/input/tiny", "%USERPROFILE%", "~root", "input/tiny\x00"])
def test_variables_and_homes_in_paths_mean_nothing(
    competition: Callable[..., Config], capsys: pytest.CaptureFixture[str], root: str
) -> None:
    competition()
    toml = Path("configs/tiny.toml")
    toml.write_text(toml.read_text().replace('"input/tiny"', f'"{root}"'.replace("\x00", "\\u0000")))
    assert run_all() in (1, 2)
    said = capsys.readouterr().err
    assert said.count("\n") == 1 and ("is not a folder" in said or "NUL" in said)


@pytest.mark.parametrize("way_out", ["../secret", "/etc/passwd", "train/../../secret", "..\\secret"])
@pytest.mark.parametrize(
    "setting", ["data.train", "data.test", "data.sample_submission", "data.answers", "data.image", "data.test_image"]
)
def test_no_setting_leads_out_of_the_root(
    trained: Config, capsys: pytest.CaptureFixture[str], setting: str, way_out: str
) -> None:
    Path("input/secret").write_text("id,label\n000,ant\n001,bee\n")
    path = way_out.replace("\\", "\\\\")
    assert run_all(f"{setting}={path}" + ("{id}" if "image" in setting else "")) in (1, 2)
    said = capsys.readouterr().err
    assert said.count("\n") == 1 and "must stay inside input/tiny" in said


def test_a_config_cannot_bring_code(competition: Callable[..., Config], capsys: pytest.CaptureFixture[str]) -> None:
    competition()
    for setting in (
        "model.name=__import__('os').system('touch harmed')",
        "model.name=os.system",
        "train.optimizer=exec",
    ):
        assert run_all(setting) in (1, 2)
        assert capsys.readouterr().err.count("\n") == 1
    assert not Path("harmed").exists()


def test_links_that_the_user_has_made_are_followed(competition: Callable[..., Config], tmp_path: Path) -> None:
    competition()
    (tmp_path / "elsewhere").mkdir()
    (ROOT / "train").rename(tmp_path / "elsewhere" / "train")
    (ROOT / "train").symlink_to(tmp_path / "elsewhere" / "train")
    assert prepare.main(CONFIG) == 0


def test_an_image_that_is_a_table_and_a_table_that_is_an_image(
    competition: Callable[..., Config], capsys: pytest.CaptureFixture[str]
) -> None:
    competition()
    Image.fromarray(picture(0, 0)).save(ROOT / "x.png")
    (ROOT / "train.csv").write_bytes((ROOT / "x.png").read_bytes())
    assert run_all() == 1
    assert capsys.readouterr().err.count("\n") == 1


def test_names_with_a_carriage_return_are_refused_before_training(
    competition: Callable[..., Config], capsys: pytest.CaptureFixture[str]
) -> None:
    competition()
    for part in ("ant", "co\rw"):
        (ROOT / "folders" / part).mkdir(parents=True)
        for number in range(4):
            Image.fromarray(picture(0, number)).save(ROOT / "folders" / part / f"{number}.png")
    assert run_all("data.train=folders/{label}/{file}.png", "data.image={path}", "data.id=path", "data.test_id=id") == 1
    said = capsys.readouterr().err
    assert "4 file names hold a carriage return" in said and said.count("\n") == 1


@pytest.mark.parametrize("name", ["...toml", "..toml", "a\nb.toml"])
def test_a_config_s_name_leads_nowhere(
    competition: Callable[..., Config], capsys: pytest.CaptureFixture[str], name: str
) -> None:
    competition()
    Path("configs", name).write_text(Path("configs/tiny.toml").read_text())
    before = sorted(Path().rglob("*"))
    assert prepare.main(["--config", f"configs/{name}"]) == 2
    said = capsys.readouterr().err
    assert "a config must have a name" in said and said.count("\n") == 1
    assert sorted(Path().rglob("*")) == before


def test_numbers_of_thousands_of_digits(competition: Callable[..., Config], capsys: pytest.CaptureFixture[str]) -> None:
    competition()
    assert prepare.main([*CONFIG, "--set", "train.num_epochs=" + "9" * 5000]) == 2
    assert capsys.readouterr().err.count("\n") == 1


def test_a_closed_terminal(competition: Callable[..., Config], monkeypatch: pytest.MonkeyPatch) -> None:
    competition()
    monkeypatch.setattr("sys.stdout", None)
    assert prepare.main(CONFIG) == 0


def test_batches_of_one_and_batch_norm(competition: Callable[..., Config], capsys: pytest.CaptureFixture[str]) -> None:
    competition()
    settings = ("model.name=resnet9", "model.width=4", "train.batch_size=1")
    assert run_all(*settings) == 2
    assert "train.batch_size must be 2 or more for this network" in capsys.readouterr().err
