"""Labels to numbers and back: kinds, classes, and what is no label."""

import numpy as np
import pandas as pd
import pytest

from pipeline.competition.table import Samples
from pipeline.competition.task import Task, in_order, make_task, split_tags
from pipeline.config import ConfigError
from pipeline.config_file import check
from pipeline.files import InputError


def samples(**columns: list[str]) -> Samples:
    frame = pd.DataFrame(columns, dtype=str)
    ids = [str(number) for number in range(len(frame))]
    return Samples(ids, ids, frame)


def task_of(labels: Samples, metric: str = "accuracy", kind: str = "auto", separator: str = "") -> Task:
    data = {"labels": tuple(labels.labels.columns), "tag_separator": separator}
    return make_task(check({"data": data, "task": {"metric": metric, "kind": kind}}), labels)


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


def test_order_and_tags() -> None:
    assert in_order(["10", "9", "007"]) == ["007", "9", "10"]
    assert in_order(["10", "9", "x"]) == ["10", "9", "x"]
    assert split_tags(" a  b a ", " ") == ["a", "b"]
    assert split_tags("a b, c", ",") == ["a b", "c"]
    assert np.array(split_tags("", ",")).size == 0
