"""What the processes of a run must have in common, on several machines above all: settings and a folder."""

import uuid

from pipeline.config import Config, ConfigError
from pipeline.files import InputError, digest
from pipeline.others import see_anew
from pipeline.paths import run_dir
from pipeline.processes import team


def must_share(cfg: Config) -> None:
    """See that all processes of a run have the same settings and the same folder.

    Raises:
        ConfigError: the settings are others.
        InputError: the folder is another.
    """
    members = team()
    if members.size == 1:
        return
    own = digest(cfg.model_dump(mode="json"))
    settings, name = members.first(lambda: (own, f".shared.{uuid.uuid4().hex}.tmp"))
    if own != settings:
        raise ConfigError(
            "all processes must have the same settings. Those of process 0 are others: give the same config and --set "
            "on all machines"
        )
    mark = run_dir(cfg) / name
    if members.is_first:
        mark.parent.mkdir(parents=True, exist_ok=True)
        mark.touch()
    members.meet()
    see_anew(run_dir(cfg))
    is_there = mark.is_file()
    members.meet()
    if members.is_first:
        mark.unlink()
    if not is_there:
        raise InputError(
            f"all processes must share {run_dir(cfg).absolute()}. What process 0 writes there is not seen here: work "
            "in one folder that all machines have (NFS)"
        )
