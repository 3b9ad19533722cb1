"""Velocities of windows: the work on the device, and smaller plans when its memory is full."""

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
from ..runtime.async_copy import PendingCopy, to_device, to_host
from ..runtime.compiler import CompiledDenoiser, compiler_for
from ..runtime.context import RunContext
from ..runtime.device import free_bytes
from ..runtime.memory import smaller_settings
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
        denoiser, reference, audio, pose: the network and its conditions.
        settings: guidance, strengths and approximations.
        context: where it runs.
        device, dtype: where and in which precision windows are computed.
        plan: how many windows and branches go together; made smaller when they do not fit.
        cache: lower resolutions' features by branch and window, for the next steps.
    """

    denoiser: DenoisingUNet
    reference: ProjectedReference
    audio: AudioProjector
    pose: PoseSource | None
    settings: SamplingSettings
    context: RunContext
    device: torch.device
    dtype: torch.dtype
    plan: Plan
    cache: dict[tuple[int, ...], Tensor] = field(default_factory=dict)

    @classmethod
    def prepare(
        cls,
        denoiser: DenoisingUNet,
        reference: dict[str, Tensor],
        audio: AudioSource,
        pose: PoseSource | None,
        size: torch.Size,
        settings: SamplingSettings,
        context: RunContext,
    ) -> WindowDenoiser:
        """Project what stays the same from step to step; `size` is the clip's, `[1, 4, F, h, w]`."""
        device, dtype = context.resolve(next(denoiser.parameters()))
        frames, height, width = size[2:]
        moved = {name: tokens.to(device, dtype) for name, tokens in reference.items()}
        projected = denoiser.project_reference(merge_tokens(moved, height, width, settings.fast.merge_reference))
        projector = AudioProjector(denoiser, audio, frames, device, dtype, settings.audio_scale)
        return cls(denoiser, projected, projector, pose, settings, context, device, dtype, context.plan)

    @property
    def model(self) -> DenoisingUNet | CompiledDenoiser:
        """The network, compiled if the plan wants it."""
        if not self.plan.compile:
            return self.denoiser
        return CompiledDenoiser(self.denoiser, compiler_for(self.device.type))

    @property
    def uses_cache(self) -> bool:
        """Whether lower resolutions' features are kept for the next steps."""
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
        if guided and self.plan.batch_guidance and not self.uses_cache:
            both = torch.cat([batch, batch])
            conditioned = [True] * count + [False] * count
            velocity, plain = self.model.predict(
                both, timestep, audio=audio, pose=pose, reference=self.reference, conditioned=conditioned
            ).chunk(2)
        else:
            deep = self.cache_get(windows, 1)
            velocity = self.model.predict(batch, timestep, audio=audio, pose=pose, reference=self.reference, deep=deep)
            self.cache_put(windows, 1, deep)
            if guided:
                # Without reference, audio and pose features: every None is the exact short form of zeros.
                deep = self.cache_get(windows, 0)
                plain = self.model.predict(batch, timestep, deep=deep)
                self.cache_put(windows, 0, deep)
        if guided:
            velocity = plain + self.settings.guidance * (velocity - plain)
        return velocity.float()

    def pose_features(self, frames: Sequence[int], count: int) -> Tensor | None:
        """The pose features of `count` windows, `[count, C0, n, h, w]`; `frames` are the windows' together."""
        if self.pose is None:
            return None
        features = self.pose.features(frames)  # [C0, count * n, h, w]
        if self.settings.pose_strength != 1:
            features = features * self.settings.pose_strength
        return to_device(features, self.device, self.dtype).unflatten(1, (count, -1)).transpose(0, 1)

    def cache_get(self, windows: Sequence[list[int]], branch: int) -> DeepFeatures | None:
        """A window's deep features of an earlier step, or an empty object to store this step's; None without cache."""
        if not self.uses_cache:
            return None
        cached = self.cache.get((branch, *windows[0]))
        return DeepFeatures(None if cached is None else to_device(cached, self.device))

    def cache_put(self, windows: Sequence[list[int]], branch: int, deep: DeepFeatures | None) -> None:
        """Keep a window's deep features on the host, unless they came from there."""
        key = (branch, *windows[0])
        if deep is not None and deep.features is not None and key not in self.cache:
            self.cache[key] = deep.features.to("cpu")

    def cache_clear(self) -> None:
        """Have the next step compute the lower resolutions again."""
        self.cache.clear()

    def groups(self, windows: Sequence[T]) -> list[list[T]]:
        """The windows (or what represents them) in groups that are computed together.

        A smaller last group would be another shape to compile, for every length of clip: its windows go one by one.
        """
        at_once = 1 if self.uses_cache else self.plan.windows_at_once
        groups = [list(windows[i : i + at_once]) for i in range(0, len(windows), at_once)]
        if self.plan.compile and groups and len(groups[-1]) < at_once:
            groups += [[window] for window in groups.pop()]
        return groups

    def start(self, latents: Tensor, timestep: float, group: list[list[int]], guided: bool) -> PendingCopy:
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
            message = str(error).split("\n")[0]
        # Here the failed attempt's tensors are gone: the exception that held them has been left.
        if self.device.type == "cuda":
            torch.cuda.empty_cache()
        smaller = self.plan.smaller()
        if smaller is None:
            raise self.memory_error(message, latents, len(group[0]))
        logger.warning("the device's memory is full (%s): continuing with less at once", message)
        self.plan = smaller
        return self.start(latents, timestep, group, guided)

    def check(self, velocity: Tensor, timestep: float) -> None:
        """Raises: EchoMimicError when the network returned NaN."""
        if not velocity.isfinite().all():
            raise EchoMimicError(
                f"the denoising network returned NaN or infinite values at timestep {timestep:.0f} in {self.dtype}"
                ": use bfloat16 or float32, and check the weights with 'python -m echomimic inspect'"
            )

    def memory_error(self, message: str, latents: Tensor, length: int) -> DeviceMemoryError:
        """The error for the user; the device's own `message` comes last."""
        config, size = self.denoiser.config, self.dtype.itemsize
        advice = smaller_settings(config, length, latents.shape[-2], latents.shape[-1], size, free_bytes(self.device))
        return DeviceMemoryError(f"the device is out of memory: {advice} ({message})")
