"""Velocities of windows: what runs on the device, and what is tried when its memory is full."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import TypeVar

import torch
from torch import Tensor

from ..errors import DeviceMemoryError, EchoMimicError, is_out_of_memory
from ..models.denoising import DenoisingUNet, ProjectedReference
from ..models.unet import DeepFeatures
from ..runtime.async_copy import Arrival, to_device, to_host
from ..runtime.compiler import CompiledDenoiser, compiler_for
from ..runtime.memory import free_bytes, smaller_settings
from ..runtime.plan import Plan
from .approximations import merge_tokens
from .conditions import AudioProjector, AudioSource, PoseSource
from .settings import SamplingSettings

logger = logging.getLogger("echomimic")

T = TypeVar("T")


@dataclass
class WindowDenoiser:
    """Velocity of windows, with guidance.

    Attributes:
        denoiser, reference, audio, pose: the network and what it looks at.
        settings: of them guidance, strengths and shortcuts.
        device, dtype: where and in which precision windows are computed.
        plan: how many windows and branches go together; made smaller when they do not fit.
        kept: lower resolutions' features by branch and window, for the steps to come.
    """

    denoiser: DenoisingUNet
    reference: ProjectedReference
    audio: AudioProjector
    pose: PoseSource | None
    settings: SamplingSettings
    device: torch.device | str
    dtype: torch.dtype
    plan: Plan = field(default_factory=Plan)
    kept: dict[tuple[int, ...], Tensor] = field(default_factory=dict)

    @classmethod
    def prepare(
        cls,
        denoiser: DenoisingUNet,
        reference: dict[str, Tensor],
        audio: AudioSource,
        pose: PoseSource | None,
        size: torch.Size,
        settings: SamplingSettings,
        device: torch.device | str,
        dtype: torch.dtype,
        plan: Plan,
    ) -> WindowDenoiser:
        """Project what stays the same from step to step; `size` is the clip's, `[1, 4, F, h, w]`."""
        frames, height, width = size[2:]
        moved = {name: tokens.to(device, dtype) for name, tokens in reference.items()}
        projected = denoiser.project_reference(merge_tokens(moved, height, width, settings.fast.merge_reference))
        heard = AudioProjector(denoiser, audio, frames, device, dtype, settings.audio_scale)
        return cls(denoiser, projected, heard, pose, settings, device, dtype, plan)

    @property
    def passes(self) -> DenoisingUNet | CompiledDenoiser:
        """What computes: the network, compiled if the plan says so."""
        if not self.plan.compile:
            return self.denoiser
        return CompiledDenoiser(self.denoiser, compiler_for(torch.device(self.device).type))

    @property
    def keep_deep(self) -> bool:
        """Whether lower resolutions' features are kept for the steps to come."""
        return self.settings.fast.reuse_every > 1

    def velocities(self, latents: Tensor, timestep: float, windows: Sequence[list[int]], guided: bool) -> Tensor:
        """Velocity of windows of equal length, `[len(windows), 4, n, h, w]`, float32 on the device.

        Args:
            latents: the clip's, `[1, 4, F, h, w]` on the host.
            timestep: 0..999.
            windows: the frames of each; no more windows than the plan has at once.
            guided: whether there is guidance in this step.
        """
        frames = [frame for window in windows for frame in window]
        count = len(windows)
        batch = latents[:, :, frames].unflatten(2, (count, -1))[0].transpose(0, 1)  # [count, 4, n, h, w]
        batch = to_device(batch, self.device, self.dtype)
        pose = self.pose_features(frames, count)
        audio = self.audio.window(frames).as_batch(count)
        if guided and self.plan.batch_guidance and not self.keep_deep:
            both = torch.cat([batch, batch])
            conditioned = [True] * count + [False] * count
            velocity, plain = self.passes.predict(
                both, timestep, audio=audio, pose=pose, reference=self.reference, conditioned=conditioned
            ).chunk(2)
        else:
            deep = self.recall(windows, 1)
            velocity = self.passes.predict(batch, timestep, audio=audio, pose=pose, reference=self.reference, deep=deep)
            self.keep(windows, 1, deep)
            if guided:
                # No reference, no sound, no pose features: every None is the exact short form of zeros.
                deep = self.recall(windows, 0)
                plain = self.passes.predict(batch, timestep, deep=deep)
                self.keep(windows, 0, deep)
        if guided:
            velocity = plain + self.settings.guidance * (velocity - plain)
        return velocity.float()

    def pose_features(self, frames: Sequence[int], count: int) -> Tensor | None:
        """What the poses of `count` windows say, `[count, C0, n, h, w]`; `frames` are the windows' together."""
        if self.pose is None:
            return None
        features = self.pose.features(frames)  # [C0, count * n, h, w]
        if self.settings.pose_strength != 1:
            features = features * self.settings.pose_strength
        return to_device(features, self.device, self.dtype).unflatten(1, (count, -1)).transpose(0, 1)

    def recall(self, windows: Sequence[list[int]], branch: int) -> DeepFeatures | None:
        if not self.keep_deep:
            return None
        kept = self.kept.get((branch, *windows[0]))
        return DeepFeatures(None if kept is None else to_device(kept, self.device))

    def keep(self, windows: Sequence[list[int]], branch: int, deep: DeepFeatures | None) -> None:
        """Put a window's deep features on the host, unless they came from there."""
        place = (branch, *windows[0])
        if deep is not None and deep.features is not None and place not in self.kept:
            self.kept[place] = deep.features.to("cpu")

    def forget(self) -> None:
        """Compute the lower resolutions anew in the next step."""
        self.kept.clear()

    def groups(self, windows: Sequence[T]) -> list[list[T]]:
        """The windows (or whatever stands for them) in groups that go together.

        A smaller last group would be another shape to compile, for every length of clip: its windows go one by one.
        """
        at_once = 1 if self.keep_deep else self.plan.windows_at_once
        groups = [list(windows[i : i + at_once]) for i in range(0, len(windows), at_once)]
        if self.plan.compile and groups and len(groups[-1]) < at_once:
            groups += [[window] for window in groups.pop()]
        return groups

    def start(self, latents: Tensor, timestep: float, group: list[list[int]], guided: bool) -> Arrival:
        """`velocities` on their way to the host, with a smaller plan where the device's memory is full.

        Raises:
            DeviceMemoryError: one branch of one window does not fit.
        """
        try:
            parts = [self.velocities(latents, timestep, part, guided) for part in self.groups(group)]
            return to_host(torch.cat(parts))
        except RuntimeError as error:
            if not is_out_of_memory(error):
                raise
            said = str(error).split("\n")[0]
        # Here the failed attempt's tensors are gone: the exception that held them has been left.
        if torch.device(self.device).type == "cuda":
            torch.cuda.empty_cache()
        smaller = self.plan.smaller()
        if smaller is None:
            raise self.full(said, latents, len(group[0]))
        logger.warning("the device's memory is full (%s): going on with less at once", said)
        self.plan = smaller
        return self.start(latents, timestep, group, guided)

    def check(self, velocity: Tensor, timestep: float) -> None:
        """Raises: EchoMimicError when the network returned NaN."""
        if not velocity.isfinite().all():
            raise EchoMimicError(
                f"the denoising network returned NaN or infinite values at timestep {timestep:.0f} in {self.dtype}"
                ": use bfloat16 or float32, and check the weights with 'python -m echomimic inspect'"
            )

    def full(self, told: str, latents: Tensor, length: int) -> DeviceMemoryError:
        """What to tell the person, in whose words the device `told` it comes last."""
        config, size = self.denoiser.config, self.dtype.itemsize
        free = free_bytes(self.device)
        said = smaller_settings(config, length, latents.shape[-2], latents.shape[-1], size, free)
        return DeviceMemoryError(f"the device is out of memory: {said} ({told})")
