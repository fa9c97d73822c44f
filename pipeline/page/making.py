"""Sections on how a run was made: time by stage, speed, settings, versions, and the command that repeats it."""

import re
from collections.abc import Sequence

from pipeline.config import Config
from pipeline.files import digest_file
from pipeline.page.blocks import Block, Cell, Section, Source, Table, Text
from pipeline.page.facts import Facts
from pipeline.paths import folds_path, run_dir
from pipeline.scores.ledger import seconds_by_stage
from pipeline.scores.spent import PARTS, bound_by, decoded_by, read_decoded, read_spent, together
from pipeline.stamps import versions

_SPEED = re.compile(r"train (\S+) epoch \d+/\d+:.* ([\d,]+) images/s$")


def speed_section(facts: Facts) -> Section:
    """Seconds by stage, and images a second of every model."""
    blocks: list[Block] = []
    # Its own seconds come after the page.
    stages = {stage: seconds for stage, seconds in seconds_by_stage(facts.cfg).items() if stage != "report"}
    if stages:
        total = sum(stages.values())
        rows: list[Sequence[Cell]] = [(stage, own, 100 * own / total) for stage, own in stages.items()]
        columns = ("stage", "seconds", "% of all")
        blocks.append(Table("Seconds of every stage, all calls together", columns, rows, dict.fromkeys(columns, 1)))
        most = max(stages, key=lambda stage: stages[stage])
        blocks.append(Text(f"Most of the time went to {most}. {_ADVICE.get(most, '')}".strip()))
    speeds = _speeds(facts.cfg)
    if speeds:
        rows = [(f"fold {fold}", min(own), max(own)) for fold, own in speeds.items()]
        blocks.append(Table("Images a second in training", ("model", "slowest epoch", "fastest epoch"), rows))
    blocks += _spent(facts.cfg)
    return Section("speed", "Time", blocks)


def _spent(cfg: Config) -> list[Block]:
    """What training waited for and what decoding took, and what bounds both."""
    blocks: list[Block] = []
    spent, decoded = read_spent(cfg), read_decoded(cfg)
    if spent:
        rows: list[Sequence[Cell]] = [
            (f"fold {fold}", *(own.seconds[part] for part in PARTS), 100 * own.waited, own.memory)
            for fold, own in spent.items()
        ]
        caption = "Seconds of training by what it did; on a GPU augmentation is part of the steps"
        blocks.append(Table(caption, _SPENT, rows, dict.fromkeys(_SPENT, 1)))
        blocks.append(Text(_sentence(bound_by(cfg, together(list(spent.values()))))))
    if decoded:
        blocks.append(Text(_sentence(decoded_by(decoded))))
    return blocks


def _sentence(text: str) -> str:
    return f"{text[0].upper()}{text[1:]}."


_SPENT = ("model", "wait for images", "augmenting", "steps", "validation", "saving", "% waited", "memory, MB")
_ADVICE = {
    "prepare": "It decodes every image once; another run of this competition finds them decoded.",
    "train": "Fewer epochs, smaller images (image.size) or train.time_limit make it shorter.",
    "infer": "Fewer infer.views make it shorter.",
    "probe": "Its features are kept; another run with the same network and size finds them.",
}


def _speeds(cfg: Config) -> dict[str, list[int]]:
    """Images a second in each epoch of every model, as the log says."""
    path = run_dir(cfg) / "log.txt"
    found: dict[str, list[int]] = {}
    for line in path.read_text(encoding="utf-8").splitlines() if path.is_file() else ():
        if match := _SPEED.search(line):
            found.setdefault(match[1], []).append(int(match[2].replace(",", "")))
    return found


def making_section(facts: Facts) -> Section:
    """The config, versions, hashes of what was made, and the command that makes it again."""
    folder = run_dir(facts.cfg)
    config, blocks = folder / "config.toml", list[Block]()
    repeat = f"bash run.sh {config if config.is_file() else facts.cfg.options.removeprefix('--config ')}"
    blocks.append(Source("The command that repeats it", repeat))
    if config.is_file():
        blocks.append(Source("Every setting", config.read_text(encoding="utf-8")))
    blocks.append(Table("Versions here", ("package", "version"), list(versions().items())))
    files = [folds_path(facts.cfg), *(folder / name for name in ("oof.parquet", "test.parquet", "submission.csv"))]
    hashes = [(str(path), digest_file(path)) for path in files if path.is_file()]
    blocks.append(Table("SHA-256", ("file", "hash"), hashes))
    return Section("making", "How it was made", blocks)
