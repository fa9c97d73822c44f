"""What the sample submission asks for: its columns, ids, kind of answers, and its way of writing labels."""

from collections.abc import Collection, Mapping
from dataclasses import dataclass, field, replace
from typing import Literal

from pipeline.competition.answers import metrics
from pipeline.competition.answers.spelling import classes_of, same, same_among, spellings
from pipeline.competition.answers.task import Task, split_tags
from pipeline.competition.tables.cells import BETWEEN, DecimalComma, ListAsText, Writing
from pipeline.competition.tables.csv_table import Dialect, Table, counted, duplicates, read_csv, require_columns
from pipeline.competition.tables.long_table import is_long, parse_ids, widen
from pipeline.competition.tables.sample import gives_an_answer, targets_of
from pipeline.competition.tables.table import frame_of, is_headerless, test_id
from pipeline.config import Config
from pipeline.files import InputError, inside
from pipeline.log import log
from pipeline.paths import data_dir
from pipeline.quoting import shown

# What separates tags, besides what does in the train table.
_SEPARATORS = (",", ";", "|", " + ", "+", " / ", "/", " ")
Answer = Literal["label", "probability", "columns", "tags", "ranks", "number"]


@dataclass(frozen=True)
class Long:
    """A submission with a row for each image and class: its ids, image and class of each, and the column to fill."""

    ids: list[str]
    pairs: list[tuple[str, str]]
    column: str


@dataclass(frozen=True)
class Form:
    """What the sample submission asks for.

    label: a class name; probability: of the second of two classes; columns: a probability (or, for metrics on labels, a
    0 or 1) for each class; tags: class names; ranks: the `top` likeliest class names; number. `copied` are the cells
    of columns that are not filled. With `long`, `ids` and `targets` are images and classes, not rows and columns.
    `header` are the columns as the sample writes them, with the spaces around them, none where it has no header line;
    `answers` the labels in its cells,
    each once; `spelling` how it writes the classes that it writes otherwise than the train table; `separator` what
    stands between two tags. `class_of` is the class of each column to fill, where there is one for each.
    """

    columns: tuple[str, ...]
    id: str
    targets: tuple[str, ...]
    ids: list[str]
    answer: Answer
    dialect: Dialect
    top: int = 1
    copied: dict[str, list[str]] = field(default_factory=dict)
    long: Long | None = None
    header: tuple[str, ...] = ()
    answers: frozenset[str] = frozenset()
    spelling: Mapping[str, str] = field(default_factory=dict)
    separator: str = " "
    class_of: Mapping[str, str] = field(default_factory=dict)

    def of_rows(self, rows: slice) -> "Form":
        """The form of some rows alone; of all where rows are not those of images."""
        if self.long is not None:
            return self
        return replace(self, ids=self.ids[rows], copied={name: cells[rows] for name, cells in self.copied.items()})

    def labels_in(self, cell: str) -> list[str]:
        """The labels in one cell."""
        if self.answer == "tags":
            return split_tags(cell, self.separator)
        return cell.split(" ") if self.answer == "ranks" else [cell]


def read_form(cfg: Config, task: Task, test_ids: list[str]) -> Form:
    """What to write: by the sample submission; without one an id column and the label columns.

    Raises:
        InputError: the sample does not fit the test images or the classes; which ids or columns, and how many.
    """
    top = metrics.get(task.metric).top
    if not cfg.data.sample_submission:
        class_of = classes_of(cfg.data.labels, task.classes) or {}
        answer = _answer(task, list(cfg.data.labels), class_of, "data.labels")
        form = Form((test_id(cfg), *cfg.data.labels), test_id(cfg), cfg.data.labels, test_ids, answer, Dialect(), top)
        form = replace(form, class_of=class_of)
        return replace(form, separator=task.tag_separator or " ")
    path = inside(data_dir(cfg), cfg.data.sample_submission, "data.sample_submission")
    sample = read_csv(path, cfg.data.encoding, cfg.data.tag_separator, headerless=is_headerless(cfg, path))
    columns = [str(column) for column in sample.frame.columns]
    id_column = test_id(cfg) if test_id(cfg) in columns else columns[0]
    ids = sample.column(id_column)
    long, targets = None, []
    if cfg.data.rows and is_long(ids, cfg.data.rows, task.classes):
        wide = widen(sample.frame, id_column, cfg.data.rows, task.classes, str(sample.path))
        (value,) = targets_of(sample.frame, id_column)
        long = Long(ids, parse_ids(ids, cfg.data.rows, task.classes, str(sample.path)), value)
        ids, targets = list(wide[id_column]), [name for name in wide if name != id_column]
    if problems := [*require_columns(str(sample.path), sample.frame, columns), *_compare(cfg, sample, ids, test_ids)]:
        raise InputError("; ".join(problems))
    other = cfg.data.test not in ("", cfg.data.sample_submission) and "{" not in cfg.data.test
    test = frame_of(cfg, inside(data_dir(cfg), cfg.data.test, "data.test")) if other else None
    targets = targets or targets_of(sample.frame, id_column, test, cfg.data.labels)
    if not targets:
        raise InputError(f"{sample.path} must have a column to fill beside {shown(id_column)}. It has none")
    class_of = classes_of(targets, task.classes) or {}
    answer = _answer(task, targets, class_of, str(sample.path))
    if answer == "columns" and (renamed := [name for name in targets if class_of[name] != name]):
        log.info("submission: the sample's column %s is for the label %s%s", *_an_example(renamed, class_of))
    filled = targets if long is None else [long.column]
    copied = {name: sample.column(name) for name in columns if name not in (id_column, *filled)}
    form = Form(
        tuple(columns), id_column, tuple(targets), ids, answer, sample.dialect, top, copied, long, sample.header
    )
    form = replace(form, class_of=class_of)
    return _spelled(form, task, sample) if answer in ("label", "tags", "ranks") else _with_commas(cfg, form, sample)


def _with_commas(cfg: Config, form: Form, sample: Table) -> Form:
    """The form with decimal commas, where the train table has them and the sample shows no fraction."""
    shows = form.long is None and any(
        mark in cell for name in form.targets for cell in sample.column(name) for mark in ".,"
    )
    if sample.dialect.separator == "," or form.long is not None or shows or "{" in cfg.data.train:
        return form
    path = inside(data_dir(cfg), cfg.data.train, "data.train")
    if path.suffix.lower() == ".json" or not path.is_file():
        return form
    table = read_csv(path, cfg.data.encoding, cfg.data.tag_separator, headerless=is_headerless(cfg, path))
    writings = table.dialect.writings
    if not any(isinstance(writing, DecimalComma) for writing in writings.values()):
        return form
    known = {**sample.dialect.writings, **dict.fromkeys(form.targets, DecimalComma())}
    return replace(form, dialect=replace(sample.dialect, writings=known))


def _spelled(form: Form, task: Task, sample: Table) -> Form:
    """The form with the sample's way of writing labels, by the answers that it holds.

    Raises:
        InputError: its answers are no labels, or it is not clear how a label is to be written.
    """
    cells = sample.column(form.targets[0])
    where = f"{sample.path}, column {shown(form.targets[0])}"
    alike = same_among(task.classes)
    known = {alike(name) for name in task.classes}
    if form.answer == "tags":
        form = replace(form, separator=_separator(cells, known, task, sample.dialect.writings.get(form.targets[0])))
    # "none" may be a class.
    rows = [form.labels_in(cell) for cell in cells if gives_an_answer(cell) or alike(cell) in known]
    answers = frozenset(name for names in rows for name in names)
    unknown = sorted(name for name in answers if alike(name) not in known)
    if unknown and len(unknown) == len(answers):
        # One answer for all rows, or another text in each: what stands there until it is filled.
        if 1 < len(set(cells)) < len(cells):
            raise InputError(
                f"{where}: answers must be labels of the train table, such as {shown(task.classes[0])}. "
                f"{counted('are none', unknown)}; set data.labels to the column that has them, or empty this column"
            )
        log.info(
            "submission: the sample's answer %s is none of the %s labels (%s, ...), which are written; where others "
            "are wanted, write those into the train table, or set data.labels to the column that has them",
            shown(unknown[0]),
            f"{len(task.classes):,}",
            shown(task.classes[0]),
        )
    elif unknown:
        log.info("submission: %s in the sample, %s", counted("answers are no train class", unknown), where)
    try:
        spelling = spellings(task.classes, answers)
    except ValueError as error:
        raise InputError(
            f"{where}: labels must be written as they are here, and {error}. Write the train table's in the same way"
        ) from None
    if form.answer == "ranks" and (spaced := [name for name in task.classes if " " in spelling.get(name, name)]):
        raise InputError(
            f"{where}: labels must have no spaces where a cell holds the {form.top} best of them. "
            f"{counted('have some', spaced)}; write them in the train table as the competition does"
        )
    return replace(form, answers=answers, spelling=spelling)


def _separator(cells: list[str], known: Collection[str], task: Task, writing: Writing | None) -> str:
    """What stands between two tags in the sample: that by which its cells fall into classes; where no cell has several,
    what does in the train table.
    """
    if isinstance(writing, ListAsText):
        return BETWEEN
    own = task.tag_separator or " "
    several = [cell for cell in dict.fromkeys(cells) if gives_an_answer(cell) and same(cell) not in known]
    for separator in (own, *_SEPARATORS):
        # The longer one first: a space behind each comma is a part of what separates.
        for way in (f"{separator} ", separator):
            parts = [part for cell in several for part in cell.split(way)]
            if len(parts) > len(several) and all(part == part.strip() and same(part) in known for part in parts):
                return way
    return own


def _compare(cfg: Config, sample: Table, ids: list[str], test_ids: list[str]) -> list[str]:
    """Say what is wrong with the sample's ids; log where they are others than the test images' and that is no fault.

    Competitions in stages have samples of one stage, and images of another.
    """
    problems = duplicates(str(sample.path), ids)
    known, asked = set(test_ids), set(ids)
    unknown = [id_ for id_ in ids if id_ not in known]
    if unknown and (cfg.data.bad_images == "error" or len(unknown) == len(ids)):
        few = len(unknown) < len(ids)
        way_out = (
            "data.bad_images = 'drop' to give them the class prior" if few else "data.test or data.test_id to theirs"
        )
        problems.append(f"{sample.path}: {counted('ids have no test image', unknown)} of {len(ids):,}; set {way_out}")
    elif unknown:
        log.info("submission: %s of %s, and get the class prior", counted("ids have no test image", unknown), len(ids))
    if not problems and (extra := [id_ for id_ in test_ids if id_ not in asked]):
        said = counted("test images are not asked for", extra)
        log.info("submission: %s by %s, of %s: they have no row in it", said, sample.path, f"{len(test_ids):,}")
    return problems


def _an_example(renamed: list[str], class_of: Mapping[str, str]) -> tuple[str, str, str]:
    first, more = renamed[0], len(renamed) - 1
    return shown(first), shown(class_of[first]), f", and {more:,} more in the same way" if more else ""


def _answer(task: Task, targets: list[str], class_of: Mapping[str, str], source: str) -> Answer:
    """What the target columns want, by their number and classes, the task's kind and the metric's need."""
    if len(targets) > 1 and class_of:
        return "columns"
    if len(targets) > 1:
        missing = [name for name in task.classes if name not in targets]
        extra = [name for name in targets if name not in task.classes]
        raise InputError(
            f"{source}: with several columns to fill, these must be the classes. "
            f"{counted('columns are no class', extra)}; {counted('classes have no column', missing)}"
        )
    if task.kind == "number":
        return "number"
    if task.kind == "multi":
        return "columns" if class_of else "tags"
    metric = metrics.get(task.metric)
    if metric.top > 1:
        return "ranks"
    if metric.needs == "probs" and len(task.classes) > 2:
        raise InputError(
            f"{source} must have a column for each of the {len(task.classes):,} classes, as {metric.name} scores "
            f"probabilities. It has {shown(targets[0])} alone; set task.metric to one that scores labels"
        )
    return "probability" if metric.needs == "probs" else "label"
