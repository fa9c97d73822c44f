"""A run's time limit -> output/<run>/plan.json: the epochs that fit, and the images' size where too few do.

The probe keeps the size that is asked for. Its time counts, and that of another classifier for smaller images.

Folds are all trained, each for as long as the others. Processes with a GPU each train as many at the same time; a fold
that all of them train together counts as if one did, as what they gain is not measured. Processes that share cores, or
a GPU, are no faster than one.
"""

from dataclasses import asdict

from pipeline.competition.folds.fold_table import Labelled, read_labelled
from pipeline.competition.tables.table import read_test
from pipeline.config import Config, ConfigError
from pipeline.cores import num_cores
from pipeline.dealing import turns
from pipeline.durations import in_words, seconds_of, span_of
from pipeline.engine.forecast import epochs
from pipeline.engine.limit import (
    SHARE,
    Pace,
    Work,
    epochs_within,
    fewest_epochs,
    of_one_process,
    seconds,
    smaller_sizes,
    with_epochs,
    with_size,
)
from pipeline.engine.pace import measure
from pipeline.files import InputError, lock, write_json
from pipeline.freshness import has_probe
from pipeline.images.cache import Images, open_images
from pipeline.log import log
from pipeline.others import count, see_anew
from pipeline.paths import all_folds, run_dir
from pipeline.plan import elapsed, plan_path, planned, planned_from
from pipeline.processes import alone, have_own_gpus, team

# Seconds that each part of the pace is measured: this part of the limit, within these.
_PART = 1 / 60
_SHORTEST, _LONGEST = 0.5, 5.0
# Seconds in which a core fits the probe's classifiers, for each image and class (3 s for 1,200 and 17 in five folds);
# above so many of both it takes no longer.
_FITTING, _MOST_FITTED = 5e-5, 800_000


def make_plan(cfg: Config) -> Config:
    """Measure this machine, decide what fits into the time that is left, and write it.

    Of several processes the first does so alone, and the others wait.

    Returns:
        The settings of the run. Where another process has just made the plan, by that one.

    Raises:
        InputError, ConfigError, TooLittleMemory: what training would raise.
    """

    def make() -> None:
        with alone():
            _make(cfg)

    team().first(make)
    see_anew(run_dir(cfg))
    return planned(cfg)


def _make(cfg: Config) -> None:
    path = plan_path(cfg)
    with lock(path.with_suffix(".lock"), f"the plan of {cfg.name}", (path.name,), wait=True):
        if planned(cfg).planned:
            return
        labelled = read_labelled(cfg)
        images = open_images(cfg, "train", labelled.samples.keys)
        chosen, pace = _decide(cfg, labelled, images)
        decided = {
            "image": {key: getattr(chosen.image, key) for key in ("size", "margin")},
            "train": {key: getattr(chosen.train, key) for key in ("num_epochs", "freeze_epochs", "step_epochs")},
        }
        write_json(path, {"made_from": planned_from(cfg), "decided": decided, "measured": asdict(pace)})


def _work(cfg: Config, labelled: Labelled, images: Images, pace: Pace) -> Work:
    """What the run has to do; images that cannot be read are no work. The pace is that of images as asked for."""
    splits = [labelled.split(fold) for fold in all_folds(cfg)]
    num_train, num_valid = (sum(int(images.readable[split[part]].sum()) for split in splits) for part in (0, 1))
    num_test = len(read_test(cfg))
    if not has_probe(cfg):
        return Work(len(splits), num_train, num_valid, num_test)
    fitted = min(_MOST_FITTED, len(images) * labelled.task.num_outputs) * len(splits)
    fitting = 1 + _FITTING * fitted / num_cores()
    # The network is built twice, as it is tried first, see `try_start`.
    probe = 2 * pace.start + (len(images) + num_test) * pace.predicted_image + fitting
    num_fitted = len(images) if cfg.train.head == "probe" else 0
    return Work(len(splits), num_train, num_valid, num_test, probe, num_fitted, fitting)


def _shared(work: Work) -> Work:
    """The work of the process that has most of it."""
    num_processes = count() if have_own_gpus() else 1
    if num_processes > 1:
        log.info("plan: %s models by %s processes, each with a GPU of its own", work.num_models, num_processes)
    return of_one_process(work, turns(work.num_models, num_processes))


def _decide(cfg: Config, labelled: Labelled, images: Images) -> tuple[Config, Pace]:
    """Choose epochs, and a smaller size where even the fewest do not fit; say what was chosen, and why.

    Returns:
        The settings, and the pace of their images.
    """
    limit = seconds_of(cfg.train.time_limit)
    enough = min(max(_PART * limit, _SHORTEST), _LONGEST)
    chosen, pace = cfg, measure(cfg, labelled, images, enough)
    work = _shared(_work(cfg, labelled, images, pace))
    left = limit - elapsed()
    _say_pace(cfg, work, pace, left)
    num_epochs = epochs_within(cfg, work, pace, SHARE * left)
    sizes = smaller_sizes(cfg.image)
    for size in sizes:
        if num_epochs >= fewest_epochs(cfg):
            break
        smaller = with_size(cfg, size)
        at_best = pace.of_pixels((size / chosen.image.size) ** 2)
        if size != sizes[-1] and seconds(smaller, work, at_best, fewest_epochs(cfg)) > SHARE * (limit - elapsed()):
            continue  # to measure it would take the time that there is not
        try:
            pace = measure(smaller, labelled, images, enough)
        except (ConfigError, InputError) as error:  # it trains on images of the size asked for
            log.info("plan: images of %s px are not tried. %s", size, error)
            continue
        chosen, left = smaller, limit - elapsed()
        num_epochs = epochs_within(chosen, work, pace, SHARE * left)
    if not num_epochs:
        least = span_of(elapsed() + seconds(chosen, work, pace, 1) / SHARE)
        log.info(
            "plan: train.time_limit must be about %s here for one epoch of each model. Got %s: one is trained all the "
            "same, and the run ends later; a smaller model.name or fewer folds.num_folds take less time",
            least,
            cfg.train.time_limit,
        )
    chosen = with_epochs(chosen, max(1, num_epochs))
    log.info("plan: %s: %s", _in_words(cfg, chosen), _about(seconds(chosen, work, pace, chosen.train.num_epochs)))
    return chosen, pace


def _say_pace(cfg: Config, work: Work, pace: Pace, left: float) -> None:
    """Say how fast this machine is, and what the settings would take on it."""
    log.info(
        "plan: %.2g seconds a step of %s images: %s of %s would take %s; %s of train.time_limit = %r are left",
        cfg.train.batch_size * pace.full_image,
        cfg.train.batch_size,
        "1 model" if work.num_models == 1 else f"{work.num_models} models",
        epochs(cfg.train.num_epochs),
        _about(seconds(cfg, work, pace, cfg.train.num_epochs)),
        in_words(max(left, 0)),
        cfg.train.time_limit,
    )


def _in_words(cfg: Config, chosen: Config) -> str:
    """What was chosen, beside what was asked for."""
    asked, num_epochs = cfg.train.num_epochs, chosen.train.num_epochs
    text = epochs(num_epochs) + (", as asked for" if num_epochs == asked else f" instead of {asked}")
    if chosen.image.size == cfg.image.size:
        return text
    return f"{text}, images of {chosen.image.size} px instead of {cfg.image.size}"


def _about(span: float) -> str:
    return f"about {in_words(span)}"
