"""The table of settings in README.md, from `pipeline/config.py`: `python tests/settings_table.py` writes it anew."""

import json
import re
import sys
from pathlib import Path
from typing import Any, Literal, get_args, get_origin

ROOT = Path(__file__).parent.parent
README = ROOT / "README.md"
BEGIN, END = "<!-- settings: begin -->", "<!-- settings: end -->"


def render() -> str:
    """Markdown: a table for each section."""
    sys.path.insert(0, str(ROOT))
    from pipeline.config import sections

    lines = []
    for name, section in sections():
        lines += [
            f"**`[{name}]`** {(section.__doc__ or '').strip()}",
            "",
            "| setting | default | what it is | repeats |",
            "|---|---|---|---|",
        ]
        for key, field in section.model_fields.items():
            default = json.dumps(field.default, ensure_ascii=False)
            text = f"{field.description}{_choices(field.annotation)}".replace("|", "\\|")
            lines.append(f"| `{key}` | `{default}` | {text} | {', '.join(section.stages_of(key)) or '-'} |")
        lines.append("")
    return "\n".join(lines).strip()


def _choices(annotation: Any) -> str:
    """The allowed values where there is a list of them."""
    inner = next((a for a in get_args(annotation) if get_origin(a) is Literal), annotation)
    if get_origin(inner) is not Literal:
        return ""
    return ": " + ", ".join(f"`{value}`" for value in get_args(inner))


def current(text: str) -> str:
    """The README with the table as it must be."""
    return re.sub(
        f"{re.escape(BEGIN)}.*?{re.escape(END)}", lambda _: f"{BEGIN}\n{render()}\n{END}", text, flags=re.DOTALL
    )


if __name__ == "__main__":
    README.write_text(current(README.read_text(encoding="utf-8")), encoding="utf-8")
