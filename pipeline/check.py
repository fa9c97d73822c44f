"""a submission made anywhere -> whether the competition would accept it, by its sample and test images.

python -m pipeline.check FILE [--config configs/x.toml] [--set KEY=VALUE ...]
"""

import sys
from collections.abc import Sequence
from pathlib import Path

from pipeline.cli import guarded, load_target, parse
from pipeline.config import Config, ConfigError
from pipeline.files import InputError
from pipeline.freshness import read_inputs
from pipeline.log import log, say


def check(cfg: Config, file: Path) -> None:
    """Put a file through the gate that every submission of a run passes.

    Raises:
        InputError: it would be refused; every reason that is known.
    """
    from pipeline.competition.answers import submission
    from pipeline.competition.answers.form import read_form
    from pipeline.competition.answers.task import make_task
    from pipeline.competition.archives.opened import open_folder
    from pipeline.competition.tables.csv_table import read_csv
    from pipeline.competition.tables.table import read_test, read_train
    from pipeline.scores.measure import known_task

    open_folder(cfg.root, cfg.data.unpack_limit)
    task = make_task(cfg, read_train(cfg)) if read_inputs(cfg).has_train else known_task(cfg)
    form = read_form(cfg, task, read_test(cfg).ids)
    table = read_csv(file, like=form.dialect)
    if problems := submission.check(form, task, table):
        raise InputError(f"{file} would be refused by the competition: {'; '.join(problems)}")
    same = submission.one_answer(form, [table.frame])
    log.info("check: %s has the form that is asked for: %s rows", file, f"{len(table.frame):,}")
    if same is not None:
        log.warning("check: warning: every row says the same, %s", same)


def main(argv: Sequence[str] | None = None) -> int:
    """Run the stage."""
    arguments = parse("check", __doc__ or "", argv, file="the submission")
    try:
        cfg = load_target(arguments.config, arguments.set)
    except ConfigError as error:
        say(f"check: {error}", sys.stderr)
        return 2
    return guarded("check", lambda: check(cfg, arguments.file), None)


if __name__ == "__main__":
    sys.exit(main())
