"""Which models each of several processes makes by itself, and which all of them make together.

As many whole models as every process can have are dealt out: no process waits for another, and each model is what one
process makes. What is left over, fewer than there are processes, they train together, each with a part of every batch.
A training under way goes on as it was begun.
"""

from collections.abc import Callable, Sequence

from pipeline.files import InputError
from pipeline.log import log
from pipeline.processes import team

Models = list[int | str]


def dealt(
    models: Sequence[int | str],
    due: Sequence[int | str],
    begun_by: Callable[[int | str], int],
    *,
    none_alone: bool = False,
) -> tuple[Models, Models]:
    """Deal the models of a run out to the processes; all of them ask at once.

    Args:
        models: of the run.
        due: those that are yet to be made; what the first process says counts.
        begun_by: how many processes have begun a model's training that is under way; 0 where none is.
        none_alone: whether no process has room for a whole training, see `train.shard`.

    Returns:
        Those that this process makes by itself, and those that are for all together, with what is under way first; of
        one process all models.

    Raises:
        InputError: another number of processes has begun one of them together.
    """
    members = team()
    if members.size == 1:
        return [], list(models)
    begun: list[tuple[int | str, int]] = members.first(lambda: [(model, begun_by(model)) for model in due])
    for model, number in begun:
        if number not in (0, 1, members.size):
            raise InputError(
                f"the training of model {model}, which is under way, must go on with the {number} processes that have "
                f"begun it. Got {members.size}: set NUM_PROC={number}, or delete its folder to begin anew"
            )
    alone, fresh, together = ([model for model, number in begun if min(number, 2) == kind] for kind in (1, 0, 2))
    by_one = alone + fresh
    num_dealt = 0 if none_alone else max(_num_dealt(len(by_one), members.size), len(alone))
    whole, rest = by_one[:num_dealt], together + by_one[num_dealt:]
    if whole:
        log.info("train: %s by %s processes, each by one of them", _named(whole), members.size)
    if rest:
        log.info("train: %s by all %s processes together, each with a part of every batch", _named(rest), members.size)
    return whole[members.rank :: members.size], rest


def turns(num_models: int, num_processes: int) -> int:
    """How many models a process trains when all are yet to be made: its own, then those that all train together."""
    num_whole = _num_dealt(num_models, num_processes)
    return num_whole // num_processes + num_models - num_whole


def _num_dealt(num_models: int, num_processes: int) -> int:
    return num_models // num_processes * num_processes


def _named(models: Models) -> str:
    return f"model {models[0]}" if len(models) == 1 else f"models {', '.join(map(str, models))}"
