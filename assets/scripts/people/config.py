"""Configuration files of the training scripts."""

from __future__ import annotations

from dataclasses import fields
from pathlib import Path
from typing import TypeVar

import yaml

Config = TypeVar("Config")


def read_config(path: Path, kind: type[Config]) -> Config:
    """A YAML file as the given frozen dataclass.

    Raises:
        ValueError: a key that the dataclass does not have.
    """
    content = yaml.safe_load(path.read_text(encoding="utf-8"))
    known = [field.name for field in fields(kind)]  # type: ignore[arg-type]
    unknown = sorted(content.keys() - set(known))
    if unknown:
        raise ValueError(f"{path}: unknown keys {', '.join(unknown)}; known are {', '.join(known)}")
    return kind(**{key: tuple(value) if isinstance(value, list) else value for key, value in content.items()})
