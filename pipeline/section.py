"""What a section of settings is: a checked table of the TOML file, each setting with the stages that depend on it."""

from typing import Any, ClassVar, Literal

from pydantic import BaseModel, ConfigDict, ValidationInfo, field_validator

Stage = Literal["prepare", "folds", "probe", "train", "infer", "ensemble"]


class Stages:
    """The stages whose products depend on a setting by themselves, not only through what a stage before them makes."""

    def __init__(self, *names: Stage) -> None:
        self.names = names


class Section(BaseModel):
    """A table of the TOML file."""

    model_config = ConfigDict(extra="forbid", strict=True, frozen=True, allow_inf_nan=False, protected_namespaces=())
    stages: ClassVar[Stages]

    @classmethod
    def stages_of(cls, key: str) -> tuple[Stage, ...]:
        """The stages whose products depend on a setting: its own where it names some, else the section's."""
        own = [named for named in cls.model_fields[key].metadata if isinstance(named, Stages)]
        return (own[0] if own else cls.stages).names

    @field_validator("*")
    @classmethod
    def _text(cls, value: Any, info: ValidationInfo) -> Any:
        if any("\0" in text for text in (value if isinstance(value, tuple) else [value]) if isinstance(text, str)):
            raise ValueError(f"{info.field_name!r} must be text without NUL characters. Got {value!r}")
        return value
