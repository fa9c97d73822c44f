"""The page of a run: whole, of every kind of labels, of a run that is not finished, and with names that are hostile."""

import json
import re
import subprocess
from collections.abc import Callable
from html.parser import HTMLParser
from pathlib import Path

import pytest

from making import write_table
from pipeline import report
from pipeline.as_made import settings_as_made
from pipeline.competition.folds.fold_table import read_labelled
from pipeline.config import Config
from pipeline.config_file import load
from pipeline.page.blocks import Chart, Gallery, Picture, Section, Source, Table, Text
from pipeline.page.charts import bars, curves, dots, matrix
from pipeline.page.render import render
from running import CONFIG, KINDS, RUN, run_all

HOSTILE = [
    "<script>alert(1)</script>",
    "\"'><img src=x onerror=alert(1)>",
    "$x^2$ & {{ 7 * 7 }}",
    "\uac15\uc544\uc9c0",
    "x" * 300,
]


class Reader(HTMLParser):
    """Counts tags, and gathers what could reach out of the page."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.tags: dict[str, int] = {}
        self.reaches: list[str] = []
        self.words: list[str] = []
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags[tag] = self.tags.get(tag, 0) + 1
        named = dict(attrs)
        if tag == "img":
            assert named.get("alt"), "every image says what it is"
        for key, value in attrs:
            is_link = key in ("src", "href", "xlink:href", "action", "data") or key.startswith("on")
            if is_link and not (value or "").startswith(("#", "data:")):
                self.reaches.append(f"{tag} {key}={value}")

    def handle_data(self, data: str) -> None:
        self.words.append(data)


def page() -> tuple[str, Reader]:
    text = (RUN / "report.html").read_text(encoding="utf-8")
    return text, Reader(text)


def test_a_whole_run(trained: Config) -> None:
    assert report.main(CONFIG) == 0
    text, reader = page()
    scores = json.loads((RUN / "scores.json").read_text())
    assert f"{scores['cv']:.5f}" in " ".join(reader.words)
    assert reader.reaches == [] and "<svg" in text and reader.tags["img"] > 20 and reader.tags["table"] > 6
    for title in ("Score", "Training", "Classes", "Images to look at", "Network and augmentation", "How it was made"):
        assert title in reader.words
    assert len(text) < 1_000_000
    assert not re.search(r"\bnan\b", " ".join(reader.words))


def test_what_is_known_of_the_test_images_stands_beside_the_cv_score(trained: Config) -> None:
    import pandas as pd

    from pipeline import ledger

    assert report.main(CONFIG) == 0
    said = pd.read_csv(RUN / "submission.csv").set_index("id")["label"]
    truth = pd.read_csv(trained.root / "answers.csv").set_index("id")["label"]
    right = f"{(said == truth[said.index]).mean():.5f}"
    words = page()[1].words
    assert words[words.index("on the hidden answers") + 1] == right and "on the leaderboard" not in words
    assert ledger.main(["tiny", "0.8125"]) == report.main(CONFIG) == 0
    words = page()[1].words
    assert words[words.index("on the leaderboard") + 1] == "0.8125"


def test_a_page_that_is_current_is_left_as_it_is(trained: Config, capsys: pytest.CaptureFixture[str]) -> None:
    for _ in range(2):
        assert report.main(CONFIG) == 0
    assert capsys.readouterr().out.splitlines()[-1] == "report: up to date (output/tiny/report.html)"
    first, _ = page()
    (RUN / "report.json").unlink()
    assert report.main(CONFIG) == 0
    assert page()[0] == first


def test_what_has_changed_since_is_said_on_the_page(trained: Config, capsys: pytest.CaptureFixture[str]) -> None:
    """Labels of another table speak of other models: the score stays that of the old ones, with a warning."""
    assert report.main(CONFIG) == 0
    assert "Changed since it was made" not in page()[1].words
    table = trained.root / "train.csv"
    header, *rows = table.read_text().splitlines()
    ids, labels = zip(*(row.split(",", 1) for row in rows), strict=True)
    turned = [f"{id_},{label}" for id_, label in zip(ids, [*labels[1:], labels[0]], strict=True)]
    table.write_text("\n".join([header, *turned, ""]))
    capsys.readouterr()
    for _ in range(2):
        assert report.main(CONFIG) == 0
        said = capsys.readouterr().out
        assert "report: warning: images: tables.train.csv changed since" in said
        assert "report: warning: folds: table changed since" in said
    assert "up to date" in said
    assert {"Changed since it was made", "folds: table changed since"} <= set(page()[1].words)
    table.write_text("\n".join([header, *rows, ""]))
    assert report.main(CONFIG) == 0
    assert "Changed since it was made" not in page()[1].words


def test_a_page_is_of_the_settings_that_its_scores_are_of(trained: Config) -> None:
    """A metric that is edited gives no old score its name, nor another network its figures."""
    for settings in ([], ["task.metric=macro_f1", "model.name=cnn", "image.size=16"]):
        assert report.main([*CONFIG, "--set", "train.checkpoint_minutes=7", *settings]) == 0
        _, reader = page()
        words = " ".join(reader.words)
        assert "CV accuracy; higher is better" in words and "By epoch: validation accuracy" in words
        assert "CV macro_f1" not in words and "mlp, 12 px" in words
        assert ("Changed since it was made" in reader.words) == bool(settings)


def looks_of(text: str) -> list[tuple[bool, str, list[str]]]:
    """Of each picture of where a network looks: whether its gallery is of right images, its id, and its lines."""
    found = []
    for kind, body in re.findall(
        r"images that it alone gets (right|wrong) \(Grad-CAM\)</h3>(.*?)</ul>", text, re.DOTALL
    ):
        for item in body.split("<li>")[1:]:
            lines = re.findall(r"<span[^>]*>([^<]*)</span>", item)
            found.append((kind == "right", lines[0], lines[1:]))
    return found


def test_where_a_network_looks_stands_with_what_it_alone_says(competition: Callable[..., Config]) -> None:
    """Not with what the ensemble says, which may be another: grades are cut as those of the networks alone are."""
    import numpy as np
    import pandas as pd

    cfg = competition()
    column, labels, settings = KINDS["ordinal"]
    settings = [*settings, "data.answers=", "model.name=resnet9", "model.width=4", "image.size=16"]
    labels = [*labels, "3"]
    grades = {f"{n:03d}": labels[(n * 7 + n // 5) % 4] for n in range(24)}
    write_table(cfg.root / "train.csv", ["id", column], [[id_, grade] for id_, grade in grades.items()])
    write_table(cfg.root / "sample_submission.csv", ["id", column], [[f"{n:03d}", labels[0]] for n in range(8)])
    assert run_all(*settings) == 0
    assert report.main([*CONFIG, "--set", *settings]) == 0
    said = pd.read_parquet(RUN / "fold0/oof.parquet").set_index("id")["probs"]
    looks = looks_of(page()[0])
    assert looks
    for is_right, id_, (label, decided, expected) in looks:
        assert label == f"label: {grades[id_]}"
        assert (decided.removeprefix("said: ") == grades[id_]) == is_right
        assert expected == f"expected grade: {np.array(said[id_]) @ np.arange(4):.2f}"


@pytest.mark.parametrize("kind", KINDS)
def test_every_kind_of_labels(competition: Callable[..., Config], kind: str) -> None:
    column, labels, settings = KINDS[kind]
    cfg = competition()
    write_table(cfg.root / "train.csv", ["id", column], [[f"{n:03d}", labels[n % 3]] for n in range(24)])
    write_table(cfg.root / "sample_submission.csv", ["id", column], [[f"{n:03d}", labels[0]] for n in range(8)])
    settings = [*settings, "data.answers="]
    assert run_all(*settings) == 0
    assert report.main([*CONFIG, "--set", *settings]) == 0
    assert page()[1].reaches == []


def test_a_run_that_has_only_begun(competition: Callable[..., Config], capsys: pytest.CaptureFixture[str]) -> None:
    competition()
    assert report.main(CONFIG) == 1
    said = capsys.readouterr().err
    assert said.strip().endswith("made by: python -m pipeline.prepare --config configs/tiny.toml")
    from pipeline import folds, prepare

    assert prepare.main(CONFIG) == report.main(CONFIG) == 0
    _, reader = page()
    assert "Images" in reader.words and "Folds" not in reader.words
    assert any(word.startswith("No score is known yet") for word in reader.words)
    assert folds.main(CONFIG) == report.main(CONFIG) == 0
    _, reader = page()
    assert "Folds" in reader.words and any(word.startswith("No score is known yet") for word in reader.words)


@pytest.mark.parametrize("name", ["tiny", "a[1]", "a b$(id)", "it's", "-x"])
def test_the_command_that_repeats_it_gives_the_same_run(competition: Callable[..., Config], name: str) -> None:
    """As a shell reads it: the run's name and its settings."""
    from pipeline import prepare

    competition()
    path = Path("configs") / f"{name}.toml"
    Path("configs/tiny.toml").rename(path)
    settings = ["data.test_image=test/{id}.png", "train.lr=0.5", "data.answers=it's $(id).csv"]
    asked = ["--config", str(path), "--set", *settings]
    assert prepare.main(asked) == report.main(asked) == 0
    words = Reader(Path(f"output/{name}/report.html").read_text(encoding="utf-8")).words
    command = next(word for word in words if word.startswith("bash run.sh "))
    printed = subprocess.run(
        ["bash", "-c", f"""printf '%s\\0' {command.removeprefix("bash run.sh ")}"""],
        capture_output=True,
        text=True,
        check=True,
    )
    target, option, *overrides = printed.stdout.split("\0")[:-1]
    assert (target, option) == (str(path), "--set")
    again = load(Path(target), overrides)
    assert again == load(path, settings) and again.name == name


def test_folds_are_those_that_models_had(trained: Config) -> None:
    """Whatever split the config names by now, and whether or not that is made."""
    from pipeline import folds

    was = read_labelled(trained).folds
    edited = load(Path("configs/tiny.toml"), ["folds.seed=7"])
    for _ in range(2):
        assert settings_as_made(edited).folds.seed == 0
        assert read_labelled(settings_as_made(edited)).folds.tolist() == was.tolist()
        folds.make_folds(edited)
    assert read_labelled(edited).folds.tolist() != was.tolist()


def test_copies_stand_together_and_folds_are_shown(competition: Callable[..., Config]) -> None:
    """Train images 3 and 6 and test image 1 are one; 3 and 7 would be of two classes."""
    from pipeline import folds, prepare

    cfg = competition()
    for copy in ("train/006.png", "test/001.png"):
        (cfg.root / copy).write_bytes((cfg.root / "train/003.png").read_bytes())
    alts = []
    # Before there are folds too.
    for stage in (prepare, folds):
        assert stage.main(CONFIG) == report.main(CONFIG) == 0
        alts.append(sorted(re.findall(r'alt="((?:train|test) image [^"]+)"', page()[0])))
    assert alts == [["test image 001", "train image 003", "train image 006"]] * 2
    _, reader = page()
    assert "Of one image, in the test part and in the train part: 1 of 1 groups" in reader.words
    assert "1 test images are versions of train images, whose labels are known." in reader.words
    assert "No group lies in several folds, nor do versions of one image; no two have different labels." in reader.words
    for copy, of in (("007", "003"), ("004", "001")):
        (cfg.root / f"train/{copy}.png").write_bytes((cfg.root / f"train/{of}.png").read_bytes())
    for settings in ([], ["data.conflicts=drop"]):
        options = [*CONFIG, *(["--set", *settings] if settings else [])]
        assert prepare.main(options) == folds.main(options) == report.main(options) == 0
        text, reader = page()
        assert "3 train images, versions of 1, have different labels." in reader.words
        galleries = re.findall(r"<h3>([^<]*)</h3>\s*<ul class=\"gallery\">(.*?)</ul>", text, re.DOTALL)
        found = {
            caption.partition(":")[0]: re.findall(r"(?:train|test) image \d+", body) for caption, body in galleries
        }
        named = {caption.partition(":")[0]: re.findall(r"label: (\w+)", body) for caption, body in galleries}
        conflict, leak, rest = list(found)[:3]
        assert conflict == "Of one image, with different labels" and named[conflict] == ["ant", "ant", "bee"]
        assert found[conflict] == ["train image 003", "train image 006", "train image 007"]
        assert found[leak] == ["test image 001", "train image 003", "train image 007"] and named[leak] == ["ant", "bee"]
        assert rest == "Versions of one image stand together" and found[rest] == ["train image 001", "train image 004"]
        assert text.index('id="leaks"') < text.index('id="score"') < text.index('id="versions"')
        assert "output/tiny/audit.csv" in text


def test_names_are_text_wherever_they_stand() -> None:
    blocks = [
        *(Text(name) for name in HOSTILE),
        Table(HOSTILE[0], HOSTILE, [HOSTILE]),
        Gallery(HOSTILE[1], [Picture("data:,", name, HOSTILE) for name in HOSTILE]),
        Source(HOSTILE[0], HOSTILE[1]),
        Chart(HOSTILE[0], bars({name: [0.1] * 5 for name in HOSTILE}, HOSTILE, HOSTILE[0]), HOSTILE[1]),  # type: ignore[arg-type]
        Chart(HOSTILE[0], curves({name: [1.0, None] for name in HOSTILE}, HOSTILE[0], HOSTILE[2]), HOSTILE[1]),
        Chart(HOSTILE[0], dots({name: (0.1, None, None) for name in HOSTILE}, HOSTILE[0]), HOSTILE[1]),
    ]
    import numpy as np

    blocks.append(Chart("", matrix(np.eye(5, dtype=np.int64), HOSTILE, "said", "true"), ""))
    text = render(HOSTILE[0], [(HOSTILE[0], HOSTILE[1])], [Section("a", HOSTILE[0], blocks)])
    reader = Reader(text)
    assert reader.tags["script"] == 1 and reader.tags["img"] == len(HOSTILE) and reader.reaches == []
    shown = " ".join(reader.words)
    assert all(name in shown for name in HOSTILE)


def test_no_two_things_have_one_name() -> None:
    charts = [Chart("", curves({"a": [1.0, 2.0 + step]}, "epoch", "loss"), "") for step in range(3)]
    text = render("a", [], [Section("b", "b", charts)])
    names = re.findall(r'\bid="([^"]+)"', text)
    assert len(names) > 50 and len(names) == len(set(names))
    for used in re.findall(r'(?:url\(#|href="#)([^)"]+)', text):
        assert used in names


def test_what_training_sees_is_what_training_sees(trained: Config) -> None:
    """Nine images in their first epochs: the pixels that the batches of training hold."""
    import numpy as np
    import torch

    from pipeline.competition.folds.fold_table import read_labelled
    from pipeline.engine.looks import augmented
    from pipeline.images.augment.augment import Augment
    from pipeline.images.cache import open_images
    from pipeline.randomness import id_keys

    policy = trained.augment.model_copy(update={"policy": "trivialaugment"})
    cfg = trained.model_copy(update={"augment": policy})
    labelled = read_labelled(cfg)
    images, ids, indices = open_images(cfg, "train", labelled.samples.keys), labelled.samples.ids, np.array([3, 0, 7])
    seen = augmented(cfg, images, indices, ids, 2)
    pixels = torch.from_numpy(images.gather(indices)).permute(0, 3, 1, 2)
    own = Augment(policy, cfg.image.size, cfg.train.seed)
    for epoch in range(2):
        expected = own(pixels, id_keys(ids)[indices], epoch)
        np.testing.assert_array_equal(seen[epoch], expected.permute(0, 2, 3, 1).numpy())
    assert (seen[0] != seen[1]).any()
