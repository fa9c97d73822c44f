"""Which models each of several processes makes by itself, and which all of them make together.

As many whole models as every process can have are dealt out: no process waits for another, and each model is what one
process makes. What is left over, fewer than there are processes, they train together, each with a part of every batch.
"""

from collections.abc import Sequence

from pipeline.log import log
from pipeline.processes import team

Models = list[int | str]


def dealt(models: Sequence[int | str], due: Sequence[int | str], *, none_alone: bool = False) -> tuple[Models, Models]:
    """Deal the models of a run out to the processes; all of them ask at once.

    Args:
        models: of the run.
        due: those that are yet to be made; what the first process says counts.
        none_alone: whether no process has room for a whole training, see `train.shard`.

    Returns:
        Those that this process makes by itself, and those that are for all together; of one process all models.
    """
    members = team()
    if members.size == 1:
        return [], list(models)
    still: Models = members.first(lambda: list(due))
    num_dealt = 0 if none_alone else len(still) // members.size * members.size
    whole, rest = still[:num_dealt], still[num_dealt:]
    if whole:
        log.info("train: %s models by %s processes, %s each", num_dealt, members.size, num_dealt // members.size)
    if rest:
        names = f"model {rest[0]}" if len(rest) == 1 else f"models {', '.join(map(str, rest))}"
        log.info("train: %s by all %s processes together, each with a part of every batch", names, members.size)
    return whole[members.rank :: members.size], rest
