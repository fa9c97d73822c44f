"""A table with ids, image files and labels; a table that lacks one of them is none."""

import posixpath
from dataclasses import replace

from pipeline.competition.tables.csv_table import duplicates
from pipeline.detection.candidates import Candidate, Refusal, Source
from pipeline.detection.find_template import find_template
from pipeline.detection.found import SAY, Choice, quoted
from pipeline.detection.habits import FEW, LABEL_FILES, TEST_WORDS, TRAIN_WORDS, VALID_WORDS, says
from pipeline.detection.image_files import ImageFiles
from pipeline.detection.inventory import Inventory
from pipeline.detection.label_columns import Labels, choose_labels, names_files, tag_separator
from pipeline.detection.plain_template import TemplateMatch, fit_in_words, images_of, way_without
from pipeline.detection.sample_table import sample_rank
from pipeline.detection.second_images import other_images
from pipeline.detection.sheets import Sheet, sheet_named
from pipeline.quoting import shown


def read(inventory: Inventory) -> list[Candidate | Refusal]:
    """Read every table that is not the sample or of the test images.

    Raises:
        InputError: `data.train` names a table that is not there.
    """
    said = str(inventory.said.get("data.train", ""))
    if "{" in said:
        return []
    if said:
        return [read_sheet(inventory, sheet_named(inventory.root, inventory.sheets, "data.train", said))]
    sample = inventory.sample
    asked = set(sample.sheet.cells[sample.id]) if sample else set()
    candidates: list[Candidate] = []
    refusals: list[Refusal] = []
    for sheet in sorted(inventory.sheets, key=lambda sheet: "train" not in sheet.stem):
        if (sample and sheet is sample.sheet) or sample_rank(sheet) < 3 or sheet.is_test or sheet.names:
            continue
        found = read_sheet(inventory, sheet)
        has_labels = isinstance(found, Candidate) and found.labels.doubt < 2
        if not has_labels and any(set(sheet.cells[name]) == asked for name in sheet.unique):
            continue  # the test table
        if isinstance(found, Candidate):
            candidates.append(found)
        else:
            refusals.append(found)
    most = max((len(item.paths) for item in candidates), default=0)
    enough = [
        item
        for item in candidates
        if len(item.paths) >= FEW * most or item.labels.doubt == 0 or "train" in item.sheet.stem
    ]
    return [*enough, *refusals]


def read_sheet(inventory: Inventory, sheet: Sheet) -> Candidate | Refusal:
    """Read a table as the train table, or say why it cannot be."""
    path, sample, images, said = inventory.root / sheet.name, inventory.sample, inventory.images, inventory.said

    def refused(reason: str) -> Refusal:
        looks_so = says(sheet.stem, LABEL_FILES) and 2 * len(sheet.frame) >= len(images.paths)
        return Refusal(sheet.name, reason, stops="train" in sheet.stem or looks_so)

    same = said.get("data.id") or (sheet.column(sample.id) if sample and not sample.sheet.headerless else None)
    if same and same not in sheet.unique:
        return refused(_no_id(str(path), sheet, same))
    if pixels := next((name for name, cells in sheet.cells.items() if cells and _are_pixels(cells[0])), None):
        return refused(
            f"{path} holds the pixels of an image in each cell of column {shown(pixels)}; write each row as a PNG file "
            "first, and its name into the table"
        )
    if not len(sheet.frame):
        return refused(f"{path} must have at least one row. Got a header only")
    ids = [same] if same else sheet.unique
    keys = [*ids, *(name for name, cells in sheet.cells.items() if name not in ids and names_files(cells))]
    if not ids:
        return refused(f"{path} has no column with another id in every row")
    match = find_template(sheet.frame, keys, images, "train", given=said.get("data.image"))
    if match is None or not match.may_be_taken(said):
        first = sheet.cells[ids[0]][0]
        best = f"at most {match.num_found:,} of {match.num_rows:,}, by {match.template!r}" if match else "none"
        return refused(
            f"{path}: the ids in column {shown(ids[0])}, such as {shown(first)}, must name the image files, such as "
            f"{_an_example(images)!r}; {best} do; {SAY} data.image=FOLDER/{{COLUMN}}.jpg{way_without(match)}"
        )
    id_ = match.key if match.key in ids else ids[0]
    # Of a list, as the files of test images are asked for: by their names.
    id_ = "name" if sheet.is_list and "name" in ids else id_
    columns = said.get("data.labels")
    labels = _said_labels(sheet, columns) if columns else choose_labels(sheet, [id_, match.key], sample)
    if labels is None:
        return refused(
            f"{path} must have the columns data.labels = {quoted(columns)}. Got {quoted(list(sheet.cells))}"
            if columns
            else f"{path} has no column that can hold labels; {SAY} data.labels=COLUMN"
        )
    labels = replace(labels, separator=said.get("data.tag_separator", labels.separator))
    choices = _choices(sheet, id_, labels, match)
    paths = tuple(images_of(match.template, sheet.frame, images))
    return Candidate(
        Source.FILE,
        sheet,
        labels,
        id_,
        paths,
        tuple(choices),
        f"{len(paths):,} rows, of which {match.num_found:,} have their image; {labels.reason}",
        _rank(sheet, labels),
        match,
        "" if "data.image" in said else _unclear(inventory, sheet, id_, labels, match, paths),
    )


def _rank(sheet: Sheet, labels: Labels) -> tuple[int, ...]:
    """How good a candidate it is: not of the test images by its name; by its labels, then by habits in naming."""
    stem, folder = sheet.stem, posixpath.dirname(sheet.name)
    says_train = "train" in stem or says(folder, TRAIN_WORDS)
    says_test = not says_train and says(sheet.name, TEST_WORDS)
    habits = (
        stem == "train",
        "train" in stem,
        says_train,
        "label" in stem,
        not says(sheet.name, (*TEST_WORDS, *VALID_WORDS)),
    )
    return says_test, labels.doubt, (*habits, True).index(True)


def _no_id(path: str, sheet: Sheet, column: str) -> str:
    """Say why a column that must be the id is none, and which could be."""
    way_on = f"; {SAY} data.id={sheet.unique[0]}" if sheet.unique else ""
    if column not in sheet.cells:
        return f"{path} must have the column data.id = {shown(column)}. Got {quoted(list(sheet.cells))}{way_on}"
    if problems := duplicates(f"{path}, column {shown(column)}", sheet.cells[column]):
        return (
            f"{problems[0]}; leave one row of each image there (of several people's, one with the label that most of "
            f"them gave){way_on}"
        )
    wrong = "Some are empty" if sheet.cells[column] else "There is a header only"
    return f"{path}: column {shown(column)} must have an id in every row. {wrong}{way_on}"


def _said_labels(sheet: Sheet, columns: tuple[str, ...]) -> Labels | None:
    """Take the label columns that the user has decided; None where the table lacks one."""
    if not set(columns) <= set(sheet.cells):
        return None
    return Labels(columns, 0, "as was said", tag_separator(sheet.cells[columns[0]]) if len(columns) == 1 else "")


def _are_pixels(cell: str) -> bool:
    """Whether a cell is a list of whole numbers as long as an image has pixels."""
    return len(cell) >= 128 and len(numbers := cell.split()) >= 64 and all(number.isdecimal() for number in numbers)


def _unclear(
    inventory: Inventory, sheet: Sheet, id_: str, labels: Labels, match: TemplateMatch, paths: tuple[str, ...]
) -> str:
    """Say which other files could be the images, where nothing but habits tells; "" where they could not."""
    used = {id_, match.key, *labels.columns}
    columns = [name for name in other_images(inventory, sheet, paths) if name not in used]
    alike = [text for text in match.others if _is_as_good(text, match)]
    for name in columns:
        other = find_template(sheet.frame, [name], inventory.images, "train")
        alike += [other.template] if other and other.is_good else []
    if not alike:
        return ""
    alike = sorted({match.template, *alike})
    return (
        f"{inventory.root / sheet.name}: each row must have one image file. Several are equally good: {quoted(alike)}; "
        f"which is meant is not in the files: say it, as in --set data.image='{alike[0]}'"
    )


def _is_as_good(template: str, match: TemplateMatch) -> bool:
    """Whether a template that fits alike differs in more than habits can tell: files of one folder, with other words
    about the id, `{id}_red.png` and `{id}_green.png`.
    """
    folder, _, name = template.rpartition("/")
    own_folder, _, own = match.template.rpartition("/")
    plain = posixpath.splitext(own)[0] == f"{{{match.key}}}"
    same_kind = posixpath.splitext(name)[1] == posixpath.splitext(own)[1] and f"{{{match.key}}}" in name
    return not plain and folder == own_folder and same_kind


def _an_example(images: ImageFiles) -> str:
    """Take a train image, where one says that it is; else any."""
    return next((path for path in images.paths if "train" in path.lower()), images.paths[0])


def _choices(sheet: Sheet, id_: str, labels: Labels, match: TemplateMatch) -> list[Choice]:
    """Choose the settings by which a train table is read."""
    choices = [
        Choice("data.train", sheet.name, f"{match.num_rows:,} rows; columns: {quoted(list(sheet.cells))}."),
        Choice("data.id", id_),
        Choice("data.labels", labels.columns, f"{_classes(sheet, labels)}; {labels.reason}."),
        Choice("data.image", match.template, fit_in_words(match)),
    ]
    if sheet.headerless:
        choices.append(Choice("data.headerless", (sheet.name,), "Its first line names an image, as the others do."))
    if match.any_case:
        choices.append(Choice("data.any_case", True, "Some files are named in another case than in the table."))
    if sheet.split:
        reason = sheet.listed or "Rows of both parts; those of test are to be predicted."
        choices.append(Choice("data.split", sheet.split, reason, said=bool(sheet.listed)))
    if labels.separator:
        reason = "Several tags in a cell: parts of its cells are whole cells elsewhere."
        choices.append(Choice("data.tag_separator", labels.separator, reason))
    return choices


def _classes(sheet: Sheet, labels: Labels) -> str:
    """Describe the classes in words."""
    if len(labels.columns) > 1:
        return f"{len(labels.columns):,} columns, one for each class"
    values = list(dict.fromkeys(filter(None, sheet.cells[labels.columns[0]])))
    return f"{len(values):,} values: {quoted(sorted(values))}"
