"""Stand-in for what nodes show in themselves."""

from __future__ import annotations

from typing import Any


class SavedResult(dict):
    def __init__(self, filename: str, subfolder: str, type: Any) -> None:
        super().__init__(filename=filename, subfolder=subfolder, type=type.value)


class PreviewVideo:
    def __init__(self, values: list[SavedResult]) -> None:
        self.values = values

    def as_dict(self) -> dict[str, Any]:
        return {"images": self.values, "animated": (True,)}


class PreviewText:
    def __init__(self, value: str) -> None:
        self.value = value

    def as_dict(self):
        return {"text": (self.value,)}
