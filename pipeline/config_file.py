"""TOML and `KEY=VALUE` overrides -> `Config`; a mistake is one sentence: the key, the value, what is allowed."""

import difflib
import json
import tomllib
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Literal, get_args, get_origin

from pydantic import ValidationError

from pipeline.combinations import refused
from pipeline.config import Config, ConfigError, sections
from pipeline.quoting import shown


def load(path: Path, overrides: Sequence[str] = ()) -> Config:
    """Read a config file and apply `KEY=VALUE` overrides.

    Raises:
        ConfigError: a key or value that cannot be used, or a file that is not TOML; nothing else is looked at.
    """
    if not path.is_file():
        raise ConfigError(
            f"{path} does not exist. Name a config, or a competition's folder after: "
            "python -m pipeline.detect --config FOLDER"
        )
    try:
        text = path.read_text(encoding="utf-8-sig")
    except UnicodeDecodeError as error:
        raise ConfigError(f"{path} is not TOML: {error}") from None
    except OSError as error:
        raise ConfigError(f"{path} cannot be read: {error}") from None
    return loads(text, path, overrides)


def loads(text: str, path: Path, overrides: Sequence[str] = ()) -> Config:
    """Settings from the text of a config file, which need not be written yet; see `load`."""
    try:
        values = tomllib.loads(text)
    except (ValueError, RecursionError) as error:  # a TOMLDecodeError, or a number of thousands of digits
        raise ConfigError(f"{path} is not TOML: {error}") from None
    for name in ("name", "path", "overrides", "planned", "asked_image", "in_turn"):
        if name in values:
            raise ConfigError(f"{path}: Unknown setting {name!r}. A run is named by its config file")
    if path.stem.strip(".") == "" or not path.stem.isprintable():
        raise ConfigError(f"a config must have a name, of printable characters: it names its run. Got {str(path)!r}")
    if path.stem == "cache":
        raise ConfigError(f"a config must not be called cache.toml: output/cache holds the decoded images. Got {path}")
    for override in overrides:
        _apply(values, override)
    named = {"name": path.stem, "path": str(path), "overrides": tuple(overrides)}
    return check({**values, **named}, f"{path} with --set {' '.join(overrides)}" if overrides else str(path))


def check(values: dict[str, Any], source: str = "settings") -> Config:
    """Settings as plain values -> `Config`.

    Raises:
        ConfigError: the first few things that are wrong, each with the key, the value and what is allowed.
    """
    try:
        cfg = Config.model_validate(_tuples(values))
    except ValidationError as error:
        details = error.errors()
        # A list of which nothing is left because its items are wrong: the items are what to say.
        wrong = {detail["loc"][:-1] for detail in details if isinstance(detail["loc"][-1], int)}
        details = [detail for detail in details if detail["loc"] not in wrong]
        found = "; ".join(_sentence(detail) for detail in details[:5])
        raise ConfigError(f"{source}: {found}") from None
    if sentences := list(refused(cfg)):
        raise ConfigError(f"{source}: {'; '.join(sentences)}")
    return cfg


def to_toml(cfg: Config) -> str:
    """All settings as a TOML file that `load` reads back."""
    lines = []
    for name, values in cfg.model_dump(mode="json").items():
        # A JSON text, number, boolean or list of texts is the same in TOML.
        lines += [
            f"[{name}]",
            *(f"{key} = {json.dumps(value, ensure_ascii=False)}" for key, value in values.items()),
            "",
        ]
    return "\n".join(lines)


def _apply(values: dict[str, Any], override: str) -> None:
    """Set one `section.key=value` in place; the value is TOML unless the setting is text."""
    key, equals, text = override.partition("=")
    section, dot, name = key.strip().partition(".")
    kind = dict(sections()).get(section)
    if not equals or not dot:
        raise ConfigError(f"--set takes SECTION.KEY=VALUE. Got {override!r}")
    if kind is None or name not in kind.model_fields:
        raise ConfigError(f"--set: Unknown setting {key!r}. {_nearest(key)}")
    table = values.setdefault(section, {})
    if not isinstance(table, dict):
        raise ConfigError(f"[{section}] must be a table. Got {table!r}")
    annotation = kind.model_fields[name].annotation
    is_text = annotation is str or (get_origin(annotation) is Literal and isinstance(get_args(annotation)[0], str))
    table[name] = text if is_text else _toml_value(key, text)


def _toml_value(key: str, text: str) -> Any:
    try:
        parsed = tomllib.loads(f"value = {text}")
    except (ValueError, RecursionError):
        raise ConfigError(f'--set {key}: the value must be TOML (0.1, true, ["a", "b"]). Got {text!r}') from None
    if list(parsed) != ["value"]:
        raise ConfigError(f"--set {key}: one value is wanted. Got {text!r}")
    return parsed["value"]


def _tuples(value: Any) -> Any:
    """TOML's lists as the tuples that frozen settings hold."""
    if isinstance(value, dict):
        return {key: _tuples(item) for key, item in value.items()}
    if isinstance(value, list):
        return tuple(_tuples(item) for item in value)
    return value


def _sentence(detail: Any) -> str:
    """One pydantic error as a sentence: key, what must hold, what was got."""
    location = [str(part) for part in detail["loc"]]
    key = ".".join(location)
    got = shown(detail["input"])
    if detail["type"] == "extra_forbidden":
        return f"Unknown setting '{key}'. {_nearest(key)}"
    message = str(detail["msg"]).removeprefix("Value error, ").replace(" after validation", "")
    if detail["type"] == "value_error":
        return f"[{key}] {message}"
    return f"'{key}': {message[0].lower()}{message[1:]}. Got {got}"


def _nearest(key: str) -> str:
    """The known key nearest to an unknown one, as a question."""
    known = [name for section, kind in sections() for name in (section, *(f"{section}.{f}" for f in kind.model_fields))]
    by_last = {name.rpartition(".")[2]: name for name in reversed(known)}
    near = difflib.get_close_matches(key, known, 1, 0.6) or [
        by_last[name] for name in difflib.get_close_matches(key.rpartition(".")[2], list(by_last), 1, 0.6)
    ]
    if near:
        return f"Did you mean '{near[0]}'?"
    return "The sections are: " + ", ".join(name for name, _ in sections())
