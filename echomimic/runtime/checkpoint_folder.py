"""The states of many renders in one folder, each under its own name: for hosts whose users do not choose file names."""

from __future__ import annotations

import contextlib
import logging
import re
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from safetensors import safe_open
from torch import Tensor

from ..errors import CheckpointError
from ..files.fingerprint import hash_tensor, hash_text
from .checkpoint import FORMAT, RenderCheckpoint, UnfinishedStep, same_portrait

logger = logging.getLogger("echomimic")

NAME = re.compile(r"render-[0-9a-f]{32}(-[0-9a-f]{8})?\.safetensors")
# Renders that nobody continues: a minute at 768x768 is 0.2 GB.
KEPT_SECONDS = 30 * 24 * 3600
KEPT_OTHERS = 4
# What a killed process left half-written; another one may be writing right now.
UNFINISHED_SECONDS = 3600


@dataclass
class CheckpointFolder:
    """Keeps a render's state in a folder; part of a `RunContext`, in the place of a `RenderCheckpoint`.

    The file is named after everything that the result depends on, so a file that is found is this render's, and another
    seed or setting starts a new one. Of other renders the newest few are kept, for 30 days.

    Attributes:
        folder: where the files are; made when it is needed.
        interval, inputs, portrait: see `RenderCheckpoint`.
    """

    folder: Path
    interval: float = 30.0
    inputs: Mapping[str, str] = field(default_factory=dict)
    portrait: Tensor | None = None
    checkpoint: RenderCheckpoint | None = field(default=None, init=False)

    def begin(self, settings: Mapping[str, Any], latents: Tensor) -> tuple[Tensor, int]:
        """See `RenderCheckpoint.begin`.

        Raises:
            CheckpointError: the folder cannot be made, or the file is damaged; the message names it.
        """
        try:
            self.folder.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise CheckpointError(f"the folder {self.folder} for renders' states cannot be made ({error})") from error
        path = self.find(settings)
        self.checkpoint = RenderCheckpoint(path, self.interval, self.inputs, self.portrait)
        self.sweep(path)
        found = self.checkpoint.begin(settings, latents)
        if found[1] or self.unfinished is not None:
            windows = 0 if self.unfinished is None else self.unfinished.windows
            logger.info("continuing after step %d and %d windows, from %s", found[1], windows, path)
        return found

    def find(self, settings: Mapping[str, Any]) -> Path:
        """This render's file: an existing one with the same portrait, or a new name."""
        stem = file_stem({**settings, **self.inputs})
        if self.portrait is None:
            return self.folder / f"{stem}.safetensors"
        for path in sorted(self.folder.glob(f"{stem}-*.safetensors")):
            if same_portrait(read_portrait(path), self.portrait):
                return path
        return self.folder / f"{stem}-{hash_tensor(self.portrait)[:8]}.safetensors"

    @property
    def unfinished(self) -> UnfinishedStep | None:
        """See `RenderCheckpoint.begin`."""
        return None if self.checkpoint is None else self.checkpoint.unfinished

    def save(self, steps_done: int, latents: Tensor, unfinished: UnfinishedStep | None = None) -> None:
        """See `RenderCheckpoint.save`."""
        if self.checkpoint is not None:
            self.checkpoint.save(steps_done, latents, unfinished)

    def remove(self) -> None:
        """Delete this render's file."""
        if self.checkpoint is not None:
            self.checkpoint.remove()

    def sweep(self, mine: Path) -> None:
        """Delete states that are old or too many, other than this render's; other files stay."""
        now = time.time()
        # Tidying up must not stop a render: another process may have been quicker.
        with contextlib.suppress(OSError):
            others = [path for path in self.folder.iterdir() if NAME.fullmatch(path.name) and path != mine]
            others.sort(key=lambda path: path.stat().st_mtime, reverse=True)
            for rank, path in enumerate(others):
                if rank >= KEPT_OTHERS or now - path.stat().st_mtime > KEPT_SECONDS:
                    path.unlink()
            for path in self.folder.glob(".render-*.partial"):
                if now - path.stat().st_mtime > UNFINISHED_SECONDS:
                    path.unlink()


def read_portrait(path: Path) -> Tensor | None:
    """The portrait's latents in a state's file; None where it has none or cannot be read."""
    try:
        with safe_open(path, "pt") as file:
            return file.get_tensor("portrait").clone()
    except Exception:  # the header's text decides what safetensors raises
        return None


def file_stem(settings: Mapping[str, Any]) -> str:
    """The start of the name for a render with these settings."""
    return f"render-{hash_text(FORMAT, *sorted(f'{name}={value}' for name, value in settings.items()))[:32]}"
