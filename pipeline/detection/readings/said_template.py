"""What the user has said of the train images: a path template for `data.train`."""

from pipeline.detection.candidates import Candidate, Refusal, Source
from pipeline.detection.folders import candidate, read_said_template
from pipeline.detection.inventory import Inventory


def read(inventory: Inventory) -> list[Candidate | Refusal]:
    """Read the images that the template fits.

    Raises:
        InputError: it fits none, or says no label.
    """
    template = str(inventory.said.get("data.train", ""))
    if "{" not in template:
        return []
    images = [path for path in inventory.images.paths if path not in inventory.asked]
    source = Source.FOLDERS if "{label}/" in template else Source.NAMES
    return [candidate(read_said_template("data.train", template, images), source)]
