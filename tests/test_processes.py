"""Several processes at one run, on CPUs: what one process makes, whatever dies on the way."""

import contextlib
import os
import re
import shutil
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest
from torch.distributed import TCPStore

from making import TOML, tiny_competition
from pipeline import folds, prepare
from pipeline.dealing import dealt, turns
from pipeline.launch import num_processes
from pipeline.others import OtherFailed, wait_until
from pipeline.processes import Team
from running import CONFIG, RUN

ROOT = Path(__file__).parent.parent
# Uneven: 47 images in two folds, whose last batches are of fewer images than others, or of too few for three processes.
NUM_TRAIN, NUM_TEST = 47, 11
STAGES = ("prepare", "folds", "train", "infer", "ensemble")
# Norms, dropout, stochastic shapes of all kinds and mixing: whatever could differ between one batch and its parts.
SETTINGS = (
    *("model.name=resnet9", "model.width=8", "model.dropout=0.3", "image.size=16", "train.precision=float32"),
    *(
        "infer.batch_size=4",
        'infer.views=["identity","hflip"]',
        "train.ema=0.9",
        "train.accumulate=2",
        "augment.policy=randaugment",
        "augment.mixup=0.4",
        "augment.hflip=0.5",
    ),
)
IN_PARTS = (*SETTINGS, "train.shard=true")


def command(stages: Sequence[str], settings: Sequence[str] = SETTINGS, *more: str) -> list[str]:
    return [sys.executable, "-m", "pipeline", *stages, *CONFIG, *more, "--set", *settings]


def environment(number: int, **more: str) -> dict[str, str]:
    return {**os.environ, "PYTHONPATH": str(ROOT), "NUM_PROC": str(number), "OMP_NUM_THREADS": "1", **more}


def finished(
    place: Path, number: int, stages: Sequence[str], settings: Sequence[str] = SETTINGS
) -> "subprocess.CompletedProcess[str]":
    """Run stages in several processes, whatever becomes of them."""
    return subprocess.run(
        command(stages, settings), cwd=place, env=environment(number), capture_output=True, text=True, timeout=240
    )


def run(place: Path, number: int, stages: Sequence[str] = STAGES, settings: Sequence[str] = SETTINGS) -> str:
    """Run stages in several processes; gives what they said."""
    done = finished(place, number, stages, settings)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def made(place: Path) -> Path:
    tiny_competition(place, NUM_TRAIN, NUM_TEST, TOML)
    return place


@pytest.fixture
def ready(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The competition with its images and folds."""
    monkeypatch.chdir(made(tmp_path))
    for stage in (prepare, folds):
        assert stage.main([*CONFIG, "--set", *SETTINGS]) == 0
    return tmp_path


@pytest.fixture(scope="module")
def alone(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What one process makes."""
    place = made(tmp_path_factory.mktemp("alone"))
    run(place, 1)
    return place


def table(place: Path, name: str) -> tuple[list[str], np.ndarray]:
    read = pq.read_table(place / RUN / name)
    return read["id"].to_pylist(), np.stack(read["probs"].to_numpy(zero_copy_only=False))


def furthest(place: Path, other: Path) -> float:
    """The largest difference of any probability; the ids are the same, each once."""
    found = []
    for name in ("oof.parquet", "test.parquet"):
        (ids, probs), (other_ids, other_probs) = table(place, name), table(other, name)
        assert ids == other_ids and len(set(ids)) == len(ids) == (NUM_TRAIN if name == "oof.parquet" else NUM_TEST)
        found.append(float(np.abs(probs - other_probs).max()))
    return max(found)


def test_three_processes_at_each_batch_make_what_one_does(alone: Path, tmp_path: Path) -> None:
    """Two models for three processes: all train both together."""
    said = run(made(tmp_path), 3)
    assert "models 0, 1 by all 3 processes together" in said
    assert said.count("epoch 1/2") == 2, "the first process speaks"
    assert furthest(alone, tmp_path) < 1e-4
    one, three = ((place / RUN / "scores.json").read_text() for place in (alone, tmp_path))
    assert re.findall(r'"(?:score|metric)": [^,\n]*', one) == re.findall(r'"(?:score|metric)": [^,\n]*', three)


def test_models_that_are_dealt_out_are_those_of_one_process(alone: Path, tmp_path: Path) -> None:
    assert "models 0, 1 by 2 processes, each by one of them" in run(made(tmp_path), 2)
    for fold in (0, 1):
        name = RUN / f"fold{fold}" / "model.safetensors"
        assert (tmp_path / name).read_bytes() == (alone / name).read_bytes()
    assert furthest(alone, tmp_path) == 0
    assert (tmp_path / RUN / "submission.csv").read_bytes() == (alone / RUN / "submission.csv").read_bytes()


def started(place: Path, settings: Sequence[str]) -> "subprocess.Popen[str]":
    """Two processes at one model."""
    return subprocess.Popen(
        command(("train",), settings, "--fold", "1"),
        cwd=place,
        env=environment(2),
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )


def until(text: str, process: "subprocess.Popen[str]") -> None:
    """Wait until a process says something."""
    assert process.stdout is not None
    said = []
    for line in process.stdout:
        said.append(line)
        if text in line:
            return
    raise AssertionError("".join(said))


@pytest.mark.parametrize(
    ("begun", "own", "rest"),
    [
        ({}, [[0], [1]], [2]),
        ({1: 1}, [[1], [0]], [2]),
        ({0: 2}, [[1], [2]], [0]),
        ({2: 2}, [[0], [1]], [2]),
        ({0: 1, 1: 2, 2: 2}, [[0], []], [1, 2]),
        ({0: 1, 1: 1, 2: 1}, [[0, 2], [1]], []),
    ],
)
def test_a_training_under_way_goes_on_by_as_many_as_began_it(
    monkeypatch: pytest.MonkeyPatch, begun: dict[int, int], own: list[list[int]], rest: list[int]
) -> None:
    for number in (0, 1):
        monkeypatch.setattr(Team, "first", lambda _, work: work())
        monkeypatch.setattr("pipeline.dealing.team", lambda number=number: Team(number, 2))
        assert dealt([0, 1, 2], [0, 1, 2], lambda model: begun.get(int(model), 0)) == (own[number], rest)


def test_what_is_under_way_comes_first(monkeypatch: pytest.MonkeyPatch) -> None:
    """Of trainings that several have begun together, which no process has room for by itself."""
    monkeypatch.setattr(Team, "first", lambda _, work: work())
    monkeypatch.setattr("pipeline.dealing.team", lambda: Team(0, 2))
    begun = {1: 2}
    assert dealt([0, 1, 2], [0, 1, 2], lambda model: begun.get(int(model), 0), none_alone=True) == ([], [1, 0, 2])


def test_another_number_of_processes_is_refused_before_anything_is_trained(ready: Path) -> None:
    """Two have begun the second fold together; three would train the first one first."""
    settings = (*SETTINGS, "train.num_epochs=200", "train.checkpoint_minutes=0")
    with started(ready, settings) as process:
        until("epoch 1/200", process)
        process.send_signal(signal.SIGTERM)
        ended(process)
    done = finished(ready, 3, ("train", "infer", "ensemble"), settings)
    assert done.returncode == 1 and "set NUM_PROC=2" in done.stderr and "Traceback" not in done.stderr
    assert "epoch" not in done.stdout


@pytest.mark.parametrize(("num_models", "size"), [(1, 1), (5, 1), (5, 2), (5, 4), (5, 5), (5, 8), (20, 8)])
def test_turns_are_as_many_as_a_process_is_dealt(monkeypatch: pytest.MonkeyPatch, num_models: int, size: int) -> None:
    models: list[int | str] = list(range(num_models))
    monkeypatch.setattr(Team, "first", lambda _, work: work())
    monkeypatch.setattr("pipeline.dealing.team", lambda: Team(0, size))
    own, rest = dealt(models, models, lambda _: 0)
    assert turns(num_models, size) == len(own) + len(rest)


class Store:
    """What torchrun keeps, played: a process that counts on lives."""

    def __init__(self) -> None:
        self.values: dict[str, bytes] = {}

    def check(self, keys: list[str]) -> bool:
        return all(key in self.values for key in keys)

    def get(self, key: str) -> bytes:
        return self.values[key]


@pytest.mark.parametrize("gone", [None, 2])
def test_a_machine_that_is_gone_is_noticed(monkeypatch: pytest.MonkeyPatch, gone: int | None) -> None:
    """By what nobody on it says any more; who is slow is waited for."""
    store, now = Store(), [0.0]
    for name, value in (("RANK", "0"), ("WORLD_SIZE", "3"), ("MASTER_ADDR", "x"), ("MASTER_PORT", "1")):
        monkeypatch.setenv(name, value)
    monkeypatch.setenv("GROUP_WORLD_SIZE", "2")
    monkeypatch.setattr("pipeline.others.shared_store", lambda: store)
    monkeypatch.setattr("pipeline.others.time.monotonic", lambda: now[0])

    def sleep(seconds: float) -> None:
        now[0] += 30
        for rank in range(3):
            if rank != gone or now[0] < 200:
                store.values[f"alive/{rank}"] = str(now[0]).encode()

    monkeypatch.setattr("pipeline.others.time.sleep", sleep)
    if gone is None:
        wait_until(lambda: now[0] > 1000)
    else:
        with pytest.raises(OtherFailed):
            wait_until(lambda: now[0] > 1000)
        assert 300 <= now[0] <= 400


@pytest.fixture
def training(ready: Path) -> Iterator[subprocess.Popen[str]]:
    """Two processes at one model, in their third epoch or later."""
    settings = (*SETTINGS, "train.num_epochs=200", "train.checkpoint_minutes=0")
    with started(ready, settings) as process:
        until("epoch 3/", process)
        yield process
        process.kill()


def workers(process: "subprocess.Popen[str]") -> list[int]:
    """The processes that share the run, by their ranks."""
    found = {}
    for folder in Path("/proc").glob("[0-9]*"):
        try:
            stat, environ = (folder / "stat").read_text(), (folder / "environ").read_bytes().split(b"\0")
        except OSError:
            continue
        if int(stat.rpartition(")")[2].split()[1]) == process.pid:
            ranks = [int(value[5:]) for value in environ if value.startswith(b"RANK=")]
            found.update({rank: int(folder.name) for rank in ranks})
    return [found[rank] for rank in sorted(found)]


def ended(process: "subprocess.Popen[str]") -> tuple[int, str]:
    said, _ = process.communicate(timeout=120)
    return process.returncode, said


def test_a_signal_to_the_launcher_stops_all_and_they_go_on(training: "subprocess.Popen[str]", tmp_path: Path) -> None:
    training.send_signal(signal.SIGTERM)
    status, said = ended(training)
    assert status == 143 and said.count("stopped; the same command goes on from here") == 1
    settings = (*SETTINGS, "train.num_epochs=200", "train.checkpoint_minutes=0")
    with started(tmp_path, settings) as process:
        until("goes on in epoch", process)
        process.send_signal(signal.SIGTERM)


@pytest.mark.parametrize(
    ("rank", "number"),
    [
        (1, signal.SIGTERM),
        (0, signal.SIGKILL),
        pytest.param(0, signal.SIGTERM, marks=pytest.mark.slow),
        pytest.param(1, signal.SIGKILL, marks=pytest.mark.slow),
    ],
)
def test_no_process_waits_for_one_that_is_gone(training: "subprocess.Popen[str]", rank: int, number: int) -> None:
    os.kill(workers(training)[rank], number)
    began = time.monotonic()
    status, said = ended(training)
    assert status == 128 + number, said
    assert time.monotonic() - began < 100 and "Traceback" not in said, said


# Epochs have three steps: it goes on within one, and from the end of one.
@pytest.mark.parametrize(
    ("settings", "kill_at"),
    [
        (SETTINGS, "step:5:python"),
        pytest.param(SETTINGS, "step:3:python", marks=pytest.mark.slow),
        pytest.param(IN_PARTS, "step:3:python", marks=pytest.mark.slow),
        pytest.param(IN_PARTS, "step:5:python", marks=pytest.mark.slow),
    ],
)
def test_a_killed_process_is_started_again_by_torchrun(
    alone: Path, ready: Path, settings: Sequence[str], kill_at: str
) -> None:
    """The job goes on from its last checkpoint, and ends with the same table."""
    command_ = [
        *(sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node=2", "--max-restarts=1"),
        *("-m", "pipeline.train", *CONFIG, "--fold", "0", "--set", *settings, "train.checkpoint_minutes=0"),
    ]
    paths = os.pathsep.join([str(ROOT / "tests" / "killed"), str(ROOT)])
    killed = {"PYTHONPATH": paths, "JOURNAL": str(ready / "journal"), "KILL_AT": kill_at, "KILL_RANK": "1"}
    done = subprocess.run(
        command_, cwd=ready, env=environment(1, **killed), capture_output=True, text=True, timeout=240
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert "goes on in epoch" in done.stdout
    run(ready, 1, ("train", "infer", "ensemble"))
    assert furthest(alone, ready) < 1e-4


@pytest.mark.slow
@pytest.mark.parametrize("network", ["test_vit", "test_convnext", "test_nfnet"])
def test_networks_of_timm_are_what_one_process_trains(tmp_path: Path, network: str) -> None:
    """Drop path and dropout, and weights that are standardised."""
    settings = [
        *(f"model.name={network}", "model.drop_path=0.2", "model.dropout=0.1", "image.size=32", "train.num_epochs=1"),
        *("train.precision=float32", "train.optimizer=sgd", "train.lr=0.001"),
    ]
    for number in (1, 3):
        place = made(tmp_path / str(number))
        done = finished(place, number, STAGES, settings)
        assert done.returncode == 0, done.stdout + done.stderr
        assert "Warning" not in done.stderr
    assert furthest(tmp_path / "1", tmp_path / "3") < 1e-4


Machine = tuple[list[str], str, str]

# Two network namespaces that a cable joins, without any right on the machine: "left", which `unshare` makes, is that of
# the first process; the second makes "right". They live as long as their standard input is open.
_LEFT = ["unshare", "--user", "--map-root-user", "--net", "cat"]
_CABLE = """
ip link set lo up
ip link add left type veth peer name right netns {right}
ip addr add 10.9.8.1/24 dev left
ip link set left up
nsenter --target {right} --net sh -c "ip link set lo up; ip addr add 10.9.8.2/24 dev right; ip link set right up"
"""


@pytest.fixture(params=["loopback", "namespaces"])
def machines(request: pytest.FixtureRequest) -> Iterator[list[Machine]]:
    """How a command is begun on each of two machines, its address there, and the name of its network."""
    if request.param == "loopback":
        yield [([], "localhost", "lo")] * 2
        return
    if not all(map(shutil.which, ("unshare", "nsenter", "ip"))):
        pytest.skip("no util-linux or iproute2 here")
    with contextlib.ExitStack() as stack:

        def lives(command: list[str]) -> str:
            pipe = subprocess.PIPE
            process = stack.enter_context(subprocess.Popen(command, bufsize=0, stdin=pipe, stdout=pipe))
            assert process.stdin is not None and process.stdout is not None
            with contextlib.suppress(BrokenPipeError):
                process.stdin.write(b"made\n")
            if process.stdout.readline() != b"made\n":
                pytest.skip("no namespaces for users here")
            return str(process.pid)

        on_left = ["nsenter", "--target", lives(_LEFT), "--user", "--preserve-credentials", "--net"]
        right = lives([*on_left, "unshare", "--net", "cat"])
        subprocess.run([*on_left, "sh", "-e", "-c", _CABLE.format(right=right)], check=True, timeout=60)
        on_right = [*on_left, "nsenter", "--target", right, "--net"]
        yield [(on_left, "10.9.8.1", "left"), (on_right, "10.9.8.2", "right")]


@pytest.mark.slow
def test_two_machines_make_what_one_process_does(machines: list[Machine], alone: Path, tmp_path: Path) -> None:
    """Two launchers with two processes each, that find each other by an address and share a folder."""
    place, port, first = made(tmp_path), free_port(), machines[0][1]
    nodes = [
        subprocess.Popen(
            [
                *(*begins, sys.executable, "-m", "torch.distributed.run", "--nnodes=2", "--nproc-per-node=2"),
                *("--rdzv-backend=c10d", f"--rdzv-endpoint={first}:{port}", "--rdzv-id=two", f"--local-addr={own}"),
                f"--rdzv-conf=is_host={int(number == 0)}",
                *("-m", "pipeline", *STAGES, *CONFIG, "--set", *SETTINGS),
            ],
            cwd=place,
            env=environment(1, GLOO_SOCKET_IFNAME=network),
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )
        for number, (begins, own, network) in enumerate(machines)
    ]
    said = [node.communicate(timeout=300)[0] for node in nodes]
    assert [node.returncode for node in nodes] == [0, 0], said
    assert "by all 4 processes together" in "".join(said)
    assert furthest(alone, place) < 1e-4
    assert (place / RUN / "submission.csv").is_file()


def free_port() -> int:
    with socket.socket() as listening:
        listening.bind(("localhost", 0))
        return int(listening.getsockname()[1])


def test_models_are_made_again_or_refused_as_by_one_process(ready: Path) -> None:
    """A model that is lost is trained again, one of other settings is not passed over."""
    run(ready, 2, ("train",))
    (ready / RUN / "fold1" / "model.safetensors").unlink()
    said = run(ready, 2, ("train",))
    assert "train 0: up to date" in said and "model 1 by all 2 processes together" in said
    assert (ready / RUN / "fold1" / "model.safetensors").is_file()
    done = finished(ready, 2, ("train",), (*SETTINGS, "train.lr=0.5"))
    assert done.returncode == 1 and "trained with other settings" in done.stderr and "Traceback" not in done.stderr


def test_who_does_not_come_is_named(tmp_path: Path) -> None:
    """Of two processes one never starts."""
    code = (
        "import sys, pipeline.others; pipeline.others._START = 1.0; from pipeline.prepare import main; sys.exit(main())"
    )
    kept = TCPStore("localhost", 0, is_master=True, wait_for_workers=False)
    alone_ = {"RANK": "0", "WORLD_SIZE": "2", "MASTER_ADDR": "localhost", "MASTER_PORT": str(kept.port)}
    alone_["TORCHELASTIC_USE_AGENT_STORE"] = "True"
    done = subprocess.run(
        [sys.executable, "-c", code, *CONFIG],
        cwd=made(tmp_path),
        env=environment(1, **alone_),
        capture_output=True,
        text=True,
        timeout=120,
    )
    assert done.returncode == 1, done.stdout + done.stderr
    assert "Process 1 did not: look at what it says" in done.stderr and "Traceback" not in done.stderr


def test_what_is_wrong_is_said_once(tmp_path: Path) -> None:
    place = made(tmp_path)
    done = finished(place, 2, ("train",))
    assert done.returncode == 1
    assert done.stderr.count("pipeline.prepare") == 1 and "Traceback" not in done.stderr


def test_who_is_one_of_torchruns_starts_no_others(monkeypatch: pytest.MonkeyPatch) -> None:
    """Of one process too: `torchrun --nproc-per-node=1`."""
    monkeypatch.setattr("pipeline.launch.num_gpus", lambda: 8)
    monkeypatch.delenv("NUM_PROC", raising=False)
    assert num_processes() == 8
    for name, value in {"RANK": "0", "WORLD_SIZE": "1", "TORCHELASTIC_RUN_ID": "none"}.items():
        monkeypatch.setenv(name, value)
    assert num_processes() == 1


@pytest.mark.parametrize("number", ["0", "-1", "two", "1025"])
def test_a_number_of_processes_is_one(tmp_path: Path, number: str) -> None:
    done = subprocess.run(
        command(("train",)), cwd=tmp_path, env=environment(1, NUM_PROC=number), capture_output=True, text=True
    )
    assert done.returncode == 2 and "NUM_PROC must be a number of processes" in done.stderr


def test_processes_that_hold_a_network_in_parts_make_what_one_does(alone: Path, tmp_path: Path) -> None:
    """Both models by both processes, none by one alone."""
    said = run(made(tmp_path), 2, settings=IN_PARTS)
    assert "models 0, 1 by all 2 processes together" in said and "changes nothing" not in said
    assert furthest(alone, tmp_path) < 1e-4
    assert not list((tmp_path / RUN).glob("fold*/resume*"))
