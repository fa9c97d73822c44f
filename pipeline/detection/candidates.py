"""What a reading of a download gives: candidates, each with its evidence, or refusals with their reason."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import IntEnum

from pipeline.detection.found import Choice
from pipeline.detection.label_columns import Labels
from pipeline.detection.plain_template import TemplateMatch
from pipeline.detection.sheets import Sheet


class Source(IntEnum):
    """Where labels stand, the surest first: a file says them, folders may be of anything else, so may names."""

    FILE = 0
    FOLDERS = 1
    NAMES = 2


@dataclass(frozen=True)
class Candidate:
    """One reading of the train images.

    source: where the labels stand; sheet: a row for each image; paths: its files, in the sheet's order.
    choices: the settings that read it so; evidence: why it may be right, in a sentence.
    rank: of candidates of one source, the smallest is the best; two that are equal are not decided here.
    match: how the files were found by a table's columns; None where they make the table.
    unclear: why it cannot be taken without being asked for; "" where it can.
    versions_by: the column of the files' own names, which may tell versions of one image.
    unused: folders of classes that it leaves.
    """

    source: Source
    sheet: Sheet
    labels: Labels
    id: str
    paths: tuple[str, ...]
    choices: tuple[Choice, ...]
    evidence: str
    rank: tuple[int, ...] = ()
    match: TemplateMatch | None = None
    unclear: str = ""
    versions_by: str = ""
    unused: tuple[str, ...] = ()

    @property
    def name(self) -> str:
        """What `data.train` is."""
        return str(self.values["data.train"])

    @property
    def values(self) -> Mapping[str, object]:
        """The values that it gives settings."""
        return {item.key: item.value for item in self.choices if not item.proposed}


@dataclass(frozen=True)
class Refusal:
    """Why a file or folder is no train data. `stops`: it looks so much like them that no source that is less sure may
    be taken in its place.
    """

    name: str
    reason: str
    source: Source = Source.FILE
    stops: bool = field(default=False, kw_only=True)
