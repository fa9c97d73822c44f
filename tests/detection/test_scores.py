"""What the score needs: which of two labels counts as 1, labels or probabilities, and the metric that a text names."""

from pathlib import Path

import pytest

from downloads import TEST, plain
from making import write_table
from pipeline.detection.recognise import Found, recognise
from pipeline.files import InputError


def asks(root: Path, labels: list[object], target: str, answers: list[object]) -> Found:
    """A competition of these labels, whose sample asks for a column."""
    plain(root, labels=labels)
    write_table(root / "sample_submission.csv", ["id", target], [list(row) for row in zip(TEST, answers, strict=True)])
    return recognise(root)


def said(found: Found, key: str) -> str:
    """What is printed of a setting; "" for nothing."""
    return next((item.reason for item in found.choices if item.key == key and item.said), "")


@pytest.mark.parametrize(
    ("labels", "target", "zero"),
    [
        (("OK", "NG"), "defect", "OK"),
        (("good", "bad"), "label", "good"),
        (("good", "bad"), "is_good", "bad"),
        (("fire", "non_fire"), "label", "non_fire"),
        (("smoke", "nosmoke"), "label", "nosmoke"),
        (("healthy", "unhealthy"), "label", "healthy"),
        (("a_unripe", "ripe"), "ripe", "a_unripe"),
        (("with mask", "without mask"), "probability", "without mask"),
        (("ant", "wasp"), "is_ant", "wasp"),
        (("ant", "wasp"), "score", "ant"),
        (("\uc815\uc0c1", "\ubd88\ub7c9"), "label", "\uc815\uc0c1"),
        (("\uc591\uc131", "\uc74c\uc131"), "label", "\uc74c\uc131"),
        (("\u6b63\u5e38", "\u5f02\u5e38"), "label", "\u6b63\u5e38"),
        (("Parasitized", "Uninfected"), "label", "Uninfected"),
        (("helmet", "no_helmet"), "no_helmet", "helmet"),
        (("helmet", "no_helmet"), "missing_helmet", "helmet"),
        (("helmet", "no_helmet"), "violation", "helmet"),
        (("helmet", "no_helmet"), "non_violation", "no_helmet"),
        (("fire", "no_fire"), "violation", "no_fire"),
        (("with_mask", "without_mask"), "no_mask", "with_mask"),
        (("with_mask", "without_mask"), "is_mask", "without_mask"),
        (("cheating", "honest"), "not_cheating", "cheating"),
        (("authentic", "tampered"), "non_authentic", "authentic"),
        (("smoker", "other"), "nonsmoker", "smoker"),
        (("good", "bad"), "defect_free", "bad"),
        (("OK", "NG"), "no_defect", "NG"),
        (("OK", "NG"), "is_normal", "NG"),
        (("OK", "NG"), "unhealthy", "OK"),
        (("normal", "abnormal"), "abnormality", "normal"),
        (("safe", "unsafe"), "label", "safe"),
        (("stable", "unstable"), "label", "stable"),
        (("known", "unknown"), "label", "unknown"),
        (("real", "fake"), "label", "real"),
        (("real", "fake"), "is_real", "fake"),
        (("valid", "invalid"), "label", "valid"),
    ],
)
def test_what_counts_as_0_is_what_says_so_and_is_printed(
    tmp_path: Path, labels: tuple[str, str], target: str, zero: str
) -> None:
    for number, pair in enumerate((labels, labels[::-1])):
        found = asks(tmp_path / str(number), [*pair] * 10, target, [0.5] * 8)
        assert found.value("data.negative") == zero
        other = next(name for name in labels if name != zero)
        assert f"{zero!r}" in said(found, "data.negative")
        assert said(found, "data.negative").endswith(f" Turned round: --set data.negative={other!r}")


def test_what_the_alphabet_decides_says_how_to_turn_it_round(tmp_path: Path) -> None:
    found = asks(tmp_path / "c", ["ant", "wasp"] * 10, "score", [0.5] * 8)
    assert "by the alphabet alone. Turned round: --set data.negative='wasp'" in said(found, "data.negative")


@pytest.mark.parametrize("labels", [("safe", "unsafe"), ("known", "unknown"), ("cap", "no_cap")])
def test_what_is_not_certain_is_not_said_to_be(tmp_path: Path, labels: tuple[str, str]) -> None:
    found = asks(tmp_path / "c", [*labels] * 10, "defect" if "cap" in labels else "label", [0.5] * 8)
    assert " rather " in said(found, "data.negative")


@pytest.mark.parametrize(
    ("labels", "target", "zero"),
    [
        (("OK", "NG"), "label", "OK"),
        (("fresh", "rotten"), "is_fresh", "rotten"),
        (("fresh", "rotten"), "label", None),
        (("safe", "unsafe"), "label", None),
        (("glioma", "meningioma", "notumor"), "label", None),
    ],
)
@pytest.mark.parametrize("answer", [0, 1, "0.0"])
def test_one_whole_number_in_every_row_asks_for_numbers_where_names_leave_no_doubt(
    tmp_path: Path, labels: tuple[str, ...], target: str, zero: str | None, answer: object
) -> None:
    found = asks(tmp_path / "c", [*labels * 10][:20], target, [answer] * 8)
    assert found.value("data.negative") == zero and found.value("task.metric") == "accuracy"
    line = next((line for line in found.said if "in every row, the labels are names" in line), "")
    if zero:
        assert "Names are written instead with --set data.negative=''." in said(found, "data.negative") and not line
        names = recognise(tmp_path / "c", given={"data.negative": ""})
        assert not names.value("data.negative") and names.value("task.metric") == "accuracy"
    elif len(labels) == 2:
        assert line.endswith("data.negative names the label that counts as 0, where a number is wanted")
    else:
        assert line.endswith("write them into the train table, in a column that data.labels names")


def test_another_whole_number_than_0_and_1_is_a_placeholder_for_names(tmp_path: Path) -> None:
    found = asks(tmp_path / "c", ["OK", "NG"] * 10, "label", [5] * 8)
    assert not found.value("data.negative") and any("has '5' in every row" in line for line in found.said)


def test_a_rare_name_and_one_whole_number_speak_for_probabilities(tmp_path: Path) -> None:
    found = asks(tmp_path / "c", ["NG", *["OK"] * 19], "label", [0] * 8)
    assert (found.value("data.negative"), found.value("task.metric")) == ("OK", "roc_auc")
    assert "one of them of 5% of the images" in said(found, "task.metric")


def test_of_three_labels_the_negation_that_is_asked_for_is_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"asks for 'notumor' in column 'no_tumor', which must count as 1.*write 0"):
        asks(tmp_path / "c", ["glioma", "pituitary_tumor", "notumor", "glioma"] * 5, "no_tumor", [0.5] * 8)


def test_of_three_labels_the_negation_counts_as_0(tmp_path: Path) -> None:
    found = asks(tmp_path / "c", ["glioma", "pituitary_tumor", "notumor", "glioma"] * 5, "score", [0.5] * 8)
    assert found.value("data.negative") == "notumor"


RARE = [1, *[0] * 19]


@pytest.mark.parametrize(
    ("labels", "answers", "metric", "printed"),
    [
        (RARE, [0] * 8, "roc_auc", "one of them of 5% of the images"),
        (RARE, [""] * 8, "roc_auc", "one of them of 5% of the images"),
        (RARE, [0, 1] * 4, "accuracy", ""),
        ([0, 1] * 10, [0] * 8, "accuracy", "--set task.metric=roc_auc"),
        ([0, 1] * 10, [""] * 8, "accuracy", ""),
        (["False", "True"] * 10, [0] * 8, "accuracy", "--set task.metric=roc_auc"),
        ([1, 2] * 10, [1] * 8, "accuracy", ""),
        (["ant", *["bee"] * 19], ["bee"] * 8, "accuracy", ""),
    ],
)
def test_a_rare_label_speaks_for_probabilities_and_a_guess_is_printed(
    tmp_path: Path, labels: list[object], answers: list[object], metric: str, printed: str
) -> None:
    found = asks(tmp_path / "c", labels, "target", answers)
    assert found.value("task.metric") == metric
    assert bool(said(found, "task.metric")) == bool(printed) and printed in said(found, "task.metric")


@pytest.mark.parametrize(
    ("file", "text", "labels", "metric"),
    [
        ("evaluation.md", "Submissions are evaluated on area under the ROC curve.", [0, 1] * 10, "roc_auc"),
        ("description.md", "# Evaluation\n\nThe metric is the **quadratic weighted kappa**.", None, "quadratic_kappa"),
        ("page.html", "<script>score = accuracy</script><p>Evaluation: <b>mean</b> F1&#45;Score</p>", None, "macro_f1"),
        ("overview.txt", "## \ud3c9\uac00 \uc0b0\uc2dd : \uc815\ud655\ub3c4", [0, 1] * 10, "accuracy"),
        ("overview.txt", "\ub9ac\ub354\ubcf4\ub4dc\n - \ud3c9\uac00 : Macro F1", None, "macro_f1"),
        ("notes.txt", "We score the misclassification rate.", None, "error"),
        ("evaluation.md", "Scores are the mean absolute error.", [n / 7 for n in range(20)], "mae"),
        ("evaluation.md", "Your score is the Matthews correlation coefficient.", [0, 1] * 10, "mcc"),
        ("evaluation.md", "We evaluate by mean F1-Score.", ["a", "b", "a b", "b"] * 5, "samples_f1"),
        ("readme.md", "Accuracy of a baseline was 0.9.", [0, 1] * 10, "accuracy"),
        ("readme.md", "Use your best skills. We rank by beauty.", None, "accuracy"),
    ],
)  # fmt: skip
def test_a_text_beside_the_data_names_the_metric(
    tmp_path: Path, file: str, text: str, labels: list[object] | None, metric: str
) -> None:
    root = tmp_path / "c"
    grades = [number % 3 for number in range(20)] if labels is None else labels
    asks(root, grades, "label", [grades[0]] * 8)
    (root / file).write_text(f"Welcome. Data are under this licence.\n\n{text}\n", encoding="utf-8")
    found = recognise(root)
    reason = next(item.reason for item in found.choices if item.key == "task.metric")
    assert found.value("task.metric") == metric
    assert (f"{file} says: " in reason) == (file != "readme.md")


_NOT_ACCURACY = "\uc815\ud655\ub3c4(accuracy)\ub294 \ud3c9\uac00\uc5d0 \uc4f0\uc774\uc9c0 \uc54a\uc2b5\ub2c8\ub2e4."


@pytest.mark.parametrize(
    ("text", "metric"),
    [
        ("Accuracy is not used for the ranking. The metric is macro F1.", "macro_f1"),
        ("Accuracy isn't used for the ranking. The metric is macro F1.", "macro_f1"),
        (f"- {_NOT_ACCURACY}\n- \ud3c9\uac00 \uc9c0\ud45c\ub294 Macro-F1 \uc785\ub2c8\ub2e4.", "macro_f1"),
        ("\ud3c9\uac00\ub294 Macro F1 (\uc815\ud655\ub3c4 \uc544\ub2d8)", "macro_f1"),
        ("\ud3c9\uac00\ub294 macro F1 \ub300\uc2e0 MCC", "mcc"),
        ("\ud3c9\uac00\ub294 macro F1\uc774 \uc544\ub2c8\ub77c MCC", "mcc"),
        ("The score is the error rate, not macro F1.", "error"),
        ("The score is not macro F1 but the error rate.", "error"),
        ("We score by the error rate rather than by macro F1.", "error"),
        ("Instead of macro F1 we score the error rate.", "error"),
        ("Unlike macro F1, the score is the error rate.", "error"),
        ("The metric was changed from macro F1 to the error rate.", "error"),
        ("Macro F1 and MCC are no longer metrics. The score is the error rate.", "error"),
        ("We do not score by macro F1 or MCC. The score is the error rate.", "error"),
        ("The metric is the error rate and macro F1 is not used.", "error"),
        ("Scores are not only macro F1.", "macro_f1"),
        ("Files that do not open score 0; the metric is macro F1.", "macro_f1"),
        ("If a file does not open the score is macro F1 of the others.", "macro_f1"),
        ("The score is macro F1 (other data are not allowed).", "macro_f1"),
        ("The score is macro F1, other data are not allowed.", "macro_f1"),
    ],
)
def test_a_score_that_a_sentence_negates_is_passed_over(tmp_path: Path, text: str, metric: str) -> None:
    root = tmp_path / "c"
    asks(root, [number % 3 for number in range(20)], "label", [0] * 8)
    (root / "evaluation.md").write_text(text, encoding="utf-8")
    assert recognise(root).value("task.metric") == metric


@pytest.mark.parametrize(
    "text", ["average precision", "mean average precision", "area under the precision-recall curve"]
)
def test_average_precision_is_none_of_the_metrics_and_that_is_said(tmp_path: Path, text: str) -> None:
    root = tmp_path / "c"
    asks(root, [0, 1] * 10, "label", [0.5] * 8)
    (root / "evaluation.md").write_text(f"The score is the {text}.", encoding="utf-8")
    assert "No metric of that name scores such answers; set task.metric" in said(recognise(root), "task.metric")


@pytest.mark.parametrize(
    ("text", "num_classes", "stands_in"),
    [
        ("Binary F1 Score", 2, True),
        ("F1 Score (\uc591\uc131 \ud074\ub798\uc2a4 1 \uae30\uc900)", 2, True),
        ("F1 of the positive class", 2, True),
        ("F1-score", 2, True),
        ("Macro F1", 2, False),
        ("F1-score", 3, False),
        ("weighted F1", 3, True),
    ],
)
def test_macro_f1_that_stands_for_another_f1_is_printed(
    tmp_path: Path, text: str, num_classes: int, stands_in: bool
) -> None:
    root = tmp_path / "c"
    asks(root, [number % num_classes for number in range(20)], "label", [0] * 8)
    (root / "evaluation.md").write_text(f"Metric : {text}", encoding="utf-8")
    found = recognise(root)
    assert found.value("task.metric") == "macro_f1"
    assert ("macro_f1 stands for it, another score" in said(found, "task.metric")) == stands_in


@pytest.mark.parametrize("encoding", ["cp949", "utf-16", "utf-8-sig", "cp1252"])
def test_a_text_is_read_in_its_encoding(tmp_path: Path, encoding: str) -> None:
    root, text = tmp_path / "c", "\ud3c9\uac00 \uc0b0\uc2dd : Macro F1"
    if encoding == "cp1252":
        text = "Metric, \xe0 pr\xe9sent: Macro F1"
    asks(root, [0, 1] * 10, "label", [0] * 8)
    (root / "rules.txt").write_text(text, encoding=encoding)
    found = recognise(root)
    assert found.value("task.metric") == "macro_f1"
    assert encoding == "cp1252" or f"rules.txt says: {text!r}." in said(found, "task.metric")


def test_what_a_text_says_of_other_answers_is_printed_and_not_taken(tmp_path: Path) -> None:
    root = tmp_path / "c"
    asks(root, [number % 3 for number in range(20)], "label", [0] * 8)
    (root / "evaluation.md").write_text("Submissions are scored by the multi-class log loss.")
    found = recognise(root)
    assert found.value("task.metric") == "accuracy"
    assert "No metric of that name scores such answers; set task.metric" in said(found, "task.metric")
