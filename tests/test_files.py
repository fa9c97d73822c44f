"""Files: whole or not there, one writer a product, and stamps that name what differs."""

import errno
import os
import subprocess
import sys
from pathlib import Path

import pytest

from pipeline.files import InputError, atomic_write, digest, inside, lock, read_json, safe_name, walk, write_json
from pipeline.stamps import differences, stale, write_stamp

ROOT = Path(__file__).parent.parent


def test_a_failed_write_leaves_the_old_file(tmp_path: Path) -> None:
    path = tmp_path / "new" / "x.txt"
    with atomic_write(path, "w") as stream:
        stream.write("old")
    with pytest.raises(RuntimeError), atomic_write(path, "w") as stream:
        stream.write("half")
        raise RuntimeError
    assert path.read_text() == "old"
    assert list(path.parent.iterdir()) == [path]


def test_files_are_as_readable_as_others(tmp_path: Path) -> None:
    (tmp_path / "a").write_text("")
    write_json(tmp_path / "b", {"x": 1})
    assert (tmp_path / "a").stat().st_mode == (tmp_path / "b").stat().st_mode


def test_json_that_is_not_whole_is_none(tmp_path: Path) -> None:
    assert read_json(tmp_path / "none") is None
    (tmp_path / "half").write_text('{"a": ')
    assert read_json(tmp_path / "half") is None


@pytest.mark.parametrize("path", ["../x", "a/../../x", "/etc/passwd", "a\\..\\x", "a\0b"])
def test_a_path_of_a_table_stays_inside(path: str) -> None:
    with pytest.raises(InputError, match="must stay inside"):
        inside(Path("input/x"), path, "data.image")
    assert inside(Path("r"), "./a/b..jpg", "x") == Path("r/a/b..jpg")


def test_names_and_hashes() -> None:
    assert safe_name("../a b/c") == "_a_b_c"
    assert safe_name("...") == "competition"
    assert digest({"a": 1, "b": 2}) == digest({"b": 2, "a": 1}) != digest({"a": 1, "b": 3})


def test_walk_is_sorted(tmp_path: Path) -> None:
    for name in ("b/2", "a/9", "b/1", "z"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).touch()
    assert list(walk(tmp_path)) == ["z", "a/9", "b/1", "b/2"]


def test_a_stamp_names_what_differs(tmp_path: Path) -> None:
    stamp, product = tmp_path / "s.json", tmp_path / "p.txt"
    made_from = {"train": {"lr": 0.1, "seed": 0}, "folds": "abc"}
    assert stale(stamp, made_from) == "not made yet"
    product.write_text("1")
    write_stamp(stamp, made_from, [product])
    assert stale(stamp, made_from) is None
    assert stale(stamp, {"train": {"lr": 0.2, "seed": 0}, "folds": "abc"}) == "changed: train.lr (0.1 -> 0.2)"
    os.utime(product, (0, 0))
    assert stale(stamp, made_from) is None, "touching costs nothing"
    product.write_text("23")  # another size: the clock of a file system may not have gone on since
    assert stale(stamp, made_from) == f"{product} was changed"
    product.unlink()
    assert stale(stamp, made_from) == f"{product} is missing"
    stamp.write_text("{")
    assert stale(stamp, made_from) == "not made yet"


def test_differences_are_dotted() -> None:
    assert differences({"a": {"b": 1}, "c": 1}, {"a": {"b": 2}, "d": 1}) == [
        "a.b (1 -> 2)", "c (1 -> null)", "d (null -> 1)",
    ]  # fmt: skip


HOLDER = """
import os, sys
sys.path.insert(0, sys.argv[2])
from pathlib import Path
from pipeline.files import lock
with lock(Path(sys.argv[1]), "fold 0"):
    if os.fork():
        print("held", flush=True)
    sys.stdin.read()
"""


@pytest.mark.parametrize("number", [errno.ENOLCK, errno.EOPNOTSUPP, errno.ENOSYS])
def test_a_file_system_without_locks_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, number: int) -> None:
    """As some network file systems are."""

    def refuses(*_: object) -> None:
        raise OSError(number, os.strerror(number))

    monkeypatch.setattr("fcntl.lockf", refuses)
    with pytest.raises(InputError, match="must have locks"), lock(tmp_path / "lock", "fold 0"):
        pass


def test_a_lock_is_held_by_one_and_freed_by_its_holders_death_though_a_child_lives_on(tmp_path: Path) -> None:
    path = tmp_path / "lock"
    command = [sys.executable, "-c", HOLDER, str(path), str(ROOT)]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as holder:
        assert holder.stdin is not None and holder.stdout is not None
        assert holder.stdout.readline() == "held\n"
        with pytest.raises(InputError, match="fold 0 is being made by another process"), lock(path, "fold 0"):
            pass
        holder.kill()
        holder.wait()
        with lock(path, "fold 0"):
            pass
        holder.stdin.close()  # the child ends
        assert holder.stdout.read() == ""
