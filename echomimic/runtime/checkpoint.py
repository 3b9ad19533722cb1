"""The state of a long render in a file, so that it goes on after a crash with the same result."""

from __future__ import annotations

import hashlib
import json
import os
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save
from torch import Tensor, nn

from ..errors import StateError

FORMAT = "echomimic render state 1"
# Of every weight so many numbers are hashed, spread over it: enough to tell two checkpoints apart, in no time.
NUMBERS_PER_WEIGHT = 256
FRAMES_AT_ONCE = 16


@dataclass
class RenderState:
    """Where a render's state is written and read; hand it to `sample`.

    The file is written beside its final name and renamed, so that it is whole whenever the power goes. It stays when
    sampling is done (decoding may still fail); `remove` it when the video is there.

    Attributes:
        path: the file, `.safetensors`.
        interval: seconds between two writes at the end of a step; 0 writes after every step.
    """

    path: Path
    interval: float = 30.0
    settings: dict[str, str] = field(default_factory=dict, init=False)
    written: float = field(default=0.0, init=False)

    def __post_init__(self) -> None:
        self.path = Path(self.path)

    def begin(self, settings: Mapping[str, Any], latents: Tensor) -> tuple[Tensor, int]:
        """Say what is being rendered; gives the latents to go on with and how many steps they have behind them.

        Args:
            settings: everything that the result depends on; hashes stand for tensors.
            latents: where a new render starts.

        Raises:
            StateError: there is a file, but it is not a state, is damaged, or belongs to another render.
        """
        self.settings = {name: str(value) for name, value in settings.items()}
        self.written = time.monotonic()
        if not self.path.exists():
            return latents, 0
        return self.read(latents)

    def read(self, latents: Tensor) -> tuple[Tensor, int]:
        """The stored latents and the number of steps behind them, if the file is what it should be."""
        try:
            with safe_open(self.path, "pt") as file:
                metadata = file.metadata() or {}
                stored = file.get_tensor("latents") if metadata.get("format") == FORMAT else None
        except (SafetensorError, OSError, KeyError) as error:
            raise StateError(
                f"{self.path} cannot be read as a render's state ({error}): delete it to start over"
            ) from error
        if stored is None:
            raise StateError(f"{self.path} is not a render's state: give another path for it")
        told = {name: metadata.get(name, "") for name in ("settings", "step", "digest")}
        if told["digest"] != digest(stored, told["settings"], told["step"]):
            raise StateError(f"{self.path} is damaged (its checksum is wrong): delete it to start over")
        before = json.loads(told["settings"])
        different = sorted(name for name in {*before, *self.settings} if before.get(name) != self.settings.get(name))
        if different or stored.shape != latents.shape:
            pairs = [
                f"{name} {shorten(before.get(name))} then, {shorten(self.settings.get(name))} now" for name in different
            ]
            raise StateError(
                f"{self.path} belongs to another render: {'; '.join(pairs) or 'another size'}; "
                "use the same settings, or delete it to start over"
            )
        return stored, int(told["step"])

    def step_done(self, steps_done: int, latents: Tensor) -> None:
        """Write the latents after a step, if the last writing is long enough ago."""
        if time.monotonic() - self.written >= self.interval:
            self.write(steps_done, latents)

    def write(self, steps_done: int, latents: Tensor) -> None:
        """Write the latents now."""
        settings, step = json.dumps(self.settings, sort_keys=True), str(steps_done)
        metadata = {"format": FORMAT, "settings": settings, "step": step, "digest": digest(latents, settings, step)}
        unfinished = self.path.with_name(f".{self.path.name}.{os.getpid()}.partial")
        try:
            self.path.parent.mkdir(parents=True, exist_ok=True)
            try:
                with unfinished.open("wb") as file:
                    file.write(save({"latents": latents.contiguous()}, metadata))
                    file.flush()
                    os.fsync(file.fileno())
                unfinished.replace(self.path)
            finally:
                unfinished.unlink(missing_ok=True)
        except OSError as error:
            raise StateError(f"the render's state cannot be written to {self.path} ({error.strerror})") from error
        self.written = time.monotonic()

    def remove(self) -> None:
        """Delete the file, and what a killed process left beside it."""
        self.path.unlink(missing_ok=True)
        for leftover in self.path.parent.glob(f".{self.path.name}.*.partial"):
            leftover.unlink(missing_ok=True)


def shorten(value: str | None) -> str:
    return "nothing" if value is None else value if len(value) <= 24 else f"{value[:12]}…"


def digest(latents: Tensor, settings: str, step: str) -> str:
    """A checksum over everything that the file holds."""
    return hashlib.sha256(f"{settings}|{step}|{hash_tensor(latents)}".encode()).hexdigest()


def hash_tensor(tensor: Tensor) -> str:
    """SHA-256 of shape, precision and bytes."""
    host = tensor.detach().cpu().contiguous()
    words = hashlib.sha256(f"{tuple(host.shape)}{host.dtype}".encode())
    words.update(host.flatten().view(torch.uint8).numpy().data)
    return words.hexdigest()


def hash_tensors(tensors: Mapping[str, Tensor]) -> str:
    """One hash for named tensors."""
    parts = [f"{name}={hash_tensor(tensor)}" for name, tensor in sorted(tensors.items())]
    return hashlib.sha256("|".join(parts).encode()).hexdigest()


def hash_weights(network: nn.Module) -> str:
    """One hash for a network, of some numbers of every weight."""
    sampled = {}
    for name, weight in network.state_dict().items():
        flat = weight.detach().reshape(-1)
        index = torch.linspace(0, flat.numel() - 1, min(flat.numel(), NUMBERS_PER_WEIGHT), dtype=torch.float64).long()
        if flat.element_size() == 1:  # older releases of torch pick no single numbers out of float8
            flat = flat.view(torch.uint8)
        sampled[name] = flat[index.to(flat.device)].float()
    return hash_tensors(sampled)


def hash_source(source: Any, ask: str, frames: int) -> str:
    """One hash for what a source of audio or pose gives for every frame; `ask` is its method.

    A source that knows a quicker way has a method `fingerprint()`.
    """
    if source is None:
        return "none"
    if hasattr(source, "fingerprint"):
        return str(source.fingerprint())
    words = hashlib.sha256()
    for begin in range(0, frames, FRAMES_AT_ONCE):
        part = getattr(source, ask)(range(begin, min(begin + FRAMES_AT_ONCE, frames)))
        words.update(hash_tensor(part.float()).encode())
    return words.hexdigest()
