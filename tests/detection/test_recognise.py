"""Folders as competitions are downloaded, each with the settings that read it."""

import json
import random
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from downloads import LABELS, NAMES, TEST, TRAIN, plain, put, read
from making import write_table
from pipeline.competition.answers.form import read_form
from pipeline.competition.answers.probs import Probs
from pipeline.competition.answers.submission import fill, write
from pipeline.competition.answers.task import make_task
from pipeline.config_file import load
from pipeline.detection.find_template import find_template
from pipeline.detection.found import Choice, Facts
from pipeline.detection.image_files import ImageFiles
from pipeline.detection.label_columns import tag_separator
from pipeline.detection.recognise import Found, recognise, render
from pipeline.engine.losses import make_loss
from pipeline.files import InputError
from pipeline.recipes import PUBLISHED, recipe, takes_weights, wanted


def test_two_tables_and_flat_folders(tmp_path: Path) -> None:
    plain(tmp_path / "c")
    write_table(tmp_path / "c" / "answers.csv", ["id", "label"], [[id_, "ant"] for id_ in TEST])
    found, cfg, train, test = read(tmp_path / "c", tmp_path)
    assert (cfg.data.image, cfg.data.test_image) == ("train/{id}.png", "test/{id}.png")
    assert (cfg.data.train, cfg.data.test, cfg.data.labels) == ("train.csv", "sample_submission.csv", ("label",))
    assert cfg.data.answers == "" and "answers" not in render(found)
    assert len(train) == 20 and len(test) == 8 and cfg.task.metric == "accuracy"


@settings(max_examples=12)
@given(
    seed=st.integers(0, 2**16),
    id_=st.sampled_from(["no", "file_name", "\uc774\ubbf8\uc9c0", "a.b"]),
    label=st.sampled_from(["y", "kind of", "\ubd84\ub958"]),
    encoding=st.sampled_from(["utf-8", "utf-8-sig", "cp949"]),
    folders=st.sampled_from([("a", "b"), ("test_train", "train_test"), ("{x}", "y z")]),
    with_extension=st.booleans(),
)
def test_names_order_and_encoding_decide_nothing(
    tmp_path_factory: pytest.TempPathFactory,
    seed: int,
    id_: str,
    label: str,
    encoding: str,
    folders: tuple[str, str],
    with_extension: bool,
) -> None:
    root = tmp_path_factory.mktemp("c") / "c"
    drawn = random.Random(seed)
    put(root, [f"{folders[0]}/{name}.jpg" for name in TRAIN] + [f"{folders[1]}/{name}.jpg" for name in TEST])
    ending = ".jpg" if with_extension else ""
    rows = [[name + ending, "\uac15\uc544\uc9c0" if number % 2 else "cat", number] for number, name in enumerate(TRAIN)]
    order = drawn.sample([0, 1, 2], 3)
    drawn.shuffle(rows)
    header = [id_, label, "extra"]
    write_table(root / "data.csv", [header[i] for i in order], [[row[i] for i in order] for row in rows], encoding)
    write_table(root / "my_sub.csv", [id_, label], [[name + ending, "cat"] for name in drawn.sample(TEST, 8)], encoding)
    _, cfg, train, test = read(root, root.parent)
    assert cfg.data.labels == (label,)
    assert sorted(train.paths) == [f"{folders[0]}/{name}.jpg" for name in TRAIN]
    assert sorted(test.paths) == [f"{folders[1]}/{name}.jpg" for name in TEST]
    assert {*train.labels[label]} == {"\uac15\uc544\uc9c0", "cat"}


def test_ids_apart_from_path_columns(tmp_path: Path) -> None:
    root = tmp_path / "c"
    put(root, [f"train/TRAIN_{id_}.png" for id_ in TRAIN] + [f"test/TEST_{id_}.png" for id_ in TEST])
    rows = [
        [f"r{n}", f"./train/TRAIN_{id_}.png", label] for n, (id_, label) in enumerate(zip(TRAIN, LABELS, strict=True))
    ]
    write_table(root / "train.csv", ["id", "img_path", "label"], rows)
    write_table(root / "test.csv", ["id", "img_path"], [[f"t{id_}", f"./test/TEST_{id_}.png"] for id_ in TEST])
    write_table(root / "sample_submission.csv", ["id", "label"], [[f"t{id_}", "ant"] for id_ in TEST])
    _, cfg, train, test = read(root, tmp_path)
    assert (cfg.data.image, cfg.data.test_image, cfg.data.test) == ("{img_path}", "{img_path}", "test.csv")
    assert train.ids[0] == "r0" and test.ids[0] == "t000" and cfg.data.labels == ("label",)


def test_folders_named_by_a_column_and_metadata(tmp_path: Path) -> None:
    root = tmp_path / "c"
    put(root, [f"train_images/{label}/{id_}.jpg" for id_, label in zip(TRAIN, LABELS, strict=True)])
    put(root, [f"test_images/{id_}.jpg" for id_ in TEST])
    rows = [[f"{id_}.jpg", label, n % 3, n * 7 % 11] for n, (id_, label) in enumerate(zip(TRAIN, LABELS, strict=True))]
    write_table(root / "train.csv", ["image_id", "label", "variety", "age"], rows)
    write_table(root / "sample_submission.csv", ["image_id", "label"], [[f"{id_}.jpg", ""] for id_ in TEST])
    _, cfg, _, _ = read(root, tmp_path)
    assert (cfg.data.image, cfg.data.labels) == ("train_images/{label}/{image_id}", ("label",))


def test_one_folder_for_both_and_one_hot_columns(tmp_path: Path) -> None:
    root = tmp_path / "c"
    put(root, [f"images/Train_{id_}.jpg" for id_ in TRAIN] + [f"images/Test_{id_}.jpg" for id_ in TEST])
    rows = [[f"Train_{id_}", *(int(label == name) for name in NAMES)] for id_, label in zip(TRAIN, LABELS, strict=True)]
    write_table(root / "train.csv", ["image_id", *NAMES], rows)
    write_table(root / "test.csv", ["image_id"], [[f"Test_{id_}"] for id_ in TEST])
    write_table(root / "sample_submission.csv", ["image_id", *NAMES], [[f"Test_{id_}", *[0.25] * 4] for id_ in TEST])
    _, cfg, _, _ = read(root, tmp_path)
    assert cfg.data.image == cfg.data.test_image == "images/{image_id}.jpg"
    assert (cfg.data.labels, cfg.data.test, cfg.task.metric) == (tuple(NAMES), "test.csv", "mean_column_auc")


def test_the_samples_columns_are_the_labels_values(tmp_path: Path) -> None:
    root = tmp_path / "c"
    plain(root)
    (root / "train.csv").rename(root / "labels.csv")
    write_table(root / "sample_submission.csv", ["id", *NAMES[::-1]], [[id_, *[0.25] * 4] for id_ in TEST])
    _, cfg, _, _ = read(root, tmp_path)
    assert (cfg.data.train, cfg.data.labels, cfg.task.metric) == ("labels.csv", ("label",), "log_loss")


@pytest.mark.parametrize(
    ("labels", "answer", "metric", "separator"),
    [
        (LABELS, "ant", "accuracy", ""),
        ([n % 2 for n in range(20)], "0.5", "roc_auc", ""),
        ([n % 2 for n in range(20)], "0", "accuracy", ""),
        ([n / 3 for n in range(20)], "1.5", "rmse", ""),
        ([n * 3 + 10 for n in range(20)], "0", "rmse", ""),
        ([*(n / 3 for n in range(19)), "nan"], "0.0", "rmse", ""),
        (["scab", "rust", "scab rust", "healthy"] * 5, "healthy", "micro_f1", " "),
        (["Ankle boot", "Rain boot", "Shirt", "Coat"] * 5, "Shirt", "accuracy", ""),
        ([n % 7 for n in range(20)], "1 2 3 4 5", "map@5", ""),
        (["sea_lion", "sea_otter"] * 10, "Sea Lion", "accuracy", ""),
        (["sea_lion", "sea_otter", "pug"] * 6 + ["pug"] * 2, "pug Sea_Lion", "map@2", ""),
        (["0"] * 19 + ["1"], "no", "accuracy", ""),
    ],
)
def test_metric_from_the_form_of_labels_and_sample(
    tmp_path: Path, labels: list[object], answer: str, metric: str, separator: str
) -> None:
    plain(tmp_path / "c", ("id", "target"), labels)
    write_table(tmp_path / "c" / "sample_submission.csv", ["id", "target"], [[id_, answer] for id_ in TEST])
    _, cfg, _, _ = read(tmp_path / "c", tmp_path)
    assert (cfg.task.metric, cfg.data.tag_separator) == (metric, separator)


@pytest.mark.parametrize("folder", ["", "deep/"])
def test_images_and_annotations_in_json(tmp_path: Path, folder: str) -> None:
    root, classes = tmp_path / "c", (40, 2, 1372)
    put(root, [f"{folder}train/x/{n:03d}.png" for n in range(12)] + [f"{folder}test/{n}.png" for n in range(5)])
    images = [{"id": 100 + n, "file_name": f"x/{n:03d}.png", "place": n % 4} for n in range(12)]
    notes = [{"id": n, "image_id": 100 + n, "category_id": classes[n % 3], "region_id": n % 2} for n in range(12)]
    described = {"images": images, "annotations": notes, "categories": [{"id": n, "name": f"k{n}"} for n in classes]}
    (root / folder / "train" / "metadata.json").write_text(json.dumps(described))
    tests = {"images": [{"id": str(n), "file_name": f"{n}.png"} for n in range(5)]}
    (root / folder / "test" / "metadata.json").write_text(json.dumps(tests))
    write_table(root / "sample_submission.csv", ["Id", "Predicted"], [[n, 0] for n in range(5)])
    _, cfg, train, test = read(root, tmp_path)
    assert cfg.data.train == f"{folder}train/metadata.json" and cfg.data.labels == ("category_id",)
    assert sorted(train.paths) == [f"{folder}train/x/{n:03d}.png" for n in range(12)]
    assert train.labels["category_id"].tolist() == [str(classes[n % 3]) for n in range(12)]
    assert (test.ids, cfg.task.metric) == ([str(n) for n in range(5)], "accuracy")


def test_renamed_sample_columns(tmp_path: Path) -> None:
    plain(tmp_path / "c")
    write_table(tmp_path / "c" / "sample_submission.csv", ["Id", "Predicted"], [[id_, "ant"] for id_ in TEST])
    rows = [[id_, n % 3, label] for n, (id_, label) in enumerate(zip(TRAIN, LABELS, strict=True))]
    write_table(tmp_path / "c" / "train.csv", ["image_no", "camera", "species"], rows)
    _, cfg, _, _ = read(tmp_path / "c", tmp_path)
    assert (cfg.data.id, cfg.data.test_id, cfg.data.labels) == ("image_no", "Id", ("species",))


@pytest.mark.parametrize("with_sample", [True, False])
def test_class_folders_without_a_table(tmp_path: Path, with_sample: bool) -> None:
    root = tmp_path / "c"
    put(root, [f"train/{label}/{id_}.png" for id_, label in zip(TRAIN, LABELS, strict=True)])
    put(root, [f"test/{id_}.png" for id_ in TEST])
    (root / "train" / "ant" / "notes.txt").write_text("no image")
    if with_sample:
        write_table(root / "sample_submission.csv", ["img", "label"], [[id_, "ant"] for id_ in TEST])
    found, cfg, train, test = read(root, tmp_path)
    assert cfg.data.train == "train/{label}/{file}.png" and (cfg.data.labels, cfg.data.id) == (("label",), "file")
    assert len(train) == 20 and len(test) == 8 and set(train.labels["label"]) == set(NAMES)
    assert cfg.data.sample_submission == ("sample_submission.csv" if with_sample else "")
    assert [id_.removesuffix(".png") for id_ in test.ids] == TEST
    assert found.value("data.test_image") == ("test/{img}.png" if with_sample else "test/{file}")


def test_a_table_of_test_ids_without_a_sample(tmp_path: Path) -> None:
    plain(tmp_path / "c")
    (tmp_path / "c" / "sample_submission.csv").unlink()
    put(tmp_path / "c", ["test/x1.png", "test/x2.png"])
    write_table(tmp_path / "c" / "test.csv", ["id"], [["x1"], ["x2"]])
    _, cfg, _, test = read(tmp_path / "c", tmp_path)
    assert (cfg.data.test, cfg.data.sample_submission, test.ids) == ("test.csv", "", ["x1", "x2"])


def test_groups_are_proposed_and_not_used(tmp_path: Path) -> None:
    plain(tmp_path / "c")
    rows = [[id_, label, f"s{n // 2}", n / 7] for n, (id_, label) in enumerate(zip(TRAIN, LABELS, strict=True))]
    write_table(tmp_path / "c" / "train.csv", ["id", "label", "sender", "score"], rows)
    found, cfg, _, _ = read(tmp_path / "c", tmp_path)
    assert '# group = "sender"' in render(found) and "10 values, 2.0 images" in render(found)
    assert cfg.data.group == "" and '"score"' not in render(found)


def test_masks_and_smaller_tables_are_not_taken(tmp_path: Path) -> None:
    root = tmp_path / "c"
    plain(root)
    (root / "train").rename(root / "zz_photos")
    put(root, [f"train_masks/{id_}.png" for id_ in TRAIN], mode="L")
    write_table(root / "extra" / "train_small.csv", ["id", "label"], [["000", "ant"], ["001", "bee"], ["002", "ant"]])
    found, cfg, _, _ = read(root, tmp_path)
    assert (cfg.data.image, cfg.data.train) == ("zz_photos/{id}.png", "train.csv")
    assert not found.facts.grey


def test_ids_within_names(tmp_path: Path) -> None:
    root = tmp_path / "c"
    put(
        root, [f"train/scan{n}/img_{n}_full.png" for n in range(12)] + [f"test/img_{n}_full.png" for n in range(20, 24)]
    )
    write_table(root / "train.csv", ["id", "label"], [[n, NAMES[n % 4]] for n in range(12)])
    write_table(root / "sample_submission.csv", ["id", "label"], [[n, "ant"] for n in range(20, 24)])
    with pytest.raises(InputError, match=r"train.csv: the ids in column 'id', such as '0'"):
        recognise(root)  # `scan0` is no column's cell
    for n in range(12):
        (root / f"train/scan{n}/img_{n}_full.png").rename(root / f"train/img_{n}_full.png")
    _, cfg, _, _ = read(root, tmp_path)
    assert cfg.data.image == "train/img_{id}_full.png"


def remove(root: Path, pattern: str) -> None:
    for path in root.glob(pattern):
        path.unlink()


def unknown_train_ids(root: Path) -> None:
    write_table(root / "train.csv", ["id", "label"], [[f"q{id_}", "ant"] for id_ in TRAIN])


def two_train_tables(root: Path) -> None:
    write_table(root / "train_v1.csv", ["id", "label"], [[id_, "ant"] for id_ in TRAIN])
    (root / "train.csv").rename(root / "train_v2.csv")


def two_samples(root: Path) -> None:
    write_table(root / "sample_submission2.csv", ["id", "label"], [[id_, "bee"] for id_ in TEST])


def repeated_ids(root: Path) -> None:
    write_table(root / "train.csv", ["id", "label"], [["000", label] for label in LABELS])


def sample_in_an_unknown_encoding(root: Path) -> None:
    (root / "sample_submission.csv").write_bytes("id,label\n000,écureuil\n".encode("cp1252"))


def no_train_table(root: Path) -> None:
    remove(root, "train.csv")


def unknown_test_ids(root: Path) -> None:
    write_table(root / "sample_submission.csv", ["id", "label"], [[f"q{id_}", "ant"] for id_ in TEST])


def broken_images(root: Path) -> None:
    for path in root.glob("t*/*.png"):
        path.write_bytes(b"no image")


def no_images(root: Path) -> None:
    remove(root, "t*/*.png")


def no_files(root: Path) -> None:
    remove(root, "t*/*.png")
    remove(root, "*.csv")


@pytest.mark.parametrize(
    ("spoil", "message"),
    [
        (no_files, "is empty"),
        (no_images, "must hold images"),
        (
            unknown_train_ids,
            r"train.csv: the ids in column 'id', such as 'q000', must name the image files.*data.image",
        ),
        (
            two_train_tables,
            r"'train_v1.csv' and 'train_v2.csv' are equally good, with labels in column 'label'.*data.train",
        ),
        (two_samples, r"one sample submission.*data.sample_submission"),
        (repeated_ids, r"train.csv, column 'id': 1 ids appear"),
        (sample_in_an_unknown_encoding, r"sample_submission.csv must be in UTF-8.*set data.encoding"),
        (no_train_table, r"must hold a train table .*, a folder for each class"),
        (
            unknown_test_ids,
            r"sample_submission.csv: the ids in column 'id', such as 'q000', must name test images.*data.test_image",
        ),
        (broken_images, r"none can be read"),
    ],
)
def test_what_cannot_be_read_is_said_in_one_sentence(
    tmp_path: Path, spoil: Callable[[Path], None], message: str
) -> None:
    plain(tmp_path / "c")
    spoil(tmp_path / "c")
    with pytest.raises(InputError, match=message) as error:
        recognise(tmp_path / "c")
    assert "\n" not in str(error.value)


def test_files_of_two_classes_with_one_name_are_told_apart_by_their_paths(tmp_path: Path) -> None:
    put(tmp_path / "c", [f"train/{name}/{id_}.png" for id_ in TEST for name in NAMES] + ["test/a.png", "test/b.png"])
    _, cfg, train, test = read(tmp_path / "c", tmp_path)
    assert (cfg.data.id, cfg.data.test_id) == ("path", "file")
    assert train.ids == sorted(f"train/{name}/{id_}.png" for id_ in TEST for name in NAMES) == train.paths
    assert test.ids == ["a.png", "b.png"]


def test_test_images_are_never_the_train_images(tmp_path: Path) -> None:
    plain(tmp_path / "c")
    for id_ in TEST:
        (tmp_path / "c" / "test" / f"{id_}.png").rename(tmp_path / "c" / "test" / f"{id_}9.png")
    with pytest.raises(InputError, match="must name test images"):
        recognise(tmp_path / "c")


@given(
    side=st.floats(1, 5000),
    grey=st.booleans(),
    num_images=st.integers(1, 10**7),
    gpu_memory=st.sampled_from([0.0, 1.0, 8.0, 15.0, 22.5, 80.0]),
    numbers=st.booleans(),
    versions=st.booleans(),
    sides=st.sampled_from(["", "'left' and 'right' are mirror images by their names"]),
    published=st.sampled_from(["", *PUBLISHED]),
)
@settings(max_examples=60)
def test_every_recipe_loads(
    tmp_path_factory: pytest.TempPathFactory,
    side: float,
    grey: bool,
    num_images: int,
    gpu_memory: float,
    numbers: bool,
    versions: bool,
    sides: str,
    published: str,
) -> None:
    facts = Facts(side, grey, "one image", num_images, numbers, versions, sides)
    published = published if published in wanted(gpu_memory) else ""
    choices = recipe(facts, gpu_memory=gpu_memory, published=published)
    path = tmp_path_factory.getbasetemp() / "recipe.toml"
    path.write_text(render(Found("recipe", "c", (), tuple(choices), facts)), encoding="utf-8")
    cfg = load(path)
    assert cfg.image.channels == (1 if grey else 3)
    if versions:
        assert cfg.model.name == "cifarnet" and cfg.augment.policy == "none"
        return
    assert make_loss(cfg.train, "number" if numbers else "single", None)
    assert (cfg.augment.hflip > 0) == (not grey and not sides) == ("hflip" in cfg.infer.views)
    assert cfg.image.stored >= cfg.image.size and 3 <= cfg.train.num_epochs <= 40
    assert (cfg.model.pretrained, cfg.model.name == published) == (
        (True, True) if published and takes_weights(facts, gpu_memory=gpu_memory) else (False, False)
    )


@pytest.mark.parametrize(
    ("side", "grey", "num_images", "gpu_memory", "wanted"),
    [
        (32, False, 300, 0.0, True),
        (40, False, 22_000, 0.0, True),
        (40, False, 22_001, 0.0, False),
        (40, False, 22_001, 8.0, True),
        (32, False, 440_001, 8.0, False),
        (28, True, 300, 0.0, False),
        (41, True, 10**6, 0.0, True),
    ],
)
def test_small_images_are_enlarged_for_published_weights_where_there_is_time(
    side: float, grey: bool, num_images: int, gpu_memory: float, wanted: bool
) -> None:
    assert takes_weights(Facts(side, grey, "one image", num_images), gpu_memory=gpu_memory) == wanted


@pytest.mark.parametrize(("num_images", "batch_size"), [(20, 8), (280, 8), (499, 8), (500, 32), (4999, 32), (5000, 64)])
def test_few_images_learn_from_published_weights_in_small_batches(num_images: int, batch_size: int) -> None:
    facts = Facts(400, False, "one image", num_images)
    choices = recipe(facts, gpu_memory=0.0, published="tf_efficientnet_lite0")
    assert [choice.value for choice in choices if choice.key == "train.batch_size"] == [batch_size]
    assert [choice.value for choice in choices if choice.key == "train.freeze_norms"] == [True] * (num_images < 5000)


@pytest.mark.parametrize(
    ("num_images", "kind", "mixes"),
    [
        (1000, {}, True),
        (5000, {}, True),
        (499, {}, False),
        (1000, {"grades": True}, False),
        (1000, {"numbers": True}, False),
    ],
)
def test_a_thousand_images_of_classes_are_mixed(num_images: int, kind: dict[str, bool], mixes: bool) -> None:
    facts = Facts(400, False, "one image", num_images, **kind)
    choices = recipe(facts, gpu_memory=0.0, published="tf_efficientnet_lite0")
    assert ({"augment.mixup", "augment.strong_until"} <= {choice.key for choice in choices}) == mixes


FACTS = Facts(32, False, "one image", 10)
any_text = st.characters(codec="utf-8", exclude_characters="\0")


@given(st.text(any_text, max_size=40), st.text(any_text, min_size=1, max_size=40))
@settings(max_examples=80)
def test_any_name_is_written_as_toml(tmp_path_factory: pytest.TempPathFactory, text: str, root: str) -> None:
    path = tmp_path_factory.getbasetemp() / "names.toml"
    choices = (Choice("data.root", root, text), Choice("data.group", text, text, proposed=True))
    path.write_text(render(Found(text, root, (text,), choices, FACTS)), encoding="utf-8")
    assert load(path).data.root == root


def test_a_name_that_no_text_can_hold_is_refused() -> None:
    with pytest.raises(InputError, match="must be UTF-8"):
        render(Found("c", "c", (), (Choice("data.image", "train\udcff/{id}.png"),), FACTS))


@given(st.lists(st.sampled_from(["ant", "bee", "cow", "dog"]), min_size=2, max_size=30))
@settings(max_examples=30)
def test_single_labels_have_no_separator(cells: list[str]) -> None:
    assert tag_separator(cells) == ""


def test_the_best_template_wins_over_a_copy_of_fewer_files(tmp_path: Path) -> None:
    import pandas as pd

    frame = pd.DataFrame({"id": ["1", "2", "3"]}, dtype=str)
    images = ImageFiles(
        ["a/1.png", "a/2.png", "a/3.png", "a/4.png", "b/1.png", "b/2.png", "b/3.png", "c/1.png", "c/13.png"]
    )
    match = find_template(frame, ["id"], images, "train")
    assert match is not None and (match.template, match.num_found) == ("b/{id}.png", 3)
    taken = find_template(frame, ["id"], images, "test", frozenset({"b/1.png", "b/2.png", "b/3.png"}))
    assert taken is not None and taken.template == "a/{id}.png"


@pytest.mark.parametrize("has_size", [False, True])
@pytest.mark.parametrize(("in_test", "at_top"), [(False, False), (True, False), (True, True)])
def test_boxes_are_found(tmp_path: Path, has_size: bool, in_test: bool, at_top: bool) -> None:
    root = tmp_path / "c"
    put(root, [f"train/{id_}.png" for id_ in TRAIN] + [f"test/{id_}.png" for id_ in TEST], size=(60, 40))
    draw = random.Random(0)

    def box() -> list[object]:
        left, top = draw.randrange(20, 30), 0 if at_top else draw.randrange(15, 20)
        width, height = draw.randrange(12, 28), draw.randrange(8, 15)
        return [left, top, width, height] if has_size else [left, top, left + width, top + height]

    header = ["id", "age", "x1", "y1", "x2", "y2", "label"]
    rows = [[id_, draw.randrange(90), *box(), label] for id_, label in zip(TRAIN, LABELS, strict=True)]
    write_table(root / "train.csv", header, rows)
    asked = ["id", "x1", "y1", "x2", "y2"] if in_test else ["id", "k"]
    write_table(root / "test.csv", asked, [[id_, *(box() if in_test else [1])] for id_ in TEST])
    write_table(root / "sample_submission.csv", ["id", "label"], [[id_, "ant"] for id_ in TEST])
    found, cfg, train, test = read(root, tmp_path)
    if not in_test:
        assert cfg.data.box == () and "it is not used" in render(found)
        return
    assert cfg.data.box == ("x1", "y1", "x2", "y2") and cfg.data.box_has_size == has_size
    cells = [int(str(cell)) for cell in rows[0][2:6]]
    corners = [*cells[:2], cells[0] + cells[2], cells[1] + cells[3]] if has_size else cells
    assert train.boxes is not None and train.boxes[0] == " ".join(map(str, corners))
    assert train.keys[0] == f"{train.paths[0]}\0{train.boxes[0]}" and test.boxes is not None


def test_numbers_that_are_no_box(tmp_path: Path) -> None:
    plain(tmp_path / "c")
    draw = random.Random(1)
    rows = [[id_, *(draw.randrange(9) for _ in range(4)), label] for id_, label in zip(TRAIN, LABELS, strict=True)]
    write_table(tmp_path / "c" / "train.csv", ["id", "a", "b", "c", "d", "label"], rows)
    assert "\nbox" not in render(recognise(tmp_path / "c"))


def test_images_of_kinds_that_are_not_read_are_named(tmp_path: Path) -> None:
    root = tmp_path / "c"
    plain(root)
    (root / "more").mkdir()
    (root / "more" / "1.dcm").write_bytes(b"x")
    assert "Not read: 1 files (more/1.dcm)." in recognise(root).seen
    for path in (root / "train").iterdir():
        path.rename(path.with_suffix(".dcm"))
    for path in (root / "test").iterdir():
        path.rename(path.with_suffix(".dcm"))
    with pytest.raises(InputError, match=r"must hold images that can be read.*29 files of other kinds.*convert"):
        recognise(root)


@pytest.mark.parametrize("template", ["train/{label}.{id}.jpg", "train/{label}_{id}.jpg", "train/{id}-{label}.jpg"])
@pytest.mark.parametrize("names", [("cat", "dog"), ("big cat", "small_dog")])
def test_files_that_name_their_class(tmp_path: Path, template: str, names: tuple[str, str]) -> None:
    if "-{label}" in template and "_" in names[1]:
        names = ("big cat", "small dog")
    root = tmp_path / "c"
    put(root, [template.format(label=name, id=number) for name in names for number in range(8)])
    put(root, [f"test/{number}.jpg" for number in range(6)])
    write_table(root / "sample_submission.csv", ["id", "label"], [[number, 0.5] for number in range(6)])
    _, cfg, train, test = read(root, tmp_path)
    assert (cfg.data.train, cfg.data.id, cfg.data.negative) == (template, "path", names[0])
    assert sorted(train.labels["label"]) == ["0"] * 8 + ["1"] * 8 and test.paths[0] == "test/0.jpg"
    assert cfg.task.metric == "roc_auc"


@pytest.mark.parametrize("alike", [1, 60])
def test_a_folder_of_nothing_to_find_is_zero_and_versions_are_groups(tmp_path: Path, alike: int) -> None:
    root = tmp_path / "c"
    noise = np.random.default_rng(0).integers(0, 250, (9, 16, 16, 3), np.uint8)
    for step, folder in enumerate(("None", "marked a", "marked b")):
        (root / folder).mkdir(parents=True)
        for number in range(9):
            Image.fromarray(noise[number] + step * alike).save(root / folder / f"{number}.jpg")
    put(root, [f"Test/{number}.jpg" for number in range(6)])
    write_table(root / "sample_submission.csv", ["Id", "score"], [[f"{number}.jpg", 0] for number in range(6)])
    found, cfg, train, _ = read(root, tmp_path)
    wanted = ("None", "roc_auc", 27) if alike == 1 else ("", "accuracy", 27)
    assert (cfg.data.negative, cfg.task.metric, len(train)) == wanted
    assert cfg.data.group == ("file" if alike == 1 else "") and found.facts.versions == (alike == 1)
    assert alike > 1 or set(train.groups or []) == {f"group {number}.jpg" for number in range(9)}
    assert list(train.labels["label"]).count("0") == 9 or alike > 1


def test_zeros_for_two_versions_of_an_image_ask_for_a_probability(tmp_path: Path) -> None:
    root = tmp_path / "c"
    noise = np.random.default_rng(0).integers(0, 250, (9, 16, 16, 3), np.uint8)
    for step, folder in enumerate(("cover", "stego")):
        (root / folder).mkdir(parents=True)
        for number in range(9):
            Image.fromarray(noise[number] + step).save(root / folder / f"{number}.png")
    put(root, [f"test/{number}.png" for number in range(6)])
    write_table(root / "sample_submission.csv", ["Id", "score"], [[f"{number}.png", 0] for number in range(6)])
    _, cfg, _, _ = read(root, tmp_path)
    assert (cfg.data.negative, cfg.data.group, cfg.task.metric) == ("cover", "file", "roc_auc")


def test_labels_of_which_none_says_nothing(tmp_path: Path) -> None:
    root = tmp_path / "c"
    plain(root)
    write_table(root / "sample_submission.csv", ["id", "label"], [[id_, 0.5] for id_ in TEST])
    with pytest.raises(InputError, match=r"asks for a number.*'ant', 'bee', 'cow', 'dog'.*data\.negative"):
        recognise(root)


@pytest.mark.parametrize("placeholder", ["", "NaN", "None", "?"])
def test_what_is_no_answer(tmp_path: Path, placeholder: str) -> None:
    plain(tmp_path / "c", labels=[number % 3 for number in range(20)])
    write_table(tmp_path / "c" / "sample_submission.csv", ["id", "label"], [[id_, placeholder] for id_ in TEST])
    _, cfg, _, _ = read(tmp_path / "c", tmp_path)
    assert (cfg.task.metric, cfg.data.labels) == ("accuracy", ("label",))


@pytest.mark.parametrize("header", [["", "id", "label", "img_path"], ["id", "img_path", "label", ""]])
def test_columns_that_are_not_to_be_filled(tmp_path: Path, header: list[str]) -> None:
    root = tmp_path / "c"
    plain(root)
    cells = {"": range(8), "id": TEST, "label": ["ant"] * 8, "img_path": [f"./test/{id_}.png" for id_ in TEST]}
    rows = [list(row) for row in zip(*(cells[name] for name in header), strict=True)]
    write_table(root / "sample_submission.csv", header, rows)
    _, cfg, train, test = read(root, tmp_path)
    assert (cfg.data.id, cfg.data.labels, cfg.task.metric) == ("id", ("label",), "accuracy")
    task = make_task(cfg, train)
    form = read_form(cfg, task, test.ids)
    assert form.targets == ("label",)
    (frame,) = fill(form, task, test.ids, Probs.dense(np.eye(4)[np.arange(8) % 4]))
    assert list(frame.columns) == header and list(frame["img_path"]) == list(cells["img_path"])
    write(tmp_path / "submission.csv", form, task, [frame])
    assert (tmp_path / "submission.csv").read_text().splitlines()[0] == ",".join(header)


@pytest.mark.parametrize(("named", "metric"), [("", "quadratic_kappa"), ("json", "accuracy"), ("csv", "accuracy")])
def test_numbers_from_0_on_that_no_file_names_are_grades(tmp_path: Path, named: str, metric: str) -> None:
    root = tmp_path / "c"
    grades = [0, 0, 0, 0, 0, 0, 0, 0, 1, 1, 1, 1, 2, 2, 2, 2, 3, 3, 4, 4]
    plain(root, labels=grades)
    if named == "json":
        (root / "names.json").write_text(json.dumps({str(number): f"name {number}" for number in range(5)}))
    if named == "csv":
        write_table(root / "names.csv", ["code", "name"], [[number, f"name {number}"] for number in range(5)])
    found, cfg, train, _ = read(root, tmp_path)
    assert cfg.task.metric == metric and make_task(cfg, train).kind == ("single" if named else "ordinal")
    assert "quadratic_kappa" in render(found)


def test_numbers_of_which_0_is_rare_are_classes(tmp_path: Path) -> None:
    plain(tmp_path / "c", labels=[0, 1, 1, 1, 1, 1, 1, 1, 2, 2, 2, 2, 3, 3, 3, 3, 4, 4, 4, 4])
    assert recognise(tmp_path / "c").value("task.metric") == "accuracy"


@pytest.mark.parametrize("pattern", ["{image}_{name}", "{image}-{name}", "{name} {image}"])
@pytest.mark.parametrize("train_is_long", [True, False])
def test_a_row_for_each_image_and_class(tmp_path: Path, pattern: str, train_is_long: bool) -> None:
    root, names = tmp_path / "c", ["any", "in_the_middle", "left-side"]
    put(root, [f"train/ID_{id_}.png" for id_ in TRAIN] + [f"test/ID_{id_}.png" for id_ in TEST])
    draw = random.Random(0)
    flags = {(id_, name): draw.randrange(2) for id_ in TRAIN for name in names}

    def row(id_: str, name: str) -> str:
        return pattern.format(image=f"ID_{id_}", name=name)

    if train_is_long:
        write_table(root / "train.csv", ["ID", "Label"], [[row(*pair), flag] for pair, flag in flags.items()])
    else:
        rows = [[f"ID_{id_}", *(flags[id_, name] for name in names)] for id_ in TRAIN]
        write_table(root / "train.csv", ["ID", *names], rows)
    asked = [[row(id_, name), 0.5] for id_ in TEST for name in names]
    draw.shuffle(asked)
    write_table(root / "sample_submission.csv", ["ID", "Label"], asked)
    _, cfg, train, test = read(root, tmp_path)
    assert cfg.data.rows == pattern.replace("image", "id").replace("name", "class")
    assert sorted(cfg.data.labels) == names and len(train) == 20 and len(test) == 8
    assert cfg.task.metric == "mean_column_auc"
    task = make_task(cfg, train)
    assert task.kind == "multi"
    assert all(int(train.labels.loc[f"ID_{id_}", name]) == flag for (id_, name), flag in flags.items())
    form = read_form(cfg, task, test.ids)
    probs = np.random.default_rng(0).random((8, 3)).astype(np.float32)
    (frame,) = fill(form, task, test.ids, Probs.dense(probs))
    write(tmp_path / "submission.csv", form, task, [frame])
    assert list(frame["ID"]) == [id_ for id_, _ in asked]
    written = dict(zip(frame["ID"], map(float, frame["Label"]), strict=True))
    for number, id_ in enumerate(test.ids):
        for column, name in enumerate(task.classes):
            assert written[row(id_.removeprefix("ID_"), name)] == pytest.approx(probs[number, column])


def test_a_column_of_file_names_comes_before_numbers_that_name_other_files(tmp_path: Path) -> None:
    root = tmp_path / "c"
    put(root, [f"train/{number}.jpg" for number in range(1, 31)] + [f"test/{number}.jpg" for number in range(1, 9)])
    rows = [[number + 1, f"{number * 7 % 30 + 1}.jpg", NAMES[number % 4]] for number in range(30)]
    write_table(root / "train.csv", ["no", "image", "label"], rows)
    write_table(root / "test.csv", ["no", "image"], [[n + 1, f"{n * 3 % 8 + 1}.jpg"] for n in range(8)])
    write_table(root / "sample_submission.csv", ["no", "label"], [[n + 1, ""] for n in range(8)])
    _, cfg, train, test = read(root, tmp_path)
    assert (cfg.data.image, cfg.data.test, cfg.data.test_image) == ("train/{image}", "test.csv", "test/{image}")
    assert train.paths[train.ids.index("2")] == "train/8.jpg" and test.paths[1] == "test/4.jpg"


@pytest.mark.parametrize("separator", [" ", ",", "|"])
def test_tags_that_never_stand_alone(tmp_path: Path, separator: str) -> None:
    draw = random.Random(0)
    weather = ["clear", "cloudy", "haze"]
    cells = [
        separator.join([draw.choice(weather), "primary", *draw.sample(["road", "water", "farm", "house"], number % 4)])
        for number in range(20)
    ]
    plain(tmp_path / "c", ("id", "tags"), cells)
    assert recognise(tmp_path / "c").value("data.tag_separator") == separator


@pytest.mark.parametrize("answers", [["0"] * 8, ["0", "1"] * 4, ["0.5"] * 8])
def test_numbers_in_a_sample_whose_labels_are_names(tmp_path: Path, answers: list[str]) -> None:
    root, two = tmp_path / "c", ["off", "on"] * 10
    plain(root, labels=two)
    write_table(root / "sample_submission.csv", ["id", "label"], [list(row) for row in zip(TEST, answers, strict=True)])
    _, cfg, _, _ = read(root, tmp_path)
    assert (cfg.data.negative, cfg.task.metric) == ("off", "roc_auc" if answers[0] == "0.5" else "accuracy")


def test_a_usage_column_is_copied(tmp_path: Path) -> None:
    root = tmp_path / "c"
    plain(root)
    write_table(root / "sample_submission.csv", ["id", "label", "Usage"], [[id_, "ant", "Public"] for id_ in TEST])
    _, cfg, train, test = read(root, tmp_path)
    assert (cfg.data.labels, cfg.task.metric) == (("label",), "accuracy")
    form = read_form(cfg, make_task(cfg, train), test.ids)
    assert form.targets == ("label",) and form.copied["Usage"] == ["Public"] * 8


@pytest.mark.parametrize(
    ("labels", "header", "message"),
    [
        ([number / 7 for number in range(20)], ["id", "one", "two"], "must be the classes or the label columns"),
        (["1 3 9 4"] * 10 + ["2 2 7 5"] * 10, ["id", "label"], "masks it seems"),
        ([number % 3 for number in range(20)], ["id", "class_a", "class_b", "class_c"], "2 more|class_a"),
    ],
)
def test_what_cannot_be_answered_is_refused_at_once(
    tmp_path: Path, labels: list[object], header: list[str], message: str
) -> None:
    root = tmp_path / "c"
    plain(root, labels=labels)
    write_table(root / "sample_submission.csv", header, [[id_, *[0.5] * (len(header) - 1)] for id_ in TEST])
    with pytest.raises(InputError, match=message):
        recognise(root)


def test_several_columns_of_classes_are_refused_at_once(tmp_path: Path) -> None:
    root = tmp_path / "c"
    plain(root)
    rows = [[id_, NAMES[number % 4], number % 3] for number, id_ in enumerate(TRAIN)]
    write_table(root / "train.csv", ["id", "shape", "band"], rows)
    write_table(root / "sample_submission.csv", ["id", "shape", "band"], [[id_, "ant", 0] for id_ in TEST])
    with pytest.raises(InputError, match="several label columns must hold 0 or 1"):
        recognise(root)


def test_test_images_that_are_not_there(tmp_path: Path) -> None:
    root = tmp_path / "c"
    plain(root)
    for path in (root / "test").iterdir():
        path.unlink()
    with pytest.raises(InputError, match="must name test images; besides the train images there are no images"):
        recognise(root)
    put(root, [f"train_masks/{id_}.png" for id_ in TRAIN])
    with pytest.raises(InputError, match="must name test images; at most"):
        recognise(root)


def test_numbers_that_only_look_like_a_box(tmp_path: Path) -> None:
    root = tmp_path / "c"
    put(root, [f"train/{id_}.png" for id_ in TRAIN] + [f"test/{id_}.png" for id_ in TEST], size=(24, 20))
    for name, ids in (("train", TRAIN), ("test", TEST)):
        rows = [
            [id_, 1, 2, 12, 13, *(["ant", "bee"][number % 2 :][:1] if name == "train" else [])]
            for number, id_ in enumerate(ids)
        ]
        header = ["id", "rooms", "floors", "age", "area", *(["label"] if name == "train" else [])]
        write_table(root / f"{name}.csv", header, rows)
    write_table(root / "sample_submission.csv", ["id", "label"], [[id_, "ant"] for id_ in TEST])
    assert recognise(root).value("data.box") is None


def test_images_in_folders_that_no_column_names(tmp_path: Path) -> None:
    root = tmp_path / "c"
    names = [f"{number:02x}{number * 37 % 251:02x}" for number in range(28)]
    where = {
        name: f"{'train' if place < 20 else 'test'}/{name[0]}/{name[1]}/{name}.jpg" for place, name in enumerate(names)
    }
    put(root, list(where.values()))
    write_table(root / "train.csv", ["id", "label"], [list(row) for row in zip(names[:20], LABELS, strict=True)])
    write_table(root / "sample_submission.csv", ["id", "label"], [[name, "ant"] for name in names[20:]])
    _, cfg, train, test = read(root, tmp_path)
    assert (cfg.data.image, cfg.data.test_image) == ("train/**/{id}.jpg", "test/**/{id}.jpg")
    assert [where[id_] for id_ in train.ids] == train.paths and [where[id_] for id_ in test.ids] == test.paths


@pytest.mark.parametrize("cell", ["/kaggle/input/c/{0}", "open/{0}", "..\\data\\{1}", "{1}"])
def test_paths_of_another_machine(tmp_path: Path, cell: str) -> None:
    root = tmp_path / "c"
    put(root, [f"train/a/{id_}.png" for id_ in TRAIN] + [f"test/b/{id_}.png" for id_ in TEST])

    def rows(folder: str, ids: list[str]) -> list[list[object]]:
        return [[n, cell.format(f"{folder}/{id_}.png", f"{id_}.png"), NAMES[n % 4]] for n, id_ in enumerate(ids)]

    write_table(root / "train.csv", ["id", "path", "label"], rows("train/a", TRAIN))
    write_table(root / "test.csv", ["id", "path"], [row[:2] for row in rows("test/b", TEST)])
    write_table(root / "sample_submission.csv", ["id", "label"], [[n, "ant"] for n in range(8)])
    _, _, train, test = read(root, tmp_path)
    assert sorted(train.paths) == [f"train/a/{id_}.png" for id_ in TRAIN]
    assert test.paths == [f"test/b/{id_}.png" for id_ in TEST]


def test_leading_zeros_that_the_table_lacks(tmp_path: Path) -> None:
    root = tmp_path / "c"
    put(
        root, [f"train/{number:05}.png" for number in range(20)] + [f"test/{number:05}.png" for number in range(20, 28)]
    )
    write_table(root / "train.csv", ["id", "label"], [[number, LABELS[number]] for number in range(20)])
    write_table(root / "sample_submission.csv", ["id", "label"], [[number, "ant"] for number in range(20, 28)])
    _, cfg, train, test = read(root, tmp_path)
    assert (cfg.data.image, cfg.data.test_image) == ("train/{id:05}.png", "test/{id:05}.png")
    assert train.paths[train.ids.index("7")] == "train/00007.png" and test.paths[0] == "test/00020.png"


def test_one_extension_or_another(tmp_path: Path) -> None:
    root = tmp_path / "c"
    put(root, [f"train/{id_}.{'jpg' if int(id_) % 3 else 'png'}" for id_ in TRAIN])
    put(root, [f"test/{id_}.{'jpg' if int(id_) % 2 else 'png'}" for id_ in TEST])
    write_table(root / "train.csv", ["id", "label"], [list(row) for row in zip(TRAIN, LABELS, strict=True)])
    write_table(root / "sample_submission.csv", ["id", "label"], [[id_, "ant"] for id_ in TEST])
    _, cfg, train, test = read(root, tmp_path)
    assert (cfg.data.image, cfg.data.test_image) == ("train/{id}.*", "test/{id}.*")
    assert train.paths[:2] == ["train/000.png", "train/001.jpg"] and len(test.paths) == 8


def test_test_images_in_two_folders(tmp_path: Path) -> None:
    root = tmp_path / "c"
    put(root, [f"train/a{id_}.png" for id_ in TRAIN] + [f"test{int(id_) % 2 + 1}/b{id_}.png" for id_ in TEST])
    write_table(
        root / "train.csv", ["id", "label"], [[f"a{id_}", label] for id_, label in zip(TRAIN, LABELS, strict=True)]
    )
    write_table(root / "sample_submission.csv", ["id", "label"], [[f"b{id_}", "ant"] for id_ in TEST])
    _, cfg, _, test = read(root, tmp_path)
    assert cfg.data.test_image == "**/{id}.png" and test.paths[:2] == ["test1/b000.png", "test2/b001.png"]
