"""The denoising loop: windows over the clip, latents on the host, one group of windows on the device."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import partial
from typing import Protocol

import torch
from torch import Tensor

from ..errors import Cancelled, EchoMimicError
from ..files.fingerprint import hash_tensors, hash_weights
from ..models.denoising import DenoisingUNet
from ..runtime.async_copy import pipelined
from ..runtime.checkpoint import RenderCheckpoint, UnfinishedStep
from ..runtime.checkpoint_folder import CheckpointFolder
from ..runtime.context import OnProgress, RunContext, SamplingProgress
from .conditions import AudioSource, PoseSource, audio_source, check_reference_size, hash_source, pose_source
from .noise import NOISE_LIMIT
from .schedule import Step, make_schedule
from .settings import SamplingSettings
from .window_denoiser import WindowDenoiser

# A step makes several copies of its inputs, so frames go through it a few at a time.
FRAMES_AT_ONCE = 64


class ReportWindow(Protocol):
    """Called after a window of the current step with its number, and after the last one with the preview."""

    def __call__(self, window: int, preview: Tensor | None = None) -> None: ...


@torch.no_grad()
def sample(
    *,
    denoiser: DenoisingUNet,
    reference: dict[str, Tensor],
    audio: Tensor | AudioSource,
    pose: Tensor | PoseSource | None,
    noise: Tensor,
    settings: SamplingSettings,
    context: RunContext | None = None,
) -> Tensor:
    """Denoise a clip of any length.

    Args:
        denoiser: the denoising UNet, on the device that computes.
        reference: what the reference UNet returned for the portrait, by block `[1, N, C]`.
        audio: tokens `[F, 50, A]`, or an object whose `tokens(frames)` gives a window's.
        pose: features `[C0, F, h, w]`, or an object whose `features(frames)` gives a window's; None: no hands.
        noise: `[1, 4, F, h, w]`, standard normal; clamped here to -1.5..1.5 as the published model does.
        settings: how the clip is sampled; its seed is not used, the noise is given.
        context: where and with what it runs; the denoiser's device and precision unless given.

    Returns:
        scaled latents (x 0.18215) `[1, 4, F, h, w]`, float32 on the host.

    Raises:
        EchoMimicError: sizes that do not fit together, or a network that returns NaN; of several processes, other
            settings than theirs, or another one failed.
        DeviceMemoryError: a window does not fit on the device.
        CheckpointError: the checkpoint belongs to another render, or cannot be written.
        Cancelled: `on_progress` returned False.
    """
    # 1. Check inputs.
    context = context or RunContext()
    if noise.ndim != 5 or noise.shape[:2] != (1, 4):
        raise EchoMimicError(f"the noise must be [1, 4, frames, height, width], got {list(noise.shape)}")
    frames, height, width = noise.shape[2:]
    settings.windows(frames)  # refuses a clip without frames
    check_reference_size(reference, denoiser.config, height, width)
    audio, pose = audio_source(audio, frames, denoiser.config), pose_source(pose, noise)

    # 2. Prepare what stays the same from step to step.
    schedule = make_schedule(settings.steps)
    network = WindowDenoiser.prepare(denoiser, reference, audio, pose, noise.shape, settings, context)
    latents = noise.to("cpu", torch.float32).clamp(-NOISE_LIMIT, NOISE_LIMIT)

    # 3. Continue where an earlier run stopped; of several processes the first one keeps the checkpoint.
    steps_done = 0
    processes = context.processes
    checkpoint = context.checkpoint if processes is None or processes.rank == 0 else None
    if checkpoint is not None:
        known = {**settings.by_name(), "precision": network.dtype, "weights": hash_weights(denoiser)}
        known["noise"] = hash_tensors({"noise": latents})
        known["pose"] = hash_source(pose, "features", frames)
        if not checkpoint.inputs:  # the inputs behind reference and audio are unknown, so these are hashed themselves
            known |= {"reference": hash_tensors(reference), "audio": hash_source(audio, "tokens", frames)}
        latents, steps_done = checkpoint.begin(known, latents)
    if processes is not None:
        processes.check_same({**settings.by_name(), "size": list(noise.shape)})
        steps_done = processes.broadcast(latents, steps_done)

    # 4. Denoise, step by step.
    for number in range(steps_done, settings.steps):
        step = schedule.steps[number]
        if settings.computes_deep_features(number):
            network.cache_clear()
        windows = settings.windows(frames, number)
        report = partial(report_progress, context.on_progress, number, settings.steps, len(windows))
        unfinished = None
        if checkpoint is not None and processes is None and number == steps_done:
            unfinished = checkpoint.unfinished
        save = window_saver(context, checkpoint, settings, number, latents)
        guided = settings.uses_guidance(number)
        velocity = clip_velocity(network, latents, step.timestep, windows, guided, report, unfinished, save)
        preview = advance(step, latents, velocity)
        if checkpoint is not None and settings.computes_deep_features(number + 1):
            # Deep features are not in the checkpoint, so it is written only where the next step computes them again.
            checkpoint.save(number + 1, latents)
        report(len(windows) - 1, preview)
    return latents


def window_saver(
    context: RunContext,
    checkpoint: RenderCheckpoint | CheckpointFolder | None,
    settings: SamplingSettings,
    number: int,
    latents: Tensor,
) -> Callable[[UnfinishedStep], None] | None:
    """What keeps the windows of step `number` as they are done; None where nothing can.

    Deep features are not in the checkpoint, so this step and the next one must compute their own. And of several
    processes none has all windows before the step ends.
    """
    own_features = settings.computes_deep_features(number) and settings.computes_deep_features(number + 1)
    if checkpoint is None or context.processes is not None or not own_features:
        return None
    return partial(checkpoint.save, number, latents)


def clip_velocity(
    network: WindowDenoiser,
    latents: Tensor,
    timestep: int,
    windows: list[list[int]],
    guided: bool,
    report: ReportWindow,
    unfinished: UnfinishedStep | None = None,
    save: Callable[[UnfinishedStep], None] | None = None,
) -> Tensor:
    """The clip's velocity `[1, 4, F, h, w]`: the windows' velocities, averaged where they overlap.

    Args:
        unfinished: windows that an earlier run has done.
        save: called with the windows that are done, after each group of them.
    """
    if unfinished is None:
        unfinished = UnfinishedStep(0, torch.zeros_like(latents), torch.zeros(latents.shape[2]))
    velocity, counts = unfinished.velocity, unfinished.counts
    processes = network.context.processes
    numbered = list(enumerate(windows))[unfinished.windows :]

    def compute() -> Iterator[None]:
        """One group of windows after another."""
        groups = network.groups(numbered if processes is None else processes.share(numbered))
        started = (network.start(latents, timestep, [frames for _, frames in group], guided) for group in groups)
        for group, results in pipelined(zip(groups, started)):
            network.check(results, timestep)
            for (_, frames), result in zip(group, results):
                velocity[0, :, frames] += result
                counts[frames] += 1
            last = group[-1][0]
            if save is not None and last < len(windows) - 1:
                save(UnfinishedStep(last + 1, velocity, counts))
            for number, _ in group:
                if number < len(windows) - 1:
                    report(number)
            yield

    if processes is None:
        for _ in compute():
            pass
    else:
        processes.run(compute())
        processes.all_reduce(velocity, counts)
    return velocity.div_(counts[:, None, None])


def advance(step: Step, latents: Tensor, velocity: Tensor) -> Tensor:
    """Move `latents` one step on, in place; returns the middle frame's estimate without noise, `[4, h, w]`."""
    middle = latents.shape[2] // 2
    preview = step.clean(latents[0, :, middle], velocity[0, :, middle])
    for begin in range(0, latents.shape[2], FRAMES_AT_ONCE):
        part = slice(begin, begin + FRAMES_AT_ONCE)
        latents[:, :, part] = step.advance(latents[:, :, part], velocity[:, :, part])
    return preview


def report_progress(
    on_progress: OnProgress | None, step: int, steps: int, windows: int, window: int, preview: Tensor | None = None
) -> None:
    progress = SamplingProgress(step, steps, window, windows, preview)
    if on_progress is not None and on_progress(progress) is False:
        raise Cancelled(f"stopped after window {progress.done} of {progress.total}")
