"""The alpha of a LoRA whose file has no tensors for it: peft keeps it in its configuration.

peft writes `adapter_model.safetensors` with `adapter_config.json` beside it; diffusers writes the same settings into
the file's header. What is added is alpha / rank times the pair's product, or alpha / sqrt(rank) with `use_rslora`
(arXiv 2312.03732).
"""

from __future__ import annotations

import json
import math
import os
import re
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from ..errors import WeightsError
from ..files.tensors import read_metadata
from ..files.text import read_json

CONFIG_NAME = "adapter_config.json"
# The files that peft's configuration speaks of; others in its folder are not its own.
ADAPTER_STEM = "adapter_model"
HEADER_ENTRY = "lora_adapter_metadata"


@dataclass(frozen=True)
class AlphaSettings:
    """What peft's configuration says of the strength.

    Attributes:
        alpha: of all layers.
        patterns: other alphas, by a regular expression that the end of a layer's name matches.
        square_root: whether it is divided by the rank's square root (`use_rslora`).
    """

    alpha: float
    patterns: dict[str, float] = field(default_factory=dict)
    square_root: bool = False

    def scale(self, layer: str, rank: int) -> float:
        """The factor on a layer's product."""
        found = [alpha for end, alpha in self.patterns.items() if re.fullmatch(rf"(?:.*\.)?(?:{end})", layer)]
        return (found[0] if found else self.alpha) / (math.sqrt(rank) if self.square_root else rank)


def read_alpha(path: str | os.PathLike[str]) -> AlphaSettings | None:
    """The settings of a LoRA file, from its header or from peft's configuration beside it; None where none says it.

    Raises:
        WeightsError: the configuration is there and cannot be used; names it.
    """
    path = Path(path)
    try:
        header = json.loads(read_metadata(path).get(HEADER_ENTRY) or "null")
    except ValueError as error:
        raise WeightsError(f"{path} is damaged: its header's {HEADER_ENTRY} is no JSON ({error})") from error
    if isinstance(header, dict):
        # diffusers puts the network's name before each setting.
        return parse_settings({name.split(".", 1)[-1]: value for name, value in header.items()}, str(path))
    config = path.with_name(CONFIG_NAME)
    if path.stem == ADAPTER_STEM and config.is_file():
        return parse_settings(read_json(config, WeightsError), str(config))
    return None


def parse_settings(settings: Any, label: str) -> AlphaSettings | None:
    """peft's settings; None where they say no alpha.

    Raises:
        WeightsError: a value is of another kind.
    """
    try:
        if settings.get("lora_alpha") is None:
            return None
        patterns = {str(end): float(alpha) for end, alpha in (settings.get("alpha_pattern") or {}).items()}
        for end in patterns:
            re.compile(end)
        return AlphaSettings(float(settings["lora_alpha"]), patterns, bool(settings.get("use_rslora")))
    except (AttributeError, TypeError, ValueError, re.error) as error:
        raise WeightsError(
            f"{label} does not say how strong the LoRA is: lora_alpha or alpha_pattern ({error})"
        ) from error
