"""Files that look like labels and are in a form that is not read: they stop readings of less sure sources."""

import posixpath

from pipeline.detection.candidates import Candidate, Refusal
from pipeline.detection.found import SAY
from pipeline.detection.habits import LABEL_FILES, says
from pipeline.detection.inventory import Inventory

# Forms of tables and arrays that are not read.
_FORMS = (
    *(".xls", ".xlsb", ".ods", ".mat", ".pkl", ".pickle", ".npz", ".h5", ".hdf5", ".db", ".sqlite", ".arrow"),
    *(".feather", ".orc", ".xml", ".yaml", ".yml", ".rds", ".dta", ".sav"),
)


def read(inventory: Inventory) -> list[Candidate | Refusal]:
    """Refuse each, by its name, at the root or one folder down."""
    if "data.train" in inventory.said:
        return []
    found = [
        path
        for path in inventory.files
        if path.lower().endswith(_FORMS)
        and path.count("/") <= 1
        and says(posixpath.splitext(posixpath.basename(path))[0], LABEL_FILES)
    ]
    return [
        Refusal(
            path,
            f"{inventory.root / path} looks like labels, in a form that is not read; save it as csv, {SAY} "
            "data.train=FOLDER/{label}/{file} where folders name the classes",
            stops=True,
        )
        for path in found
    ]
