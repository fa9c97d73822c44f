"""A table of many cells is read without copies of its text."""

import subprocess
import sys
from pathlib import Path

import pytest

from pipeline.competition.tables.csv_table import read_csv

STATUS = Path("/proc/self/status")
# Of the process alone: `ru_maxrss` is not below what the one that started it had.
READ = """
import sys
from pathlib import Path
from pipeline.competition.tables.csv_table import read_csv

def peak():
    return next(int(line.split()[1]) for line in open("/proc/self/status") if line.startswith("VmHWM"))

read_csv(Path(sys.argv[1]))
before = peak()
read_csv(Path(sys.argv[2]))
print((peak() - before) * 1024)
"""


@pytest.mark.skipif(not STATUS.is_file(), reason="Linux says how much memory was taken")
def test_a_wide_table_takes_few_times_its_bytes(tmp_path: Path) -> None:
    row = ",".join(["0.01"] * 100)
    for name, num_rows in (("small.csv", 10), ("large.csv", 60_000)):
        with (tmp_path / name).open("w") as stream:
            stream.write("id," + ",".join(f"c{number}" for number in range(100)) + "\n")
            stream.writelines(f"b{number:07d},{row}\n" for number in range(num_rows))
    paths = [str(tmp_path / name) for name in ("small.csv", "large.csv")]
    done = subprocess.run([sys.executable, "-c", READ, *paths], capture_output=True, text=True, check=True)
    assert int(done.stdout) < 6 * (tmp_path / "large.csv").stat().st_size


def test_letters_beyond_ascii_are_read(tmp_path: Path) -> None:
    path = tmp_path / "t.csv"
    rows = "".join(f"{number},\uace0\uc591\uc774 \U0001f408 {number}\n" for number in range(200_000))
    path.write_text("id,label\n" + rows, encoding="utf-8")
    frame = read_csv(path).frame
    assert len(frame) == 200_000 and frame["label"].iloc[-1] == "\uace0\uc591\uc774 \U0001f408 199999"
