"""Where the training loop's time goes, by part, for the three loops of `step.py`; in text.

Run: PYTHONPATH=. python tests/benchmarks/parts.py [resnet18 resnet9 lenet5]
Parts are timed by wrapping what `run_model` calls; on a GPU each is followed by a synchronisation, so the sum is then
more than the loop takes.
"""

import sys
import tempfile
import time
from collections import defaultdict
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import torch
from measure import machine_line
from step import job_of, make_loop

from pipeline.images import batches


def main() -> None:
    spent: dict[str, float] = defaultdict(float)

    def timed(name: str, function: Callable[..., Any]) -> Callable[..., Any]:
        def call(*args: Any, **kwargs: Any) -> Any:
            start = time.perf_counter()
            result = function(*args, **kwargs)
            if torch.cuda.is_available():
                torch.cuda.synchronize()
            spent[name] += time.perf_counter() - start
            return result

        return call

    def waited(items: Iterator[Any], depth: int = 2) -> Iterator[Any]:
        inner = prefetch(items, depth)
        while (item := timed("waiting for the gathering thread", lambda: next(inner, None))()) is not None:
            yield item

    prefetch, batches.prefetch = batches.prefetch, waited
    batches.normalise = timed("normalisation", batches.normalise)
    with tempfile.TemporaryDirectory() as scratch:
        for job in sys.argv[1:] or ["resnet18", "resnet9", "lenet5"]:
            loop, model, state, changes = make_loop(job_of(job), Path(scratch))
            loop()
            augment = changes.of
            changes.of = lambda epoch, of=augment: batches.Changes(
                None, timed("augmentation", of(epoch).augment), of(epoch).mix
            )
            model.forward = timed("forward", model.forward)
            state.optimizer.step = timed("optimizer", state.optimizer.step)
            state.optimizer.zero_grad = timed("optimizer", state.optimizer.zero_grad)
            backward = torch.Tensor.backward
            torch.Tensor.backward = timed("backward", backward)
            spent.clear()
            start = time.perf_counter()
            loop()
            total = time.perf_counter() - start
            torch.Tensor.backward = backward
            spent["all the rest"] = total - sum(spent.values())
            print(f"{job}: {job_of(job).num_images / total:,.0f} images/s")
            for name, seconds in sorted(spent.items(), key=lambda item: -item[1]):
                print(f"  {100 * seconds / total:5.1f} %  {name}")
    print(machine_line())


if __name__ == "__main__":
    main()
