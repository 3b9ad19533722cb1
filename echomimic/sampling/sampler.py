"""The denoising loop: windows over the clip, latents on the host, one window on the device."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from ..errors import Cancelled, DeviceMemoryError, EchoMimicError
from ..memory import free_bytes, is_out_of_memory, smaller_settings
from ..models.denoising import DenoisingUNet, ProjectedReference
from .conditions import AudioProjector, AudioSource, PoseSource, audio_source, pose_source
from .schedule import NOISE_LIMIT, make_scheduler
from .windows import windows

# The scheduler's step makes several copies of what it is given; frames go through it a few at a time.
FRAMES_AT_ONCE = 64


@dataclass(frozen=True)
class SamplingProgress:
    """Where sampling is, told after every window.

    Attributes:
        step, steps: the step at work, from 0, and their number.
        window, windows: the window just done, from 0, and their number in a step.
        preview: after a step's last window, the middle frame as it would be without its noise, scaled latents
            `[4, h, w]` on the host; None after other windows.
    """

    step: int
    steps: int
    window: int
    windows: int
    preview: Tensor | None = None

    @property
    def done(self) -> int:
        """Windows done in all steps together."""
        return self.step * self.windows + self.window + 1

    @property
    def total(self) -> int:
        """Windows to do in all steps together."""
        return self.steps * self.windows


# Called after each window; raising, or returning False, stops the run.
StepCallback = Callable[[SamplingProgress], bool | None]


@dataclass(frozen=True)
class WindowDenoiser:
    """One window's velocity, with guidance: what runs on the device."""

    denoiser: DenoisingUNet
    reference: ProjectedReference
    audio: AudioProjector
    pose: PoseSource | None
    guidance: float
    device: torch.device | str
    dtype: torch.dtype

    def velocity(self, latents: Tensor, timestep: float, frames: Sequence[int]) -> Tensor:
        """Host latents `[1, 4, n, h, w]` of the window -> its velocity, float32 on the host."""
        window = latents.to(self.device, self.dtype)
        pose = None if self.pose is None else self.pose.features(frames)[None].to(self.device, self.dtype)
        velocity = self.denoiser(window, timestep, audio=self.audio.window(frames), pose=pose, reference=self.reference)
        if self.guidance > 1:
            # No reference, no sound, no pose features: every None is the exact short form of zeros.
            unconditional = self.denoiser(window, timestep)
            velocity = unconditional + self.guidance * (velocity - unconditional)
        return velocity.float().cpu()


@torch.no_grad()
def sample(
    *,
    denoiser: DenoisingUNet,
    reference: dict[str, Tensor],
    audio: Tensor | AudioSource,
    pose: Tensor | PoseSource | None,
    noise: Tensor,
    steps: int,
    guidance: float,
    window_length: int = 12,
    overlap: int = 3,
    looped: bool = True,
    audio_scale: float = 1.0,
    on_step: StepCallback | None = None,
    device: torch.device | str | None = None,
    dtype: torch.dtype | None = None,
) -> Tensor:
    """Denoise a clip of any length.

    Args:
        denoiser: the denoising UNet, on the device that computes.
        reference: what the reference UNet returned for the portrait.
        audio: tokens `[F, 50, A]`, or an object whose `tokens(frames)` gives a window's.
        pose: features `[C0, F, h, w]`, or an object whose `features(frames)` gives a window's; None asks for no hands.
        noise: `[1, 4, F, h, w]`, standard normal; clamped here to -1.5..1.5 as the published model does.
        steps: number of denoising steps (30 for the standard weights, 6 for the accelerated ones).
        guidance: scale of classifier-free guidance (2.5 and 1); at 1 and below there is none and a step costs half.
        window_length: frames denoised together, at most 32.
        overlap: frames that neighbouring windows share; their velocities are averaged.
        looped: windows wrap around the clip and move from step to step, as published; else they end at the last frame.
        audio_scale: factor on what the frames hear, 1 is the model's own.
        on_step: called with a `SamplingProgress` after each window; raises, or returns False, to stop.
        device, dtype: where and in which precision windows are computed; the denoiser's own unless given.

    Returns:
        scaled latents (x 0.18215) `[1, 4, F, h, w]`, float32 on the host.

    Raises:
        EchoMimicError: settings or shapes that do not fit, or a network that returns NaN.
        DeviceMemoryError: a window does not fit on the device.
        Cancelled: `on_step` returned False.
    """
    if noise.ndim != 5 or noise.shape[:2] != (1, 4):
        raise EchoMimicError(f"the noise must be [1, 4, frames, height, width], got {list(noise.shape)}")
    frames = noise.shape[2]
    windows(frames, window_length, overlap)  # refuses impossible settings before the work begins
    weight = next(denoiser.parameters())
    device, dtype = device or weight.device, dtype or weight.dtype
    scheduler = make_scheduler(steps)
    moved = {name: tokens.to(device, dtype) for name, tokens in reference.items()}
    network = WindowDenoiser(
        denoiser,
        denoiser.project_reference(moved),
        AudioProjector(denoiser, audio_source(audio, frames), frames, device, dtype, audio_scale),
        pose_source(pose, noise),
        guidance,
        device,
        dtype,
    )

    latents = noise.to("cpu", torch.float32).clamp(-NOISE_LIMIT, NOISE_LIMIT)
    velocity = torch.empty_like(latents)
    for step, timestep in enumerate(scheduler.timesteps.tolist()):
        velocity.zero_()
        seen = torch.zeros(frames)
        plan = windows(frames, window_length, overlap, step, looped)
        for number, window in enumerate(plan):
            velocity[:, :, window] += window_velocity(network, latents, timestep, window)
            seen[window] += 1
            if number < len(plan) - 1:
                tell(on_step, SamplingProgress(step, steps, number, len(plan)))
        velocity /= seen[:, None, None]
        preview = scheduler_step(scheduler, latents, velocity, timestep)
        tell(on_step, SamplingProgress(step, steps, len(plan) - 1, len(plan), preview))
    return latents


def window_velocity(network: WindowDenoiser, latents: Tensor, timestep: float, window: Sequence[int]) -> Tensor:
    """The window's velocity, its failures turned into words."""
    try:
        velocity = network.velocity(latents[:, :, window], timestep, window)
    except RuntimeError as error:
        if not is_out_of_memory(error):
            raise
        config, size = network.denoiser.config, network.dtype.itemsize
        free = free_bytes(network.device)
        said = smaller_settings(config, len(window), latents.shape[-2], latents.shape[-1], size, free)
        raise DeviceMemoryError(f"the device is out of memory: {said}") from error
    if not velocity.isfinite().all():
        raise EchoMimicError(
            f"the denoising network returned NaN or infinite values at timestep {timestep:.0f} in {network.dtype}: "
            "use bfloat16 or float32, and check the weights with 'python -m echomimic inspect'"
        )
    return velocity


def scheduler_step(scheduler: Any, latents: Tensor, velocity: Tensor, timestep: float) -> Tensor:
    """Move `latents` one step on, in place; returns the middle frame without its noise, `[4, h, w]`."""
    middle = latents.shape[2] // 2
    preview = latents[0, :, middle]
    for begin in range(0, latents.shape[2], FRAMES_AT_ONCE):
        part = slice(begin, begin + FRAMES_AT_ONCE)
        result = scheduler.step(velocity[:, :, part], int(timestep), latents[:, :, part])
        latents[:, :, part] = result.prev_sample
        if part.start <= middle < part.stop:
            preview = result.pred_original_sample[0, :, middle - begin]
    return preview


def tell(on_step: StepCallback | None, progress: SamplingProgress) -> None:
    if on_step is not None and on_step(progress) is False:
        raise Cancelled(f"stopped after window {progress.done} of {progress.total}")
