"""The state of a long render in a file, so that it continues after a crash with the same result."""

from __future__ import annotations

import json
import logging
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from safetensors import safe_open
from safetensors.torch import save
from torch import Tensor

from ..errors import CheckpointError
from ..files.atomic import atomic_write, leftovers, link_end
from ..files.fingerprint import hash_tensor, hash_text

logger = logging.getLogger("echomimic")

FORMAT = "echomimic render state 2"
# A portrait that a host has encoded differs by rounding from device to device; another portrait by far more.
SAME_PORTRAIT = 0.05
# The next write waits this many times as long as the last one took, so writing takes a twentieth of the time at most.
WAIT_PER_WRITE = 20


@dataclass(frozen=True)
class UnfinishedStep:
    """The windows of a step that was interrupted.

    Attributes:
        windows: how many are done, from the first.
        velocity: the sum of theirs, `[1, 4, F, h, w]`.
        counts: how many of them hold each frame, `[F]`.
    """

    windows: int
    velocity: Tensor
    counts: Tensor


@dataclass
class RenderCheckpoint:
    """Where a render's state is written and read; part of a `RunContext`.

    The file is replaced as a whole, so that it stays valid through a power cut. It stays when sampling is done
    (decoding may still fail); `remove` it when the video is there.

    Attributes:
        path: the file, `.safetensors`.
        interval: most seconds between two writes; 0 writes after every window. Where writing is quick, the state is
            written more often.
        inputs: what the render is made of, by name, as hashes of the inputs themselves (pictures, sound, files). What
            a network computes of them differs by rounding from device to device, and would refuse a good state.
        portrait: where the picture itself is not available, its latents `[1, 4, h, w]`: they are stored and compared
            with a tolerance.
    """

    path: Path
    interval: float = 30.0
    inputs: Mapping[str, str] = field(default_factory=dict)
    portrait: Tensor | None = None
    settings: dict[str, str] = field(default_factory=dict, init=False)
    unfinished: UnfinishedStep | None = field(default=None, init=False)
    written: float = field(default=0.0, init=False)
    writing_takes: float = field(default=0.0, init=False)

    def __post_init__(self) -> None:
        self.path = Path(self.path)

    def begin(self, settings: Mapping[str, Any], latents: Tensor) -> tuple[Tensor, int]:
        """The latents to continue with, and how many steps they have behind them; windows of the next step that are
        done are in `unfinished`.

        Args:
            settings: everything that the result depends on besides `inputs`; hashes stand for tensors.
            latents: where a new render starts.

        Raises:
            CheckpointError: the file is not a render's state, is damaged, or belongs to another render.
        """
        self.settings = {name: str(value) for name, value in {**settings, **self.inputs}.items()}
        self.written, self.unfinished = time.monotonic(), None
        if not self.path.exists():
            return latents, 0
        return self.read(latents)

    def read(self, latents: Tensor) -> tuple[Tensor, int]:
        """The stored latents and the number of steps behind them, if the file is what it should be."""
        try:
            with safe_open(self.path, "pt") as file:
                metadata = file.metadata() or {}
                # Copied into memory: a file that is still mapped cannot be replaced on Windows.
                tensors = {name: file.get_tensor(name).clone() for name in file.keys()}  # noqa: SIM118 - not a dict
        except Exception as error:  # the header's text decides what safetensors raises
            raise CheckpointError(
                f"{self.path} cannot be read as a render's state ({error}): delete it to start over"
            ) from error
        stored = tensors.get("latents")
        if metadata.get("format") != FORMAT or stored is None:
            raise CheckpointError(f"{self.path} is not a render's state: choose another path for it, or delete it")
        settings, step = metadata.get("settings", ""), metadata.get("step", "")
        if metadata.get("digest") != digest(tensors, settings, step):
            raise CheckpointError(f"{self.path} is damaged (its checksum is wrong): delete it to start over")
        self.check_same_render(json.loads(settings), tensors, latents)
        if "windows" in tensors:
            self.unfinished = UnfinishedStep(int(tensors["windows"]), tensors["velocity"], tensors["counts"])
        return stored, int(step)

    def check_same_render(self, before: Mapping[str, str], tensors: Mapping[str, Tensor], latents: Tensor) -> None:
        """Raises: CheckpointError when the file's settings, portrait or size are other ones."""
        names = sorted(name for name in {*before, *self.settings} if before.get(name) != self.settings.get(name))
        changes = [f"{name} {shorten(before.get(name))} then, {shorten(self.settings.get(name))} now" for name in names]
        if not same_portrait(tensors.get("portrait"), self.portrait):
            changes.append("another portrait")
        if tensors["latents"].shape != latents.shape:
            changes.append(f"latents {list(tensors['latents'].shape)} then, {list(latents.shape)} now")
        if changes:
            raise CheckpointError(
                f"{self.path} belongs to another render: {'; '.join(changes)}; use the same inputs and settings, or "
                "delete it to start over"
            )

    def save(self, steps_done: int, latents: Tensor, unfinished: UnfinishedStep | None = None) -> None:
        """Write the latents after a step, or with windows of the next one, if the last write is long enough ago."""
        if time.monotonic() - self.written >= min(self.interval, WAIT_PER_WRITE * self.writing_takes):
            self.write(steps_done, latents, unfinished)

    def write(self, steps_done: int, latents: Tensor, unfinished: UnfinishedStep | None = None) -> None:
        """Write the latents now.

        Raises:
            CheckpointError: they cannot be written; the last state stays.
        """
        began = time.monotonic()
        tensors = {"latents": latents.contiguous()}
        if unfinished is not None:
            tensors |= {
                "windows": torch.tensor(unfinished.windows),
                "velocity": unfinished.velocity.contiguous(),
                "counts": unfinished.counts.contiguous(),
            }
        if self.portrait is not None:
            tensors["portrait"] = self.portrait.detach().cpu().float().contiguous()
        settings, step = json.dumps(self.settings, sort_keys=True), str(steps_done)
        metadata = {"format": FORMAT, "settings": settings, "step": step, "digest": digest(tensors, settings, step)}
        try:
            with atomic_write(self.path, flush=True) as temporary:
                temporary.write_bytes(save(tensors, metadata))
        except OSError as error:
            raise CheckpointError(
                f"the render's state cannot be written to {self.path} ({error.strerror or error})"
            ) from error
        self.written = time.monotonic()
        self.writing_takes = self.written - began

    def remove(self) -> None:
        """Delete the file, and what a killed process left beside it; where that fails, a warning is logged."""
        try:
            written = link_end(self.path)
            written.unlink(missing_ok=True)
            for leftover in leftovers(written):
                leftover.unlink(missing_ok=True)
        except OSError as error:  # the video is there: the render has not failed
            logger.warning("the render's state %s cannot be deleted (%s)", self.path, error.strerror or error)


def same_portrait(stored: Tensor | None, given: Tensor | None) -> bool:
    """Whether two portraits' latents are those of one picture, or both absent."""
    if stored is None or given is None:
        return stored is given
    given = given.detach().cpu().float()
    return stored.shape == given.shape and bool((stored - given).norm() <= SAME_PORTRAIT * given.norm())


def shorten(value: str | None) -> str:
    return "nothing" if value is None else value if len(value) <= 24 else f"{value[:12]}…"


def digest(tensors: Mapping[str, Tensor], settings: str, step: str) -> str:
    """A checksum over everything that the file holds."""
    return hash_text(settings, step, *(f"{name}={hash_tensor(tensor)}" for name, tensor in sorted(tensors.items())))
