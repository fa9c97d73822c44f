"""Splits by property: every id once, groups whole, sizes even, classes spread, order and names irrelevant."""

import random
from collections import Counter

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.model_selection import StratifiedGroupKFold

from pipeline.competition.folds.greedy_split import quotas
from pipeline.competition.folds.splits import assign_folds
from pipeline.files import InputError

KINDS = ["single", "ordinal", "multi", "number"]
few = settings(max_examples=40)


def make(kind: str, num: int, seed: int, num_classes: int = 4) -> tuple[list[str], np.ndarray]:
    """Ids and labels of a kind, classes of very different sizes among them."""
    rng = np.random.default_rng(seed)
    ids = [f"img_{number}" for number in rng.permutation(num)]
    if kind == "number":
        return ids, np.round(rng.normal(size=num), 1)
    if kind == "multi":
        return ids, rng.random((num, num_classes)) < rng.random(num_classes) * 0.6
    return ids, np.array([f"c{int(code)}" for code in num_classes * rng.random(num) ** 2])


def sizes(fold: np.ndarray, num_folds: int) -> np.ndarray:
    return np.bincount(fold, minlength=num_folds)


def counts(fold: np.ndarray, labels: np.ndarray, num_folds: int) -> np.ndarray:
    """(num_folds, num_classes) images of each class in each fold."""
    flags = labels if labels.ndim == 2 else labels[:, None] == np.unique(labels)
    return np.stack([flags[fold == number].sum(0) for number in range(num_folds)])


@few
@given(st.sampled_from(KINDS), st.integers(2, 120), st.integers(2, 12), st.integers(0, 2**32 - 1))
def test_every_image_has_one_fold_and_sizes_are_even(kind: str, num: int, num_folds: int, seed: int) -> None:
    ids, labels = make(kind, max(num, num_folds), seed)
    done = assign_folds(ids, labels, kind, num_folds, seed)
    assert done.fold.dtype == np.int64 and done.fold.shape == (len(ids),)
    in_fold = sizes(done.fold, num_folds)
    assert len(in_fold) == num_folds
    assert in_fold.max() - in_fold.min() <= 1


@few
@given(st.integers(6, 150), st.integers(2, 7), st.integers(0, 999), st.integers(1, 60))
def test_each_class_is_spread_within_one(num: int, num_folds: int, seed: int, num_classes: int) -> None:
    ids, labels = make("single", max(num, num_folds), seed, num_classes)
    done = assign_folds(ids, labels, "single", num_folds, 0)
    in_fold = counts(done.fold, labels, num_folds)
    assert (in_fold.max(0) - in_fold.min(0) <= 1).all()
    assert done.method == "stratified"
    expected = {name: count for name, count in Counter(labels.tolist()).items() if count < num_folds}
    assert dict(done.rare) == expected
    assert [count for _, count in done.rare] == sorted(expected.values())


@few
@given(st.integers(10, 200), st.integers(2, 7), st.integers(0, 999), st.floats(-3, 3), st.floats(0, 3))
def test_numbers_are_spread_in_every_range(num: int, num_folds: int, seed: int, low: float, width: float) -> None:
    ids, values = make("number", num, seed)
    fold = assign_folds(ids, values, "number", num_folds, 0).fold
    in_range = sizes(fold[(values >= low) & (values <= low + width)], num_folds)
    assert in_range.max() - in_range.min() <= 2


def test_no_fold_has_the_larger_numbers() -> None:
    num, num_folds = 5000, 5
    ids, values = [str(number) for number in range(num)], np.arange(num, dtype=float)
    fold = assign_folds(ids, values, "number", num_folds, 0).fold
    ranks = np.array([(values[fold == number] % num_folds).mean() for number in range(num_folds)])
    # Each block of five neighbours is dealt in an order of its own: means of 1,000 ranks with deviation 1.41 / 31.6.
    assert np.abs(ranks - 2).max() < 0.2


@few
@given(st.integers(20, 300), st.integers(2, 6), st.integers(0, 999))
def test_each_tag_has_its_share_in_each_fold(num: int, num_folds: int, seed: int) -> None:
    ids, labels = make("multi", num, seed, num_classes=8)
    done = assign_folds(ids, labels, "multi", num_folds, 0)
    off = np.abs(counts(done.fold, labels, num_folds) - labels.sum(0) / num_folds)
    assert off.max() <= 3
    assert off.mean() <= 1
    assert done.rare == sorted(
        ((column, int(count)) for column, count in enumerate(labels.sum(0)) if count < num_folds),
        key=lambda pair: pair[1],
    )


def test_rare_tags_are_never_twice_in_a_fold() -> None:
    rng = np.random.default_rng(0)
    labels = np.zeros((200, 40), bool)
    for column in range(40):
        labels[rng.choice(200, 1 + column % 5, replace=False), column] = True
    fold = assign_folds([str(number) for number in range(200)], labels, "multi", 5, 0).fold
    assert counts(fold, labels, 5).max() == 1


@pytest.mark.parametrize("width", [0, 1])
def test_tags_may_be_one_or_none(width: int) -> None:
    labels = np.arange(10)[:, None] < np.full(width, 5)
    done = assign_folds([str(number) for number in range(10)], labels, "multi", 5, 0)
    assert sizes(done.fold, 5).tolist() == [2] * 5
    assert counts(done.fold, labels, 5).tolist() == [[1] * width] * 5


@few
@given(
    st.sampled_from(KINDS),
    st.integers(8, 90),
    st.integers(2, 6),
    st.integers(0, 999),
    st.booleans(),
)
def test_order_and_names_are_irrelevant(kind: str, num: int, num_folds: int, seed: int, grouped: bool) -> None:
    ids, labels = make(kind, num, seed)
    rng = np.random.default_rng(seed)
    groups = [f"g{number % (num_folds + 5)}" for number in rng.permutation(num)] if grouped else None
    before = assign_folds(ids, labels, kind, num_folds, 3, groups)
    rows = rng.permutation(num)
    shuffled = labels[rows]
    if kind == "multi":
        shuffled = shuffled[:, rng.permutation(labels.shape[1])]
    elif kind != "number":
        shuffled = np.array([{"c0": "zebra", "c1": "c3", "c2": "c0", "c3": "an ant"}[name] for name in shuffled])
    renamed = None if groups is None else [f"other {groups[row][::-1]}" for row in rows]
    after = assign_folds([ids[row] for row in rows], shuffled, kind, num_folds, 3, renamed)
    assert (after.fold == before.fold[rows]).all()
    assert after.method == before.method


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("grouped", [False, True])
def test_every_seed_has_its_own_split(kind: str, grouped: bool) -> None:
    ids, labels = make(kind, 300, 1)
    groups = [f"g{number % 60}" for number in range(300)] if grouped else None
    folds = [assign_folds(ids, labels, kind, 5, seed, groups).fold for seed in (0, 1, 2, 0)]
    assert (folds[0] == folds[3]).all()
    for one, other in ((0, 1), (0, 2), (1, 2)):
        # Not only the folds' numbers differ: pairs of images that were together are apart.
        together = folds[one][:, None] == folds[one]
        assert (together != (folds[other][:, None] == folds[other])).mean() > 0.1


@few
@given(
    st.sampled_from(KINDS),
    st.lists(st.integers(1, 12), min_size=6, max_size=40),
    st.integers(0, 60),
    st.integers(2, 6),
    st.integers(0, 999),
)
def test_groups_stay_whole_and_sizes_are_as_even_as_they_allow(
    kind: str, group_sizes: list[int], giant: int, num_folds: int, seed: int
) -> None:
    group_sizes = [*group_sizes, *([giant] if giant else [])]
    groups = [f"g{group}" for group, size in enumerate(group_sizes) for _ in range(size)]
    random.Random(seed).shuffle(groups)
    ids, labels = make(kind, len(groups), seed)
    fold = assign_folds(ids, labels, kind, num_folds, seed, groups).fold
    for name in set(groups):
        assert len(set(fold[[group == name for group in groups]].tolist())) == 1
    in_fold = np.sort(sizes(fold, num_folds))
    wanted = np.sort(quotas(np.array(group_sizes), num_folds))
    assert wanted.sum() == len(groups)
    assert in_fold[0] > 0
    sharing = max([size for size in group_sizes if size <= wanted[0]], default=0)
    assert np.abs(in_fold - wanted).max() <= max(sharing, 0.1 * wanted[0])


def test_groups_with_balanced_classes_are_stratified_by_scikit_learn() -> None:
    rng = np.random.default_rng(0)
    labels = rng.integers(0, 3, 600).astype(str)
    groups = [f"g{number}" for number in rng.integers(0, 80, 600)]
    done = assign_folds([str(number) for number in range(600)], labels, "single", 5, 0, groups)
    assert done.method == "stratified-grouped"
    in_fold = counts(done.fold, labels, 5)
    assert (np.abs(in_fold / in_fold.sum(0) - 0.2) < 0.06).all()


def test_where_scikit_learn_leaves_folds_uneven_ours_takes_over() -> None:
    # The images of two classes in four groups. Classes alone, the rare one first, decide in StratifiedGroupKFold.
    in_group = [(30, 0), (0, 6), (0, 13), (4, 5)]
    groups = np.repeat(np.arange(4), [sum(pair) for pair in in_group])
    codes = np.concatenate([np.repeat([0, 1], pair) for pair in in_group])
    theirs = [len(valid) for _, valid in StratifiedGroupKFold(2).split(codes, codes, groups)]
    assert sorted(theirs) == [13, 45], "scikit-learn issues 33085 and 34828"
    ids = [str(number) for number in range(len(codes))]
    done = assign_folds(ids, codes.astype(str), "single", 2, 0, groups.astype(str).tolist())
    assert sizes(done.fold, 2).tolist() == [30, 28]
    assert "greedy" in done.method


@pytest.mark.parametrize(
    ("theirs", "method"),
    [
        ([0, 1, 2], "stratified-grouped"),
        ([0, 1, 0], "stratified-grouped (greedy: scikit-learn's folds were uneven)"),
    ],
)
def test_an_empty_fold_is_never_even(monkeypatch: pytest.MonkeyPatch, theirs: list[int], method: str) -> None:
    class Fixed(StratifiedGroupKFold):
        """The folds that are given, for the groups from the largest on."""

        def split(self, images: object, codes: object, groups: np.ndarray) -> list[tuple[None, np.ndarray]]:
            fold_of_group = np.empty(3, np.int64)
            fold_of_group[np.argsort(-np.bincount(groups))] = theirs
            return [(None, np.flatnonzero(fold_of_group[groups] == number)) for number in range(3)]

    monkeypatch.setattr("sklearn.model_selection.StratifiedGroupKFold", Fixed)
    groups = ["a"] * 20 + ["b"] * 20 + ["c"]
    done = assign_folds([str(number) for number in range(41)], np.array(["x"] * 41), "single", 3, 0, groups)
    assert sorted(sizes(done.fold, 3)) == [1, 20, 20] and done.method == method


@few
@given(st.lists(st.integers(1, 30), min_size=2, max_size=8), st.sampled_from(KINDS), st.integers(0, 99))
def test_as_many_groups_as_folds_have_one_each(group_sizes: list[int], kind: str, seed: int) -> None:
    groups = [f"g{group}" for group, size in enumerate(group_sizes) for _ in range(size)]
    ids, labels = make(kind, len(groups), seed)
    fold = assign_folds(ids, labels, kind, len(group_sizes), seed, groups).fold
    assert sorted(sizes(fold, len(group_sizes))) == sorted(group_sizes)


def test_every_class_rare_is_no_reason_to_stop() -> None:
    ids = [str(number) for number in range(40)]
    labels = np.array([f"only_{number}" for number in range(40)])
    groups = [str(number // 2) for number in range(40)]
    for given_groups in (None, groups):
        done = assign_folds(ids, labels, "single", 5, 0, given_groups)
        assert sizes(done.fold, 5).tolist() == [8] * 5
        assert len(done.rare) == 40


def test_many_groups_and_classes_are_assigned_without_a_matrix_of_both() -> None:
    num = 20_000
    ids = [str(number) for number in range(num)]
    labels = np.array([f"c{number % 2000}" for number in range(num)])
    groups = [str(number // 4) for number in range(num)]
    done = assign_folds(ids, labels, "single", 5, 0, groups)
    assert done.method == "stratified-grouped (greedy: groups or classes are many)"
    assert sizes(done.fold, 5).tolist() == [4000] * 5
    off = np.abs(counts(done.fold, labels, 5) - 2)
    assert off.max() <= 2 and off.mean() < 0.3


@pytest.mark.parametrize("kind", KINDS)
def test_too_few_images_or_groups_are_an_error_with_both_numbers(kind: str) -> None:
    ids, labels = make(kind, 6, 0)
    with pytest.raises(InputError, match=r"6 images and 7 folds.*folds\.num_folds"):
        assign_folds(ids, labels, kind, 7, 0)
    with pytest.raises(InputError, match=r"2 groups of images and 3 folds.*folds\.num_folds"):
        assign_folds(ids, labels, kind, 3, 0, ["a", "b"] * 3)
    assert sorted(assign_folds(ids, labels, kind, 6, 0).fold) == list(range(6))


def test_quotas_give_a_group_that_is_too_large_a_fold_of_its_own() -> None:
    assert quotas(np.array([1] * 10), 4).tolist() == [3, 3, 2, 2]
    assert quotas(np.array([50, 1, 9, 40]), 3).tolist() == [50, 40, 10]
    assert quotas(np.array([5, 5, 5]), 3).tolist() == [5, 5, 5]
