"""The denoising loop: windows over the clip, latents on the host, one window on the device."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Any

import torch
from torch import Tensor

from ..errors import Cancelled, EchoMimicError
from ..models.denoising import DenoisingUNet
from ..planning import Plan
from .conditions import AudioProjector, AudioSource, PoseSource, audio_source, pose_source
from .fast import EXACT, FastMode, merge_tokens
from .parallel import Ranks
from .schedule import NOISE_LIMIT, make_scheduler
from .state import RenderState, hash_source, hash_tensor, hash_tensors, hash_weights
from .velocity import WindowDenoiser
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
    plan: Plan | None = None,
    fast: FastMode = EXACT,
    state: RenderState | None = None,
    ranks: Ranks | None = None,
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
        plan: how many windows and branches go through the network at once (`planning.make_plan`); one unless given.
        fast: shortcuts that change the result; none unless given.
        state: where the render's state is kept, so that it goes on after a crash with the same result.
        ranks: the processes that share the work, each calling this with the same arguments; all return the latents.

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
    source, pose = audio_source(audio, frames), pose_source(pose, noise)
    moved = {name: tokens.to(device, dtype) for name, tokens in reference.items()}
    network = WindowDenoiser(
        denoiser,
        denoiser.project_reference(merge_tokens(moved, noise.shape[-2], noise.shape[-1], fast.merge_reference)),
        AudioProjector(denoiser, source, frames, device, dtype, audio_scale),
        pose,
        guidance,
        device,
        dtype,
        plan or Plan(),
        keep_deep=fast.reuse_every > 1,
    )
    latents = noise.to("cpu", torch.float32).clamp(-NOISE_LIMIT, NOISE_LIMIT)
    steps_done = 0
    if state is not None and (ranks is None or ranks.rank == 0):
        asked = {
            "steps": steps,
            "guidance": guidance,
            "window length": window_length,
            "overlap": overlap,
            "looped": looped,
            "audio scale": audio_scale,
            "precision": dtype,
            "fast mode": fast,
            "noise": hash_tensor(latents),
            "reference": hash_tensors(reference),
            "audio": hash_source(source, "tokens", frames),
            "pose": hash_source(pose, "features", frames),
            "weights": hash_weights(denoiser),
        }
        latents, steps_done = state.begin(asked, latents)
    if ranks is not None:
        steps_done = ranks.from_first(latents, steps_done)
    for step in range(steps_done, steps):
        shown = windows(frames, window_length, overlap, fast.fresh_step(step), looped)
        tell_window = partial(tell_progress, on_step, step, steps, len(shown))
        if fast.fresh_step(step) == step:
            network.forget()
        timestep = float(scheduler.timesteps[step])
        guided = guidance > 1 and fast.guides(step, steps)
        velocity = step_velocity(network, latents, timestep, shown, guided, ranks, tell_window)
        preview = scheduler_step(scheduler, latents, velocity, timestep)
        if state is not None and (ranks is None or ranks.rank == 0) and fast.fresh_step(step + 1) == step + 1:
            # Deep features are not in the state, so it is written only where the next step computes them anew.
            state.step_done(step + 1, latents)
        tell_window(len(shown) - 1, preview)
    return latents


def step_velocity(
    network: WindowDenoiser,
    latents: Tensor,
    timestep: float,
    plan: list[list[int]],
    guided: bool,
    ranks: Ranks | None,
    tell_window: Callable[[int], None],
) -> Tensor:
    """The clip's velocity `[1, 4, F, h, w]`: the windows' averages where they overlap."""
    velocity, seen = torch.zeros_like(latents), torch.zeros(latents.shape[2])

    def work() -> None:
        mine = list(enumerate(plan)) if ranks is None else ranks.share(list(enumerate(plan)))
        at_once = 1 if network.keep_deep else network.plan.windows_at_once
        for begin in range(0, len(mine), at_once):
            group = mine[begin : begin + at_once]
            results = network.try_velocities(latents, timestep, [window for _, window in group], guided)
            for (number, window), result in zip(group, results):
                velocity[0, :, window] += result
                seen[window] += 1
                if number < len(plan) - 1:
                    tell_window(number)

    if ranks is None:
        work()
    else:
        ranks.run(work)
        ranks.add_up(velocity, seen)
    return velocity.div_(seen[:, None, None])


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


def tell_progress(
    on_step: StepCallback | None, step: int, steps: int, windows: int, window: int, preview: Tensor | None = None
) -> None:
    progress = SamplingProgress(step, steps, window, windows, preview)
    if on_step is not None and on_step(progress) is False:
        raise Cancelled(f"stopped after window {progress.done} of {progress.total}")
