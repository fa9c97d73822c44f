"""What is printed, as it can cost the score: groups, answers that are no labels, images that are left unused."""

from pathlib import Path

import pytest

from downloads import LABELS, NAMES, TEST, TRAIN, plain, put, read
from making import write_table
from pipeline.competition.tables.table import read_train
from pipeline.config_file import load
from pipeline.detection.recognise import recognise, render
from pipeline.files import InputError


def images(root: Path) -> None:
    put(root, [f"train/{id_}.png" for id_ in TRAIN] + [f"test/t{id_}.png" for id_ in TEST])
    write_table(root / "sample_submission.csv", ["id", "label"], [[f"t{id_}", "ant"] for id_ in TEST])


def test_a_column_of_which_the_test_images_have_others_is_the_group(tmp_path: Path) -> None:
    root = tmp_path / "c"
    images(root)
    rows = [[id_, LABELS[number], f"p{number // 2}", number % 3] for number, id_ in enumerate(TRAIN)]
    write_table(root / "train.csv", ["id", "label", "patient", "view"], rows)
    for place, others in enumerate((True, False)):
        people = [f"{'q' if others else 'p'}{number % 4}" for number in range(8)]
        write_table(root / "test.csv", ["id", "patient"], [[f"t{i}", who] for i, who in zip(TEST, people, strict=True)])
        found, cfg, train, _ = read(root, tmp_path)
        assert cfg.data.group == ("patient", "")[place]
        assert [item.said for item in found.choices if item.key == "data.group" and not item.proposed] == [
            True
        ] * others
        assert not others or train.groups == [f"group p{number // 2}" for number in range(20)]


def test_groups_of_another_table(tmp_path: Path) -> None:
    root = tmp_path / "c"
    images(root)
    write_table(root / "train_labels.csv", ["id", "label"], [list(row) for row in zip(TRAIN, LABELS, strict=True)])
    about = [[id_, f"train/{id_}.png", f"s{number // 2}"] for number, id_ in enumerate(TRAIN)]
    write_table(root / "train_features.csv", ["id", "path", "site"], about[::-1])
    about = [[f"t{id_}", f"test/t{id_}.png", f"z{number // 2}"] for number, id_ in enumerate(TEST)]
    write_table(root / "test_features.csv", ["id", "path", "site"], about)
    _, cfg, train, _ = read(root, tmp_path)
    assert (cfg.data.train, cfg.data.group) == ("train_labels.csv", "train_features.csv:site")
    assert train.groups == [f"group s{number // 2}" for number in range(20)]


@pytest.mark.parametrize("header", ["id", "scan"])
@pytest.mark.parametrize("spelled", ["{}", "{}.png", "train/{}.JPG"])
@pytest.mark.parametrize("endings", [False, True])
def test_groups_of_another_table_that_spells_ids_otherwise(
    tmp_path: Path, header: str, spelled: str, *, endings: bool
) -> None:
    root = tmp_path / "c"
    images(root)
    ids, tested = (
        [f"{id_}.png" if endings else id_ for id_ in names] for names in (TRAIN, [f"t{id_}" for id_ in TEST])
    )
    write_table(root / "train.csv", ["id", "label"], [list(row) for row in zip(ids, LABELS, strict=True)])
    write_table(root / "sample_submission.csv", ["id", "label"], [[id_, "ant"] for id_ in tested])
    # The age groups as the patient does, in as many groups; it has less of a name for one, and is a number.
    about = [[spelled.format(id_), 30 + number // 2, f"p{number // 2}"] for number, id_ in enumerate(TRAIN)]
    about += [[spelled.format(f"t{id_}"), 60, f"q{number // 2}"] for number, id_ in enumerate(TEST)]
    write_table(root / "about.csv", [header, "age", "patient_id"], about[::-1])
    found, cfg, train, _ = read(root, tmp_path)
    assert cfg.data.group == "about.csv:patient_id"
    assert train.groups == [f"group p{number // 2}" for number in range(20)]
    (choice,) = (item for item in found.choices if item.said)
    assert ("by its column 'scan'" in choice.reason) == (header == "scan")


def test_a_table_of_other_images_has_no_groups_of_these(tmp_path: Path) -> None:
    root = tmp_path / "c"
    images(root)
    write_table(root / "train.csv", ["id", "label"], [list(row) for row in zip(TRAIN, LABELS, strict=True)])
    about = [[f"x{id_}", f"p{number // 2}"] for number, id_ in enumerate(TRAIN)]
    about += [[f"t{id_}", f"q{number // 2}"] for number, id_ in enumerate(TEST)]
    write_table(root / "about.csv", ["scan", "patient"], about)
    assert recognise(root).value("data.group") is None
    read(root, tmp_path)
    cfg = load(tmp_path / "found.toml", ["data.group=about.csv:patient"])
    with pytest.raises(InputError, match=r"must have a column of ids, such as '000'\. It has: scan, patient"):
        read_train(cfg)


@pytest.mark.parametrize("answers", [[0, 1, 2, 3] * 2, [0] * 8])
def test_the_column_that_counts_the_labels_is_taken_where_numbers_are_asked(tmp_path: Path, answers: list[int]) -> None:
    root = tmp_path / "c"
    plain(root)
    rows = [[id_, label, NAMES[::-1].index(label)] for id_, label in zip(TRAIN, LABELS, strict=True)]
    write_table(root / "train.csv", ["id", "label", "label_id"], rows)
    sample = [list(row) for row in zip(TEST, answers, strict=True)]
    write_table(root / "sample_submission.csv", ["id", "label"], sample)
    assert recognise(root).value("data.labels") == ("label_id",)


def test_folders_give_way_to_a_table_that_has_the_sample_s_answers(tmp_path: Path) -> None:
    root = tmp_path / "c"
    put(root, [f"train/{('may', 'june')[number % 2]}/{id_}.png" for number, id_ in enumerate(TRAIN)])
    put(root, [f"test/t{id_}.png" for id_ in TEST])
    sample = [[f"t{id_}", "ant" if int(id_) % 2 else "bee"] for id_ in TEST]
    write_table(root / "sample_submission.csv", ["id", "kind"], sample)
    found = recognise(root)
    assert found.said[0].startswith("'bee' in the sample's column 'kind' is none of the 2 labels ('june', 'may')")
    write_table(root / "notes.csv", ["id", "what"], [list(row) for row in zip(TRAIN, LABELS, strict=True)])
    found = recognise(root)
    assert found.value("data.train") == "notes.csv" and found.said == ()
    assert "Not taken: data.train = 'train/{label}/{file}'" in " ".join(render(found).replace("\n# ", " ").split())


def test_one_number_in_every_row_where_labels_are_names(tmp_path: Path) -> None:
    root = tmp_path / "c"
    plain(root)
    write_table(root / "sample_submission.csv", ["id", "label"], [[id_, 0] for id_ in TEST])
    assert recognise(root).said[0].startswith("the sample has '0' in every row, the labels are names ('ant', 'bee', ")


def test_which_of_two_images_of_each_row_is_meant_is_asked(tmp_path: Path) -> None:
    root = tmp_path / "c"
    put(root, [f"train/{id_}_{side}.png" for id_ in TRAIN for side in ("left", "right")])
    put(root, [f"test/t{id_}_{side}.png" for id_ in TEST for side in ("left", "right")])
    rows = [[id_, f"{id_}_left.png", f"{id_}_right.png", label] for id_, label in zip(TRAIN, LABELS, strict=True)]
    write_table(root / "train.csv", ["id", "one", "two", "label"], rows)
    rows = [[f"t{id_}", f"t{id_}_left.png", f"t{id_}_right.png"] for id_ in TEST]
    write_table(root / "test.csv", ["id", "one", "two"], rows)
    write_table(root / "sample_submission.csv", ["id", "label"], [[f"t{id_}", "ant"] for id_ in TEST])
    with pytest.raises(InputError, match=r"Several are equally good: 'train/\{one\}', 'train/\{two\}'.*data\.image="):
        recognise(root)
    found = recognise(root, given={"data.image": "train/{two}"})
    assert found.said[0].startswith("column 'one' of train.csv names another image of each row, which is not used")
    put(root, [f"masks/{id_}_mask.png" for id_ in TRAIN])
    rows = [[id_, f"{id_}_left.png", f"{id_}_mask.png", label] for id_, label in zip(TRAIN, LABELS, strict=True)]
    write_table(root / "train.csv", ["id", "one", "two", "label"], rows)
    assert recognise(root).value("data.image") == "train/{one}"


def test_folders_of_classes_that_are_left_are_said(tmp_path: Path) -> None:
    root = tmp_path / "c"
    put(root, [f"{part}/{name}/{n}.png" for part in ("train", "additional") for name in NAMES for n in range(5)])
    put(root, [f"test/{n}.png" for n in range(6)])
    found = recognise(root)
    assert found.said == ("folders of classes that are not used: 'additional'",)


def test_a_table_of_other_labels_of_other_images_is_said(tmp_path: Path) -> None:
    root = tmp_path / "c"
    put(root, [f"train/{name}/{n}.png" for name in NAMES for n in range(5)] + [f"test/t{n}.png" for n in range(6)])
    write_table(root / "sample_submission.csv", ["id", "label"], [[f"t{n}.png", "ant"] for n in range(6)])
    put(root, [f"validation/v{n:02d}.png" for n in range(19)])
    # An image that is not there, and one that is to be predicted, are nothing to train on.
    files = [*(f"validation/v{n:02d}.png" for n in range(20)), "test/t0.png"]
    write_table(root / "validation.csv", ["file", "category"], [[name, n % 3 + 1] for n, name in enumerate(files)])
    assert recognise(root).said == (
        "validation.csv has labels in column 'category' of 19 more images, which are not used: to train on them too, "
        "give them the form and the labels of train/{label}/{file}",
    )
    rows = [[f"test/t{n}.png", n % 3 + 1] for n in range(6)]
    write_table(root / "validation.csv", ["file", "category"], rows)
    assert recognise(root).said == ()


def test_images_under_the_names_of_used_ones_are_said(tmp_path: Path) -> None:
    root = tmp_path / "c"
    plain(root)
    put(root, ["masks/000.JPG", "train/x.jpg"])  # neither lies beside an image of its name
    assert recognise(root).said == ()
    put(root, [f"train/{id_}.JPG" for id_ in TRAIN[::3]] + [f"test/{TEST[1]}.JPG"])
    assert recognise(root).said == (
        "8 images have the name of a used one with another ending (test/001.JPG, train/000.JPG, train/003.JPG, "
        "train/006.JPG, train/009.JPG, ...), and are not used: the images are those by data.image = 'train/{id}.png'",
    )


@pytest.mark.parametrize("names", [("bus", "car", "train", "truck"), ("Testudo", "Trainer", "Valid"), ("a", "test")])
def test_a_word_of_parts_at_the_beginning_of_a_class_or_as_one_is_none(tmp_path: Path, names: tuple[str, ...]) -> None:
    root = tmp_path / "c"
    put(root, [f"train/{name}/{n}.png" for name in names for n in range(5)] + [f"test/{n}.png" for n in range(6)])
    _, cfg, train, test = read(root, tmp_path)
    assert set(train.labels["label"]) == set(names) and len(test) == 6 and cfg.data.train == "train/{label}/{file}"


def test_class_folders_with_a_folder_of_images_in_each(tmp_path: Path) -> None:
    root = tmp_path / "c"
    put(root, [f"train/{name}/images/{name}_{n}.jpg" for name in NAMES for n in range(5)])
    for name in NAMES:
        (root / "train" / name / f"{name}_boxes.txt").write_text(f"{name}_0.jpg\t0\t0\t9\t9\n")
    put(root, [f"val/images/val_{n}.jpg" for n in range(4)] + [f"test/images/test_{n}.jpg" for n in range(6)])
    _, cfg, train, test = read(root, tmp_path)
    assert cfg.data.train == "train/{label}/images/{file}" and set(train.labels["label"]) == set(NAMES)
    assert test.paths == [f"test/images/test_{n}.jpg" for n in range(6)]
    assert recognise(root).said == ()


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("train.rar", r"Got 1 files \(train\.rar\); unpack them there by hand, as in: unrar x train\.rar"),
        ("train.npz", r"Got 1 files of arrays or tables \(train\.npz\); pixels .* must be written as PNG"),
        ("a.dcm", r"Got 1 files of other kinds \(a\.dcm\); convert them to PNG"),
    ],
)
def test_what_holds_the_images_in_another_form_is_named(tmp_path: Path, name: str, message: str) -> None:
    root = tmp_path / "c"
    plain(root)
    for path in root.glob("t*/*.png"):
        path.unlink()
    (root / name).write_bytes(b"x")
    with pytest.raises(InputError, match=message):
        recognise(root)


def test_pixels_in_a_table_are_to_be_written_as_files(tmp_path: Path) -> None:
    root = tmp_path / "c"
    put(root, ["example.png"])
    rows = [[number % 3, " ".join(str(number + place) for place in range(64 * 64))] for number in range(9)]
    write_table(root / "faces.csv", ["emotion", "pixels"], rows)
    with pytest.raises(InputError, match=r"holds the pixels of an image in each cell of column 'pixels'") as error:
        recognise(root)
    assert len(str(error.value)) < 600


def test_images_named_by_web_addresses(tmp_path: Path) -> None:
    root = tmp_path / "c"
    put(root, [f"images/{id_}.jpg" for id_ in TRAIN] + [f"test/t{id_}.jpg" for id_ in TEST])
    rows = [[f"https://host.org/up/{i}.jpg?w=6&fit=max", label] for i, label in zip(TRAIN, LABELS, strict=True)]
    write_table(root / "train.csv", ["url", "label"], rows)
    write_table(root / "sample_submission.csv", ["id", "label"], [[f"t{id_}.jpg", "ant"] for id_ in TEST])
    _, _, train, _ = read(root, tmp_path)
    assert train.paths == [f"images/{id_}.jpg" for id_ in TRAIN]


def test_test_images_without_a_table_beside_a_table_of_paths(tmp_path: Path) -> None:
    root = tmp_path / "c"
    rows = [[f"train/{label}/{id_}.png", label] for id_, label in zip(TRAIN, LABELS, strict=True)]
    put(root, [row[0] for row in rows] + [f"test/{id_}.png" for id_ in TEST])
    write_table(root / "labels.csv", ["fname", "label"], rows)
    assert read(root, tmp_path)[3].ids == TEST
