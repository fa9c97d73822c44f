"""The settings that say what the competition is: its files, what is predicted and scored, how its images are split."""

import re
from typing import Annotated, Literal

from pydantic import Field, model_validator

from pipeline.section import Section, Stages


class DataConfig(Section):
    """Where the competition's files are. Paths are relative to `root`; templates name a table's columns in braces."""

    stages = Stages("prepare")
    root: str = Field(
        "input/digits",
        min_length=1,
        description="the competition's folder, or its address elsewhere (s3://, gs://, hf://, https://), from which it "
        "is copied under output/cache",
    )
    train: Annotated[str, Stages("prepare", "folds")] = Field(
        "train.csv",
        min_length=1,
        description="the train table (csv, json, xlsx, parquet, jsonl, a list), or a path template that makes it",
    )
    extra: Annotated[tuple[str, ...], Stages("prepare", "folds")] = Field(
        (),
        description="more labelled tables, whose rows are train rows too: `TABLE` or, where its images lie elsewhere, "
        "`TABLE:IMAGE`, as in val.csv:val/{id}.png; or a path template. An id of theirs is TABLE:ID, a file's its path",
    )
    headerless: Annotated[tuple[str, ...], Stages("prepare", "ensemble")] = Field(
        (), description="tables (csv) without a header line: their columns are column_1, column_2, ..."
    )
    encoding: Annotated[str, Stages("prepare", "folds", "ensemble")] = Field(
        "",
        description='encoding of tables that are not UTF-8 (gbk, cp1252 ...); "": CP949 where that gives Korean',
    )
    id: Annotated[str, Stages("prepare", "folds", "ensemble")] = Field("id", min_length=1, description="the id column")
    labels: Annotated[tuple[str, ...], Stages("folds", "probe", "train", "ensemble")] = Field(
        ("label",), min_length=1, description="the label column, or one column per class"
    )
    tag_separator: Annotated[str, Stages("folds", "probe", "train", "ensemble")] = Field(
        "", description='what separates several tags in one label cell; "" for one label'
    )
    label_pattern: Annotated[str, Stages("folds", "probe", "train", "ensemble")] = Field(
        "", description='regular expression of the label within a cell, its group where it has one; "" for whole cells'
    )
    negative: Annotated[str, Stages("folds", "probe", "train")] = Field(
        "", description='the label for "nothing there", where one number is asked: it counts as 0, every other as 1'
    )
    image: str = Field("train/{id}.png", min_length=1, description="template of a train image's path")
    any_case: bool = Field(False, description="files may be named in another case than in the tables: `1.JPG`, `1.jpg`")
    test: str = Field(
        "sample_submission.csv", min_length=1, description="the table of the test ids, or a path template that makes it"
    )
    test_id: Annotated[str, Stages("prepare", "ensemble")] = Field(
        "", description='the id column of the test table and the sample; "": as in the train table'
    )
    test_image: str = Field("test/{id}.png", min_length=1, description="template of a test image's path")
    sample_submission: Annotated[str, Stages("ensemble")] = Field(
        "sample_submission.csv", description='the sample submission; "" writes id and answer columns'
    )
    rows: Annotated[str, Stages("prepare", "folds", "probe", "train", "ensemble")] = Field(
        "",
        description="how an id names image and class where tables have a row for each of both, such as {id}_{class}; "
        '"": a row for each image',
    )
    split: Annotated[str, Stages("prepare", "folds")] = Field(
        "",
        description="of a table of both parts: the column that begins with test in rows to be predicted, or a list "
        "(txt, lst, csv without a header) of their images; all other rows (train, val) are trained on",
    )
    group: Annotated[str, Stages("folds")] = Field(
        "",
        description="column of images that must share a fold (a patient, a sender), of another table as "
        '`TABLE:COLUMN`; "" for none',
    )
    box: tuple[str, ...] = Field(
        (),
        description="columns of the box that images are cropped to, in pixels: left, top, right, bottom; [] for none",
    )
    box_has_size: bool = Field(False, description="the box is left, top, width, height, as in COCO's format")
    answers: Annotated[str, Stages()] = Field(
        "", description="answers of the test images, read after the submission is written, to score"
    )
    unpack_limit: Annotated[float, Stages()] = Field(
        500.0, gt=0.0, description="gigabytes that archives may be unpacked to, under output/cache"
    )
    unknown_flags: Annotated[Literal["absent", "drop"], Stages("prepare", "folds")] = Field(
        "absent",
        description="-1 and empty cells among the 0 and 1 of label columns: the tag counts as not there, or the row is "
        "left out of training",
    )
    bad_images: Annotated[Literal["error", "drop"], Stages("prepare", "folds")] = Field(
        "error",
        description="images that are missing or cannot be read, train rows without a label: stop, or leave out of "
        "training and give a test image the class prior",
    )
    conflicts: Annotated[Literal["keep", "drop"], Stages("folds")] = Field(
        "keep",
        description="versions of one train image whose labels differ: keep them, or leave them out of folds and "
        "training",
    )

    @property
    def labelled(self) -> list[tuple[str, str]]:
        """The labelled tables, or the templates that make them, each with its images' template: train, then extra."""
        return [(self.train, self.image), *map(self._extra, self.extra)]

    def _extra(self, item: str) -> tuple[str, str]:
        table, _, image = item.partition(":")
        # A path template may have a colon in its braces.
        return (item, item) if "{" in table else (table, image or self.image)

    @model_validator(mode="after")
    def _well_formed(self) -> "DataConfig":
        if not all(table for table, _ in self.labelled):
            raise ValueError(f"'extra' must name a table in each item: TABLE or TABLE:IMAGE. Got {self.extra}")
        try:
            "".encode(self.encoding or "utf-8")
        except LookupError:
            raise ValueError(f"'encoding' must be one that Python knows. Got {self.encoding!r}") from None
        try:
            re.compile(self.label_pattern)
        except re.error as error:
            raise ValueError(f"'label_pattern' must be a regular expression: {error}") from None
        if len(self.box) not in (0, 4):
            raise ValueError(f"'box' must name four columns, or none. Got {len(self.box)}")
        if self.rows and not re.fullmatch(r"\{id\}[^{}]\{class\}|\{class\}[^{}]\{id\}", self.rows):
            raise ValueError(
                f"'rows' must be {{id}}, one character, {{class}}, or the other way round. Got {self.rows!r}"
            )
        return self


class TaskConfig(Section):
    """What is to be predicted and how it is scored."""

    stages = Stages("folds", "ensemble")
    kind: Literal["auto", "single", "multi", "ordinal", "number"] = Field(
        "auto", description="one class of many, several tags, an ordered grade, a number; auto: seen from the labels"
    )
    metric: str = Field(
        "accuracy", description="the competition's score, see `pipeline/competition/answers/metrics.py`"
    )
    order: Annotated[tuple[str, ...], Stages("probe", "train", "ensemble")] = Field(
        (), description="grades that are names, from the lowest to the highest; [] for numbers and for classes"
    )

    @model_validator(mode="after")
    def _one_order(self) -> "TaskConfig":
        if len(set(self.order)) < len(self.order) or len(self.order) == 1:
            raise ValueError(f"'order' must name at least two grades, each once. Got {self.order}")
        return self


class FoldsConfig(Section):
    """How the train images are split."""

    stages = Stages("folds")
    num_folds: Annotated[int, Stages("folds", "ensemble")] = Field(
        5, ge=0, le=1000, description="folds; 0 (with full_fit): no validation"
    )
    seed: int = Field(0, ge=0, lt=2**32, description="seed of the split; 0 is a seed like any other")
    full_fit: Annotated[bool, Stages("probe")] = Field(False, description="also train one model on every train image")
    column: str = Field("", description='the user\'s own fold column in the train table; "" for none')
    duplicates: Literal["together", "apart"] = Field(
        "together", description="versions of one image, exact or near copies, share a fold, or may be in several"
    )

    @model_validator(mode="after")
    def _something_to_train(self) -> "FoldsConfig":
        if self.num_folds == 1:
            raise ValueError("'num_folds' must be 0 or at least 2. Got 1: one fold leaves nothing to train on")
        if self.num_folds == 0 and not self.full_fit:
            raise ValueError("'num_folds = 0' needs 'full_fit = true': otherwise nothing is trained")
        return self
