"""Configuration files of the training scripts."""

from __future__ import annotations

from dataclasses import fields
from pathlib import Path
from typing import TypeVar

import yaml

Config = TypeVar("Config")


CONFIGS = Path(__file__).parent / "configs"


def read_config(path: Path, kind: type[Config], base: Path = Path()) -> Config:
    """A YAML file as the given frozen dataclass; its `output` counts from the folder `base`.

    Raises:
        ValueError: a key that the dataclass does not have.
    """
    content = yaml.safe_load(path.read_text(encoding="utf-8"))
    known = [field.name for field in fields(kind)]  # type: ignore[arg-type]
    unknown = sorted(content.keys() - set(known))
    if unknown:
        raise ValueError(f"{path}: unknown keys {', '.join(unknown)}; known are {', '.join(known)}")
    if "output" in content:
        content["output"] = str(base / content["output"])
    return kind(**{key: tuple(value) if isinstance(value, list) else value for key, value in content.items()})
