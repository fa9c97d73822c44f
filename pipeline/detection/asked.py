"""What is asked for: the table of the test ids, and the test images."""

import posixpath
from collections.abc import Sequence
from dataclasses import replace

from pipeline.competition.tables.csv_table import counted
from pipeline.detection.candidates import Candidate
from pipeline.detection.find_template import find_template
from pipeline.detection.folders import Folders, find_test_folder, read_said_template
from pipeline.detection.found import SAY, Choice, escape_braces
from pipeline.detection.habits import DERIVED, TEST_WORDS, says
from pipeline.detection.image_files import ImageFiles
from pipeline.detection.inventory import Inventory
from pipeline.detection.label_columns import names_files
from pipeline.detection.plain_template import TemplateMatch, fit_in_words, paths_of, way_without
from pipeline.detection.sheets import Sheet, sheet_named
from pipeline.files import InputError
from pipeline.quoting import shown


def choose_test_images(inventory: Inventory, train: Candidate, others: Sequence[Candidate] = ()) -> list[Choice]:
    """Choose the settings of the test images and the sample submission.

    Args:
        inventory: the files.
        train: the train images, which are no test images.
        others: more tables of labelled images, which are not to be predicted either, see `labelled_too`.

    Raises:
        InputError: no files fit the test ids.
    """
    sample, taken, train_id = inventory.sample, frozenset(train.paths), train.id
    choices = [
        Choice("data.sample_submission", sample.sheet.name, f"{len(sample.sheet.frame):,} rows; {sample.why}.")
        if sample
        else Choice("data.sample_submission", "", "None was found: a submission has the id and the label columns.")
    ]
    given, template = inventory.said.get("data.test", ""), inventory.said.get("data.test_image")
    tried, way_on = [], ""
    for sheet, id_ in _test_tables(inventory, train, others) if "{" not in given else ():
        keys = [id_, *(name for name, cells in sheet.cells.items() if name != id_ and names_files(cells))]
        # Where a list says which images of one table are tested, they lie as the others do.
        as_train = train.match.template if sheet.listed and sheet.name == train.name and train.match else None
        if (own := template or as_train) is not None:
            match = find_template(sheet.frame, keys, inventory.images, "test", given=own)
        else:
            match = _find_test_template(sheet, keys, inventory.images, taken)
            match = _named_alike(match, train.match) if match and train.match else match
        if (
            match
            and match.may_be_taken(inventory.said)
            and (template is not None or not _of_train_images(match.template, train))
        ):
            if id_ != train_id:
                choices.append(Choice("data.test_id", id_, f"The train table has {train_id!r}."))
            if match.any_case and not train.values.get("data.any_case"):
                choices.append(Choice("data.any_case", True, "Some files are named in another case than in the table."))
            return [
                *choices,
                *_headerless(inventory, train, sheet),
                Choice("data.test", sheet.name, f"{match.num_rows:,} rows."),
                Choice("data.test_image", match.template, fit_in_words(match)),
            ]
        best = f"at most {match.num_found:,} of {match.num_rows:,}, by {match.template!r}" if match else "none"
        if set(inventory.images.paths) <= set(train.paths):
            best = "besides the train images there are no images, so none"
        way_on = way_on or way_without(match)
        tried.append(
            f"{inventory.root / sheet.name}: the ids in column {shown(id_)}, such as {shown(sheet.cells[id_][0])}, "
            f"must name test images; {best} do"
        )
    if tried:
        raise InputError("; ".join(tried) + f"; {SAY} data.test_image=FOLDER/{{COLUMN}}.jpg{way_on}")
    if train.match is None and "data.split" in train.values:
        return [
            *choices,
            Choice("data.test", train.name, "The images that the list names."),
            Choice("data.test_image", train.name),
        ]
    folder = _test_folder(inventory, train, others)
    if train_id != folder.id:
        choices.append(Choice("data.test_id", folder.id, f"The train images have {train_id!r}."))
    return [
        *choices,
        *_headerless(inventory, train),
        Choice("data.test", folder.template, f"No table of the test images; {len(folder.paths):,} files."),
        Choice("data.test_image", folder.template),
    ]


def _headerless(inventory: Inventory, train: Candidate, test: Sheet | None = None) -> list[Choice]:
    """Choose the tables whose first line is a row, where that is not the train table alone."""
    sample = inventory.sample.sheet if inventory.sample else None
    names = [sheet.name for sheet in (train.sheet, test, sample) if sheet and sheet.headerless]
    if set(names) <= {train.name}:
        return []
    return [Choice("data.headerless", tuple(dict.fromkeys(names)), "First lines that name images, as the others do.")]


def _test_folder(inventory: Inventory, train: Candidate, others: Sequence[Candidate]) -> Folders:
    """Find the test images where no table lists them."""
    left = sorted(set(inventory.images.paths).difference(train.paths, *(other.paths for other in others)))
    if not any(path.endswith(".npy") for path in train.paths):
        # An array beside images of another kind holds something of all of them.
        left = [path for path in left if not path.endswith(".npy")] or left
    given = inventory.said.get("data.test", "")
    if "{" in given:
        return read_said_template("data.test", given, left)
    if not left and (lists := [sheet.name for sheet in inventory.sheets if sheet.names]):
        raise InputError(
            f"{inventory.root} must hold test images beside the train images. Got none, and "
            f"{counted('lists of images', lists)}; say which one names those to be predicted, as in --set "
            f"data.split={lists[0]}"
        )
    folder = find_test_folder(inventory.root, inventory.files, left)
    endings = {posixpath.splitext(path)[1] for path in folder.paths}
    by_paths = train.match is not None and all("/" in cell for cell in train.sheet.cells[train.id])
    if by_paths and len(endings) == 1 and folder.template.endswith("{file}"):
        # The train table's ids are paths, which test images cannot have; their names alone are what tables go by.
        return replace(folder, template=folder.template + escape_braces(endings.pop()))
    return folder


def test_sheet(inventory: Inventory, train: Candidate, asked: Sequence[Choice]) -> Sheet | None:
    """The table of the test ids that was chosen; None where files make it."""
    name = next(str(item.value) for item in asked if item.key == "data.test")
    return next((sheet for sheet in inventory.sheets if sheet.name == name and sheet is not train.sheet), None)


def _find_test_template(
    sheet: Sheet, keys: list[str], images: ImageFiles, taken: frozenset[str]
) -> TemplateMatch | None:
    """Find the template of the test images: of files of the train images' kind, where these are not further from what
    test images are called than files of another kind.
    """
    best = find_template(sheet.frame, keys, images, "test", taken)
    kinds = {_kind(path) for path in taken}
    if best is None or not best.is_good or _kinds(best, sheet, images) <= kinds:
        return best
    alike = ImageFiles(path for path in images.paths if _kind(path) in kinds)
    own = find_template(sheet.frame, keys, alike, "test", taken) if alike.paths else None
    if own is None or not own.is_good or any(word in own.template.lower() for word in DERIVED):
        return best
    return own if _say_test(own, sheet, images) or not _say_test(best, sheet, images) else best


def _kind(path: str) -> str:
    """A file's extension; `.jpeg` and `.JPG` are `.jpg`."""
    return posixpath.splitext(path)[1].lower().replace(".jpeg", ".jpg")


def _kinds(match: TemplateMatch, sheet: Sheet, images: ImageFiles) -> set[str]:
    return {_kind(path) for path in paths_of(match.template, sheet.frame, images.paths) if path in images.known}


def _say_test(match: TemplateMatch, sheet: Sheet, images: ImageFiles) -> bool:
    """Whether the folders of all files that a template gives say `test`."""
    folders = {posixpath.dirname(path) for path in paths_of(match.template, sheet.frame, images.paths)}
    return all("test" in folder.lower() for folder in folders)


def _named_alike(match: TemplateMatch, train: TemplateMatch) -> TemplateMatch:
    """Of templates of one folder that fit alike, take the one that names files as the train images' does."""
    own, folder = _about(train.template, train.key), posixpath.dirname(match.template)
    fits = [match.template, *match.others]
    alike = (text for text in fits if _about(text, match.key) == own and posixpath.dirname(text) == folder)
    best = next(alike, match.template)
    return replace(match, template=best, others=tuple(text for text in fits if text != best))


def _about(template: str, key: str) -> str:
    """A template's file name, whatever the column of the ids is called."""
    return posixpath.basename(template).replace(f"{{{key}}}", "{}")


def _of_train_images(template: str, train: Candidate) -> bool:
    """Whether a folder says that it belongs to the train images, and is not the one that they share with the test's."""
    folder = template.lower().rpartition("/")[0]
    own = train.match is not None and train.match.template.lower().rpartition("/")[0] == folder
    return "train" in folder and "test" not in folder and not own


def _test_tables(inventory: Inventory, train: Candidate, labelled: Sequence[Candidate]) -> list[tuple[Sheet, str]]:
    """List the tables of the test ids with their id columns, the likeliest first: those with the sample's ids, then the
    sample; without a sample those with the train table's id column and other ids, and without labels of other images.
    """
    sample, train_id = inventory.sample, train.id
    if (name := inventory.said.get("data.test")) is not None and "{" not in name:
        test_rows = [sheet for sheet in inventory.sheets if sheet.name == name and sheet.is_test]
        sheet = (test_rows or [sheet_named(inventory.root, inventory.sheets, "data.test", name)])[0]
        columns = [inventory.said.get("data.test_id"), sample.id if sample else None, train_id, *sheet.unique]
        id_ = next((column for column in columns if column in sheet.cells), None)
        if id_ is None:
            raise InputError(
                f"{inventory.root / name} has no column with another id in every row; mend it, {SAY} data.test=TABLE "
                "for another one"
            )
        return [(sheet, id_)]
    others = sorted(
        (
            sheet
            for sheet in inventory.sheets
            if sheet is not train.sheet
            and not (sample and sheet is sample.sheet)
            and "submission" not in sheet.stem  # somebody's own, with the sample's ids
        ),
        key=lambda sheet: (not says(sheet.name, TEST_WORDS), sheet.name),
    )
    if sample is None:
        known = set(train.sheet.cells.get(train.id, ()))
        others = [sheet for sheet in others if all(sheet is not other.sheet for other in labelled)]
        return [(s, train_id) for s in others if train_id in s.unique and not known & set(s.cells[train_id])]
    asked = set(sample.sheet.cells[sample.id])
    same = [(s, sample.id) for s in others if sample.id in s.unique and set(s.cells[sample.id]) == asked]
    # The sample's first column is its ids whatever the test table calls them.
    first = str(sample.sheet.frame.columns[0]) == sample.id
    renamed = [
        (s, name) for s in others if first for name in s.unique if set(s.cells[name]) == asked and name != sample.id
    ]
    return [*same, (sample.sheet, sample.id), *renamed]
