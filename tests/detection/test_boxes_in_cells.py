"""A class and its boxes in a cell."""

from pathlib import Path

from downloads import LABELS, TEST, TRAIN, put, read
from making import write_table


def test_the_first_class_of_a_cell_is_the_label(tmp_path: Path) -> None:
    root = tmp_path / "c"
    put(root, [f"Data/train/{label}/{label}_{id_}.png" for id_, label in zip(TRAIN, LABELS, strict=True)])
    put(root, [f"Data/test/t_{id_}.png" for id_ in TEST])
    rows = [
        [f"{label}_{id_}", " ".join([f"{label} 1 2 {3 + int(id_)} 4"] * (1 + int(id_) % 3)) + " "]
        for id_, label in zip(TRAIN, LABELS, strict=True)
    ]
    write_table(root / "LOC_train_solution.csv", ["ImageId", "PredictionString"], rows)
    sample = [[f"t_{id_}", "ant 0 0 8 8 "] for id_ in TEST]
    write_table(root / "LOC_sample_submission.csv", ["ImageId", "PredictionString"], sample)
    _, cfg, train, test = read(root, tmp_path)
    assert (cfg.data.train, cfg.data.label_pattern) == ("LOC_train_solution.csv", r"^(\S+)")
    assert train.labels["PredictionString"].tolist() == [id_.partition("_")[0] for id_ in train.ids]
    assert sorted(train.paths) == sorted(f"Data/train/{b}/{b}_{a}.png" for a, b in zip(TRAIN, LABELS, strict=True))
    assert test.paths == [f"Data/test/t_{id_}.png" for id_ in TEST] and cfg.task.metric == "accuracy"
