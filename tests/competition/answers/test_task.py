"""Labels to numbers and back: kinds, classes, and what is no label."""

import numpy as np
import pandas as pd
import pytest

from pipeline.competition.answers.probs import Probs
from pipeline.competition.answers.scoring import score
from pipeline.competition.answers.task import Task, make_task, scored_by, sorted_classes, split_tags
from pipeline.competition.tables.table import Samples
from pipeline.config import ConfigError
from pipeline.config_file import check
from pipeline.files import InputError


def samples(**columns: list[str]) -> Samples:
    frame = pd.DataFrame(columns, dtype=str)
    ids = [str(number) for number in range(len(frame))]
    return Samples(ids, ids, frame)


def task_of(
    labels: Samples, metric: str = "accuracy", kind: str = "auto", separator: str = "", order: tuple[str, ...] = ()
) -> Task:
    data = {"labels": tuple(labels.labels.columns), "tag_separator": separator}
    return make_task(check({"data": data, "task": {"metric": metric, "kind": kind, "order": order}}), labels)


@pytest.mark.parametrize(
    ("columns", "metric", "separator", "kind", "classes"),
    [
        ({"y": ["b", "a", "b"]}, "accuracy", "", "single", ("a", "b")),
        ({"y": ["10", "9", "-1"]}, "accuracy", "", "single", ("-1", "9", "10")),
        ({"y": ["N/A", "nan", "None"]}, "accuracy", "", "single", ("N/A", "None", "nan")),
        ({"y": ["2", "0", "1"]}, "quadratic_kappa", "", "ordinal", ("0", "1", "2")),
        ({"y": ["2.5", "-1"]}, "rmse", "", "number", ()),
        ({"y": ["a b", "b", ""]}, "micro_f1", " ", "multi", ("a", "b")),
        ({"x": ["1", "0"], "y": ["0", "1"]}, "mean_column_auc", "", "single", ("x", "y")),
        ({"x": ["1", "0"], "y": ["1", "1"]}, "mean_column_auc", "", "multi", ("x", "y")),
    ],
)
def test_kind_and_classes_are_seen(columns: dict, metric: str, separator: str, kind: str, classes: tuple) -> None:
    task = task_of(samples(**columns), metric, separator=separator)
    assert (task.kind, task.classes) == (kind, classes)
    assert task.num_outputs == max(1, len(classes))


def test_targets() -> None:
    single = samples(y=["b", "a", "b"])
    assert task_of(single).encode(single.labels).tolist() == [1, 0, 1]
    tags = samples(y=["b a", "", "b"])
    assert task_of(tags, "micro_f1", separator=" ").encode(tags.labels).tolist() == [[1, 1], [0, 0], [0, 1]]
    numbers = samples(y=["1", "3"])
    task = task_of(numbers, "rmse")
    assert task.encode(numbers.labels).tolist() == [[1.0], [3.0]]
    assert (task.mean, task.std) == (2.0, 1.0)
    columns = samples(x=["1", "0"], y=["0", "1"])
    assert task_of(columns).encode(columns.labels).tolist() == [0, 1]


def test_classes_do_not_depend_on_the_order_of_rows() -> None:
    assert task_of(samples(y=["b", "a", "c"])).classes == task_of(samples(y=["c", "b", "a"])).classes


@pytest.mark.parametrize(
    ("columns", "metric", "separator", "message"),
    [
        ({"y": ["a", "", ""]}, "accuracy", "", r"2 labels are empty \(1, 2\) of 3 in column 'y'"),
        ({"y": ["a", "a"]}, "accuracy", "", r"at least two classes to tell apart\. Got 'a' in every row"),
        ({"y": ["1", "two"]}, "rmse", "", r"1 labels are no finite numbers \(two\)"),
        ({"y": ["1", "inf"]}, "mae", "", r"no finite numbers \(inf\)"),
        ({"x": ["1", "7"], "y": ["0", "1"]}, "accuracy", "", r"must hold 0 or 1. Got 1 other values \(7\)"),
    ],
)
def test_labels_that_cannot_be_read(columns: dict, metric: str, separator: str, message: str) -> None:
    with pytest.raises(InputError, match=message):
        task_of(samples(**columns), metric, separator=separator)


def test_unknown_labels_are_counted_and_named() -> None:
    train, other = samples(y=["a", "b"]), samples(y=["a", "c", "c", "d"])
    with pytest.raises(InputError, match=r"2 labels are no train class \(c, d\)"):
        task_of(train).encode(other.labels, "answers.csv")


def test_rows_of_one_hot_columns_have_one_class() -> None:
    with pytest.raises(InputError, match=r"2 rows have not exactly one 1 in the label columns \(0, 2\)"):
        labels = samples(x=["1", "0", "0"], y=["1", "1", "0"])
        task_of(labels, kind="single").encode(labels.labels)


def test_metric_and_kind_must_fit() -> None:
    with pytest.raises(ConfigError, match=r"scores two classes\. Got 3; 'mean_column_auc'"):
        task_of(samples(y=["a", "b", "c"]), "roc_auc")
    with pytest.raises(ConfigError, match=r"scores number labels\. Got kind 'single'"):
        task_of(samples(y=["a", "b"]), "rmse", "single")
    with pytest.raises(ConfigError, match="Did you mean 'accuracy'"):
        task_of(samples(y=["a", "b"]), "acuracy")


@pytest.mark.parametrize("metric", ["accuracy", "log_loss", "macro_f1"])
def test_ranks_are_no_probabilities(metric: str) -> None:
    values = {"data": {"labels": ("y",)}, "task": {"metric": metric}, "ensemble": {"method": "rank"}}
    with pytest.raises(ConfigError, match=f"ensemble.method must be 'mean'.*Got 'rank' with {metric}"):
        make_task(check(values), samples(y=["a", "b"]))
    for fitting in ("roc_auc", "mean_column_auc"):
        make_task(check({**values, "task": {"metric": fitting}}), samples(y=["a", "b"]))


@pytest.mark.parametrize(
    "classes",
    [
        tuple(f"{number}.0" for number in range(1, 11)),
        ("-1.0", "0.0", "1.0"),
        ("0", "0.5", "1", "1.5", "10"),
        ("-2", "-1", "0"),
        ("1e-2", "0.1", "+3"),
    ],
)
def test_grades_are_in_the_order_of_their_values(classes: tuple[str, ...]) -> None:
    task = task_of(samples(y=sorted(classes)), "quadratic_kappa")
    assert task.classes == classes and task.grades.tolist() == [float(name) for name in classes]


GRADES = ("none", "mild", "moderate", "severe")


def test_the_order_of_names_is_asked_for() -> None:
    labels = samples(y=["severe", "none", "moderate", "mild"])
    with pytest.raises(ConfigError, match=r'task.order must name the grades.*set task.order = \["mild", "moderate", '):
        task_of(labels, "quadratic_kappa")
    task = task_of(labels, "quadratic_kappa", order=GRADES)
    assert task.classes == GRADES and task.grades.tolist() == [0, 1, 2, 3]
    assert task.encode(labels.labels).tolist() == [3, 0, 2, 1]
    with pytest.raises(ConfigError, match=r"task.order must have every label.* are not in it \(severe\)"):
        task_of(labels, "quadratic_kappa", order=GRADES[:3])
    assert task_of(labels, "accuracy").classes == tuple(sorted(GRADES)), "where order is not scored none is asked for"
    with pytest.raises(ConfigError, match=r"task.order must be \[\] for labels of kind multi"):
        task_of(labels, "micro_f1", "multi", " ", order=GRADES)
    with pytest.raises(ConfigError, match="each once"):
        task_of(labels, order=("mild", "mild"))


def test_a_grade_that_no_train_image_has_is_in_the_order() -> None:
    task = task_of(samples(y=["0", "1", "4"]), "quadratic_kappa", order=tuple("01234"))
    assert task.classes == tuple("01234") and task.grades.tolist() == [0, 1, 2, 3, 4]
    assert task_of(samples(y=["0", "1", "4"]), "quadratic_kappa").grades.tolist() == [0, 1, 4]
    falling = task_of(samples(y=["0", "1", "4"]), "quadratic_kappa", order=("4", "1", "0"))
    assert falling.classes == ("4", "1", "0") and falling.grades.tolist() == [-4, -1, 0]


def test_a_model_is_scored_by_another_metric() -> None:
    task = task_of(samples(y=["mild", "none", "severe"]), "accuracy")
    assert scored_by(task, "macro_f1", ()).metric == "macro_f1"
    with pytest.raises(ConfigError, match=r"task\.order must name the grades"):
        scored_by(task, "quadratic_kappa", ())
    with pytest.raises(ConfigError, match=r"task\.order must be that of the trained models"):
        scored_by(task, "quadratic_kappa", ("none", "mild", "severe"))
    with pytest.raises(ConfigError, match="scores two classes"):
        scored_by(task, "roc_auc", ())
    with pytest.raises(ConfigError, match="scores number labels"):
        scored_by(task, "rmse", ())
    ordered = task_of(samples(y=["mild", "none"]), "accuracy", order=("none", "mild"))
    assert scored_by(ordered, "quadratic_kappa", ("none", "mild")).grades.tolist() == [0, 1]


def test_one_grade_written_in_two_ways() -> None:
    with pytest.raises(ConfigError, match=r"must be different grades.*1 have the value of another \(1.0\)"):
        task_of(samples(y=["0", "1", "1.0"]), "quadratic_kappa")


def test_columns_of_grades() -> None:
    labels = samples(severe=["1", "0"], none=["0", "1"])
    with pytest.raises(ConfigError, match=r"task\.order must name the grades"):
        task_of(labels, "quadratic_kappa")
    with pytest.raises(ConfigError, match=r"task\.kind must be auto or ordinal where columns are grades"):
        task_of(labels, "quadratic_kappa", "single")
    task = task_of(labels, "quadratic_kappa", "ordinal", order=("none", "severe"))
    assert task.encode(labels.labels).tolist() == [1, 0]
    task = task_of(labels, "quadratic_kappa", order=("none", "mild", "severe"))
    assert task.classes == ("none", "mild", "severe") and task.encode(labels.labels).tolist() == [2, 0]
    numbers = samples(**{"10": ["0", "1"], "9": ["1", "0"]})
    task = task_of(numbers, "quadratic_kappa", "ordinal")
    assert task.classes == ("9", "10") and task.encode(numbers.labels).tolist() == [0, 1]


@pytest.mark.parametrize(
    ("labels", "separator", "empty"),
    [
        ({"y": ["a b", "", "b"]}, " ", True),
        ({"y": ["a b", "a", "b"]}, " ", False),
        ({"x": ["1", "0"], "y": ["1", "0"]}, "", True),
        ({"x": ["1", "0"], "y": ["1", "1"]}, "", False),
    ],
)
def test_whether_images_may_have_no_tag(labels: dict, separator: str, empty: bool) -> None:
    assert task_of(samples(**labels), "micro_f1", "multi", separator).may_be_empty == empty


def test_numbers_that_networks_cannot_hold() -> None:
    with pytest.raises(InputError, match=r"1 are larger \(1e39\)"):
        task_of(samples(y=["1", "1e39"]), "rmse")
    with pytest.raises(InputError, match=r"must differ by more than float32 tells apart.*Got 1700000015"):
        task_of(samples(y=[str(1_700_000_000 + 3 * number) for number in range(11)]), "rmse")
    large = samples(y=["1", "1e30"])
    task = task_of(large, "rmse")
    targets = task.encode(large.labels)
    assert score(task, targets, Probs.dense(np.zeros_like(targets))) == pytest.approx(1e30 / 2**0.5)


def test_order_and_tags() -> None:
    assert sorted_classes(["b", "1.5", "a"]) == ["1.5", "a", "b"]
    assert sorted_classes(["10", "9", "007"]) == ["007", "9", "10"]
    assert sorted_classes(["10", "9", "x"]) == ["10", "9", "x"]
    assert split_tags(" a  b a ", " ") == ["a", "b"]
    assert split_tags("a b, c", ",") == ["a b", "c"]
    assert np.array(split_tags("", ",")).size == 0
