"""More labelled tables (`data.extra`): their rows are train rows, known apart from others of the same id."""

from collections import Counter
from collections.abc import Callable
from pathlib import Path

import pytest

from downloads import put
from making import write_table
from pipeline.competition.folds.fold_table import read_labelled
from pipeline.competition.tables.table import Samples, read_test, read_train
from pipeline.config import Config, ConfigError
from pipeline.config_file import load
from pipeline.files import InputError
from pipeline.folds import make_folds
from pipeline.freshness import folds_from, prepared_from

EXTRA = 'data.extra=["val.csv:val/{id}.png"]'
Make = Callable[..., Config]


def with_val(root: Path, header: list[str], rows: list[list[object]]) -> None:
    write_table(root / "val.csv", header, rows)
    put(root, [f"val/{row[0]}.png" for row in rows])


def test_rows_of_an_extra_table_are_train_rows_with_ids_of_their_own(competition: Make) -> None:
    cfg = competition(EXTRA)
    with_val(cfg.root, ["label", "id"][::-1], [["001", "cow"], ["000", "bee"]])
    train, alone = read_train(cfg, files=True), read_train(competition())
    assert train.ids == [*alone.ids, "val.csv:000", "val.csv:001"]
    assert train.paths == [*alone.paths, "val/000.png", "val/001.png"]
    assert list(train.labels["label"]) == [*alone.labels["label"], "bee", "cow"]
    assert train.groups is None and list(train.labels.index) == train.ids
    make_folds(cfg)
    labelled = read_labelled(cfg)
    assert labelled.samples.ids == train.ids and set(labelled.folds.tolist()) == {0, 1}


def test_without_a_template_the_images_lie_as_the_others_do(competition: Make) -> None:
    cfg = competition('data.extra=["more.csv"]')
    write_table(cfg.root / "more.csv", ["id", "label"], [["x", "ant"]])
    put(cfg.root, ["train/x.png"])
    assert read_train(cfg, files=True).paths[-1] == "train/x.png"


def test_a_path_template_makes_an_extra_table(competition: Make) -> None:
    cfg = competition('data.extra=["valid/{label}/{id:03}.png"]')
    put(cfg.root, ["valid/ant/000.png", "valid/bee/000.png", "valid/bee/001.png"])
    train = read_train(cfg, files=True)
    # The ids within both folders are the same: files are known by their paths.
    assert train.ids[24:] == train.paths[24:] == ["valid/ant/000.png", "valid/bee/000.png", "valid/bee/001.png"]
    assert list(train.labels["label"][24:]) == ["ant", "bee", "bee"]


def grouped(cfg: Config, header: list[str], rows: list[list[object]]) -> Samples:
    write_table(cfg.root / "train.csv", ["id", "label", "who"], [[f"{n:03d}", "ab"[n % 2], n // 2] for n in range(24)])
    with_val(cfg.root, header, rows)
    return read_train(cfg)


def test_groups_go_across_tables_and_rows_without_one_are_their_own(competition: Make) -> None:
    cfg = competition(EXTRA, "data.group=who")
    train = grouped(cfg, ["id", "label", "who"], [["000", "a", 0], ["001", "b", 99], ["002", "b", 99]])
    assert train.groups is not None
    assert Counter(train.groups)["group 0"] == 3 and Counter(train.groups)["group 99"] == 2
    make_folds(cfg)
    folds = read_labelled(cfg).folds
    assert len({fold for fold, group in zip(folds.tolist(), train.groups, strict=True) if group == "group 0"}) == 1
    train = grouped(cfg, ["id", "label"], [["000", "a"], ["001", "b"]])
    assert train.groups is not None and train.groups[24:] == ["image val.csv:000", "image val.csv:001"]


def test_groups_of_another_table_are_looked_up_by_the_ids_of_the_tables(competition: Make) -> None:
    cfg = competition(EXTRA, "data.group=about.csv:who")
    write_table(cfg.root / "about.csv", ["id", "who"], [["000", "x"], ["v", "x"]])
    with_val(cfg.root, ["id", "label"], [["v", "ant"]])
    groups = read_train(cfg).groups
    assert groups is not None and (groups[0], groups[1], groups[-1]) == ("group x", "image 001", "group x")


def test_the_negative_label_need_not_be_in_every_table(competition: Make) -> None:
    cfg = competition(EXTRA, "data.negative=cow")
    with_val(cfg.root, ["id", "label"], [["v", "ant"]])
    assert list(read_train(cfg).labels["label"])[-3:] == ["1", "0", "1"]


@pytest.mark.parametrize(
    ("extra", "message"),
    [
        ("train.csv", r"24 ids appear more than once \(000, "),
        ("no.csv", r"data\.extra: .*no\.csv does not exist"),
        ("../no.csv", r"data\.extra must stay inside"),
        ("val.csv:elsewhere/{id}.png", r"data\.extra = 'elsewhere/\{id\}\.png': 1 images are missing"),
        ("odd.csv", r"odd\.csv must have the columns 'label'"),
    ],
)
def test_what_is_wrong_with_an_extra_table_is_said(competition: Make, extra: str, message: str) -> None:
    cfg = competition(f'data.extra=["{extra}"]')
    with_val(cfg.root, ["id", "label"], [["v", "ant"]])
    write_table(cfg.root / "odd.csv", ["id", "kind"], [["v", "ant"]])
    with pytest.raises(InputError, match=message):
        read_train(cfg, files=True)


def test_an_extra_table_has_a_name(competition: Make) -> None:
    with pytest.raises(ConfigError, match="'extra' must name a table in each item"):
        competition('data.extra=[":val/{id}.png"]')


@pytest.mark.parametrize("kind", ["names.txt", "names.lst", "names.csv"])
@pytest.mark.parametrize("line", ["all/{}.png", "{}.png", "{}", "./all/{}"])
@pytest.mark.parametrize("image", ["all/{id}.png", "**/{id}.png", "all/{id}.*"])
def test_a_list_says_which_rows_of_one_table_are_tested(workplace: Path, kind: str, line: str, image: str) -> None:
    root = workplace / "input" / "one"
    write_table(root / "all.csv", ["id", "label"], [[f"{number:03d}", "ab"[number % 2]] for number in range(10)])
    put(root, [f"all/{number:03d}.png" for number in range(10)])
    tested = ["003", "007", "000"]
    (root / kind).write_text("".join(f"{line.format(id_)}\n" for id_ in tested))
    text = (
        f'[data]\nroot = "input/one"\ntrain = "all.csv"\ntest = "all.csv"\nimage = "{image}"\ntest_image = "{image}"\n'
    )
    (workplace / "configs" / "one.toml").write_text(f'{text}split = "{kind}"\n')
    cfg = load(Path("configs/one.toml"))
    train, test = read_train(cfg, files=True), read_test(cfg, files=True)
    assert test.ids == sorted(tested) and not set(train.ids) & set(tested) and len(train) == 7
    assert train.notes == (
        f"input/one/all.csv: 3 of 10 rows are to be predicted by data.split = {kind!r}, and not trained on",
    )


def test_folders_of_classes_are_split_by_a_list_too(competition: Make) -> None:
    template = "kinds/{label}/{id}.png"
    cfg = competition(
        *(f"data.{key}={template}" for key in ("train", "image", "test", "test_image")), "data.split=test.txt"
    )
    put(cfg.root, [f"kinds/{name}/{name}{number}.png" for name in ("ant", "bee") for number in range(4)])
    (cfg.root / "test.txt").write_text("ant/ant0\nbee/bee3\n")
    assert read_test(cfg).ids == ["ant0", "bee3"]
    assert read_train(cfg).ids == ["ant1", "ant2", "ant3", "bee0", "bee1", "bee2"]


@pytest.mark.parametrize("name", ["val.csv", "names.txt"])
def test_what_says_which_rows_train_makes_images_and_folds_anew(competition: Make, name: str) -> None:
    cfg = competition(EXTRA, "data.split=names.txt")
    with_val(cfg.root, ["id", "label"], [["v", "ant"], ["w", "bee"]])
    (cfg.root / "names.txt").write_text("001\n")
    before = folds_from(cfg), prepared_from(cfg, [])["tables"]
    assert (folds_from(cfg), prepared_from(cfg, [])["tables"]) == before
    with (cfg.root / name).open("a") as stream:
        stream.write("002,ant\n" if name == "val.csv" else "002\n")
    assert folds_from(cfg) != before[0] and prepared_from(cfg, [])["tables"] != before[1]
