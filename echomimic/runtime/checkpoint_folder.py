"""The states of many renders in one folder, each under a name of its own: for hosts where nobody names files."""

from __future__ import annotations

import contextlib
import hashlib
import json
import logging
import re
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from torch import Tensor

from ..errors import StateError
from .checkpoint import FORMAT, RenderState

logger = logging.getLogger("echomimic")

NAME = re.compile(r"render-[0-9a-f]{32}\.safetensors")
# Renders that nobody goes on with: a minute at 768x768 is 0.2 GB.
KEPT_SECONDS = 30 * 24 * 3600
KEPT_OTHERS = 4
# What a killed process left half-written; another one may be writing right now.
UNFINISHED_SECONDS = 3600


@dataclass
class StateFolder:
    """Keeps a render's state in a folder; hand it to `sample` as a `RenderState`.

    The file is named after everything that the result depends on, so a file that is found is this render's, and
    another seed or setting starts anew. Of other renders the newest few are kept, for 30 days.

    Attributes:
        folder: where the files are; made when it is needed.
        interval: seconds between two writes at the end of a step; 0 writes after every step.
    """

    folder: Path
    interval: float = 30.0
    state: RenderState | None = field(default=None, init=False)

    def begin(self, settings: Mapping[str, Any], latents: Tensor) -> tuple[Tensor, int]:
        """Say what is being rendered; gives the latents to go on with and how many steps they have behind them.

        Raises:
            StateError: the folder cannot be made, or the file is damaged; the message names it.
        """
        self.state = RenderState(self.folder / file_name(settings), self.interval)
        try:
            self.folder.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise StateError(f"the folder {self.folder} for renders' states cannot be made ({error})") from error
        self.sweep(self.state.path)
        begun = self.state.begin(settings, latents)
        if begun[1]:
            logger.info("going on after step %d, from %s", begun[1], self.state.path)
        return begun

    def step_done(self, steps_done: int, latents: Tensor) -> None:
        """Write the latents after a step, if the last writing is long enough ago."""
        if self.state is not None:
            self.state.step_done(steps_done, latents)

    def remove(self) -> None:
        """Delete this render's file."""
        if self.state is not None:
            self.state.remove()

    def sweep(self, mine: Path) -> None:
        """Delete states that are old or too many, other than this render's; what is not a state's file stays."""
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


def file_name(settings: Mapping[str, Any]) -> str:
    """The name of the file for what is asked; see `RenderState.begin`."""
    words = json.dumps({"format": FORMAT, **{name: str(value) for name, value in settings.items()}}, sort_keys=True)
    return f"render-{hashlib.sha256(words.encode()).hexdigest()[:32]}.safetensors"
