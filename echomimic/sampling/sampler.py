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
from ..runtime.async_copy import in_turn
from ..runtime.checkpoint import RenderState, hash_source, hash_tensor, hash_tensors, hash_weights
from ..runtime.checkpoint_folder import StateFolder
from ..runtime.device import compute_dtype
from ..runtime.distributed import Ranks
from ..runtime.plan import Plan
from .conditions import AudioSource, PoseSource, audio_source, pose_source
from .schedule import NOISE_LIMIT, make_scheduler
from .settings import SamplingSettings
from .window_denoiser import WindowDenoiser

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
    settings: SamplingSettings,
    on_step: StepCallback | None = None,
    device: torch.device | str | None = None,
    dtype: torch.dtype | None = None,
    plan: Plan | None = None,
    state: RenderState | StateFolder | None = None,
    ranks: Ranks | None = None,
) -> Tensor:
    """Denoise a clip of any length.

    Args:
        denoiser: the denoising UNet, on the device that computes.
        reference: what the reference UNet returned for the portrait.
        audio: tokens `[F, 50, A]`, or an object whose `tokens(frames)` gives a window's.
        pose: features `[C0, F, h, w]`, or an object whose `features(frames)` gives a window's; None asks for no hands.
        noise: `[1, 4, F, h, w]`, standard normal; clamped here to -1.5..1.5 as the published model does.
        settings: how; its seed is not looked at, the noise is here already.
        on_step: called with a `SamplingProgress` after each window; raises, or returns False, to stop.
        device, dtype: where and in which precision windows are computed; None: where the weights are, and the precision
            that `compute_dtype` chooses for theirs.
        plan: how many windows and branches go through the network at once (`planning.make_plan`); one unless given.
        state: where the render's state is kept, so that it goes on after a crash with the same result.
        ranks: the processes that share the work, each calling this with the same arguments; all return the latents.

    Returns:
        scaled latents (x 0.18215) `[1, 4, F, h, w]`, float32 on the host.

    Raises:
        EchoMimicError: shapes that do not fit, or a network that returns NaN.
        DeviceMemoryError: a window does not fit on the device.
        Cancelled: `on_step` returned False.
    """
    # 1. Check.
    if noise.ndim != 5 or noise.shape[:2] != (1, 4):
        raise EchoMimicError(f"the noise must be [1, 4, frames, height, width], got {list(noise.shape)}")
    frames = noise.shape[2]
    settings.windows(frames)  # refuses a clip without frames
    audio, pose = audio_source(audio, frames), pose_source(pose, noise)

    # 2. Prepare what stays the same from step to step.
    weight = next(denoiser.parameters())
    device = device or weight.device
    dtype = dtype or compute_dtype(weight.dtype, device)
    scheduler = make_scheduler(settings.steps)
    network = WindowDenoiser.prepare(
        denoiser, reference, audio, pose, noise.shape, settings, device, dtype, plan or Plan()
    )
    latents = noise.to("cpu", torch.float32).clamp(-NOISE_LIMIT, NOISE_LIMIT)

    # 3. Go on where an earlier run stopped; of several processes the first one keeps the state.
    steps_done = 0
    keeper = state if ranks is None or ranks.rank == 0 else None
    if keeper is not None:
        asked = {**settings.by_name(), "precision": dtype, **hash_inputs(denoiser, reference, audio, pose, latents)}
        latents, steps_done = keeper.begin(asked, latents)
    if ranks is not None:
        steps_done = ranks.from_first(latents, steps_done)

    # 4. Denoise, step by step.
    for step in range(steps_done, settings.steps):
        if settings.is_fresh(step):
            network.forget()
        shown, timestep = settings.windows(frames, step), float(scheduler.timesteps[step])
        tell_window = partial(tell_progress, on_step, step, settings.steps, len(shown))
        velocity = step_velocity(network, latents, timestep, shown, settings.guides(step), ranks, tell_window)
        preview = scheduler_step(scheduler, latents, velocity, timestep)
        if keeper is not None and settings.is_fresh(step + 1):
            # Deep features are not in the state, so it is written only where the next step computes them anew.
            keeper.step_done(step + 1, latents)
        tell_window(len(shown) - 1, preview)
    return latents


def hash_inputs(
    denoiser: DenoisingUNet,
    reference: dict[str, Tensor],
    audio: AudioSource,
    pose: PoseSource | None,
    latents: Tensor,
) -> dict[str, str]:
    """What a render starts from, by name; `latents` is its noise."""
    frames = latents.shape[2]
    return {
        "noise": hash_tensor(latents),
        "reference": hash_tensors(reference),
        "audio": hash_source(audio, "tokens", frames),
        "pose": hash_source(pose, "features", frames),
        "weights": hash_weights(denoiser),
    }


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
        groups = network.groups(mine)
        started = (network.start(latents, timestep, [window for _, window in group], guided) for group in groups)
        for group, results in in_turn(zip(groups, started)):
            network.check(results, timestep)
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
