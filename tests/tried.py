"""The table of tests/README.md, what was tried and survived: `python tests/tried.py` runs those tests and writes it.

About ten minutes on two cores; the kills are those of the slow test.
"""

import re
import subprocess
import sys
import tempfile
import xml.etree.ElementTree as ElementTree
from pathlib import Path

ROOT = Path(__file__).parent.parent
README = ROOT / "tests" / "README.md"
BEGIN, END = "<!-- tried: begin -->", "<!-- tried: end -->"
# What a row counts: tests by file and part of the name; a test that tries many says how many.
ROWS = {
    "moments at which a run was killed": [("tests/test_crash.py", "killed_anywhere")],
    "signals, to run.sh alone and to all": [("tests/test_crash.py", "signal")],
    "products lost, cut, emptied or changed": [("tests/test_damage.py", "lost_or_broken")],
    "writes that the machine refused": [("tests/test_damage.py", "says_no")],
    "image files made by code": [("tests/images/test_corpus.py", "read_to_the_right_pixels_or_refused")],
    "image files that were collected": [("tests/images/test_corpus.py", "collected")],
    "odd tables": [
        ("tests/competition/tables/test_odd_tables.py", ""),
        ("tests/competition/tables/test_table.py", "broken"),
    ],
    "settings changed": [("tests/test_fingerprints.py", "each_setting")],
    "hostile names, paths, files and settings": [("tests/test_hostile.py", "")],
    "hostile archives": [
        ("tests/competition/archives/test_unpacking.py", r"leads_out|refused|bomb|lies|password|part_of")
    ],
    "weights that are something else": [
        ("tests/model/test_weights.py", r"refused|code|damaged"),
        ("tests/model/test_checkpoint.py", r"truncation|lies|foreign"),
    ],
}


def run(report: Path) -> dict[tuple[str, str], int]:
    """Run the tests; how many things each has tried, by file and name."""
    files = sorted({file for sources in ROWS.values() for file, _ in sources})
    command = [
        sys.executable,
        "-m",
        "pytest",
        "-q",
        "-m",
        "slow or not slow",
        "-o",
        "junit_family=xunit1",
        f"--junitxml={report}",
    ]
    done = subprocess.run([*command, *files], cwd=ROOT)
    if done.returncode:
        raise SystemExit("a test has failed: the table stays as it was")
    tried = {}
    for case in ElementTree.parse(report).iter("testcase"):
        if case.find("skipped") is None:
            file = case.get("classname", "").replace(".", "/") + ".py"
            said = [int(p.get("value", 0)) for p in case.iter("property") if p.get("name") == "tried"]
            tried[file, case.get("name", "")] = sum(said) or 1
    return tried


def render(tried: dict[tuple[str, str], int]) -> str:
    lines = [
        "| what was tried, and ended in the right bytes or in one line that says why not | how many |",
        "|---|---|",
    ]
    for what, sources in ROWS.items():
        count = sum(
            number
            for (file, name), number in tried.items()
            for own, part in sources
            if file == own and re.search(part, name)
        )
        assert count, what
        lines.append(f"| {what} | {count:,} |")
    return "\n".join(lines)


if __name__ == "__main__":
    with tempfile.TemporaryDirectory() as scratch:
        table = render(run(Path(scratch) / "report.xml"))
    text = README.read_text(encoding="utf-8")
    before, after = text[: text.index(BEGIN)], text[text.index(END) :]
    README.write_text(f"{before}{BEGIN}\n{table}\n{after}", encoding="utf-8")
