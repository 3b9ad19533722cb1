"""From a portrait, a voice and poses to a video file: every stage, in order."""

from __future__ import annotations

import logging
import math
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn

from .audio import SpeechFeatures, encode_speech
from .files.fingerprint import hash_tensor, hash_text, hash_weights
from .media.pictures import fit_image
from .media.video_writer import check_output, write_pictures, write_video
from .models.networks import Networks
from .pose import PoseSequence, fit_length
from .runtime.checkpoint import RenderCheckpoint
from .runtime.context import RunContext
from .runtime.device import compute_dtype, free_bytes, vae_dtype
from .runtime.distributed import Processes
from .runtime.plan import Plan, make_plan
from .sampling import DrawnPose, SamplingSettings, clip_frames, make_noise, sample
from .vae import decode_frames, encode_reference

logger = logging.getLogger("echomimic")

# Keeps a network on the device while its stage runs.
OnDevice = Callable[[nn.Module], AbstractContextManager[None]]
# Called with a stage ("encode", "sample", "decode"), how much of it is done and how much there is; raises to stop.
ProgressCallback = Callable[[str, int, int], None]
# Called with each chunk of finished frames, uint8 `[n, H, W, 3]`.
FramesCallback = Callable[[np.ndarray], None]

# Image sizes are eight times the latents'.
SIZE_STEP = 8


@dataclass(frozen=True)
class Inputs:
    """What a video is made of.

    Attributes:
        image: the portrait, uint8 RGB `[H, W, 3]`; cropped and resized to the video's size.
        waveform: the voice, float32 `[channels, samples]`.
        sample_rate: samples a second.
        poses: the gestures, or None for none.
    """

    image: np.ndarray
    waveform: Tensor
    sample_rate: int
    poses: PoseSequence | None


@dataclass(frozen=True)
class RenderSettings:
    """How a video is made.

    Attributes:
        sampling: how its latents are sampled.
        width, height: pixels, rounded to multiples of 8.
        fps: frames a second.
        frames: length of the video; None takes the voice's.
        compile: whether the denoiser goes through torch's compiler: minutes at first, then faster windows; where
            compiling fails, a warning is logged and the render continues without.
    """

    sampling: SamplingSettings
    width: int = 768
    height: int = 768
    fps: float = 24.0
    frames: int | None = None
    compile: bool = False

    @property
    def size(self) -> tuple[int, int]:
        """Width and height as rendered."""
        width, height = (max(SIZE_STEP, round(side / SIZE_STEP) * SIZE_STEP) for side in (self.width, self.height))
        return width, height


@dataclass(frozen=True)
class Rendered:
    """The finished video."""

    path: Path
    frames: int
    width: int
    height: int
    fps: float


def render(
    networks: Networks,
    inputs: Inputs,
    settings: RenderSettings,
    output: str | Path,
    *,
    device: torch.device | str = "cpu",
    pictures: bool = False,
    on_progress: ProgressCallback | None = None,
    on_frames: FramesCallback | None = None,
    checkpoint: RenderCheckpoint | None = None,
    processes: Processes | None = None,
) -> Rendered:
    """Make the video.

    Where all networks fit on the device they stay there, for the next video too; else they are there one at a time, and
    the rest waits on the host.

    Args:
        networks: with audio encoder and VAE; the precision of their weights is computed in where the device can.
        inputs, settings: what to make and how.
        output: an `.mp4` file, or a folder for pictures.
        device: where to compute.
        pictures: write `00000.png`, ... into the folder `output` instead of a video.
        on_progress: called with each stage's progress; raises to stop.
        on_frames: called with the frames as they are decoded, in the process that writes them.
        checkpoint: where sampling keeps its state, to continue after a crash; removed when the video is there.
        processes: those that share the windows; the first one decodes and writes.

    Raises:
        EchoMimicError: input, settings or output cannot be used; nothing is left behind.
    """
    report = on_progress or (lambda stage, done, total: None)
    width, height = settings.size
    dtype = compute_dtype(next(networks.denoiser.parameters()).dtype, device)

    # 1. Check that the result can be written, and plan the device's memory.
    check_output(output, pictures)
    plan, on_device_for = prepare_networks(networks, settings, device, dtype)

    # 2. Encode the voice and the portrait; bring the poses to the clip's rate and length.
    report("encode", 0, 2)
    with on_device_for(networks.audio_encoder):
        speech = encode_speech(networks.audio_encoder, inputs.waveform, inputs.sample_rate, settings.fps)
    report("encode", 1, 2)
    frames = clip_frames(len(speech), settings.fps, settings.frames)
    poses = None if inputs.poses is None else fit_poses(inputs.poses, frames, settings.fps)
    portrait = fit_image(inputs.image, width, height)
    if checkpoint is not None:
        checkpoint = replace(checkpoint, inputs=hash_inputs(networks, portrait, speech))
    reference = encode_portrait(networks, portrait, on_device_for, device, dtype)
    report("encode", 2, 2)

    # 3. Sample the latents.
    context = RunContext(
        device=device,
        dtype=dtype,
        plan=plan,
        on_progress=lambda progress: report("sample", progress.done, progress.total),
        checkpoint=checkpoint,
        processes=processes,
    )
    with on_device_for(networks.denoiser), on_device_for(networks.pose_encoder):
        latents = sample(
            denoiser=networks.denoiser,
            reference=reference,
            audio=speech,
            pose=None if poses is None else DrawnPose(networks.pose_encoder, poses, width, height, device, dtype),
            noise=make_noise(frames, height // SIZE_STEP, width // SIZE_STEP, settings.sampling.seed),
            settings=settings.sampling,
            context=context,
        )

    # 4. Decode and write, in the first of several processes.
    if processes is None or processes.rank == 0:
        with on_device_for(networks.vae):
            chunks = counted(decode_frames(networks.vae, latents, plan.decode_chunk), frames, report, on_frames)
            write_frames(chunks, output, pictures, inputs, settings.fps)
        if checkpoint is not None:
            checkpoint.remove()
    return Rendered(Path(output), frames, width, height, settings.fps)


def prepare_networks(
    networks: Networks, settings: RenderSettings, device: torch.device | str, dtype: torch.dtype
) -> tuple[Plan, OnDevice]:
    """Plan the device's memory, give the VAE its precision, and move to the host what does not stay on the device.

    Returns:
        the plan, and the context manager that brings a network to the device for its stage.
    """
    if networks.vae.dtype != vae_dtype(dtype, device):
        networks.vae.to(vae_dtype(dtype, device))
    plan = plan_for(networks, settings, device, dtype)
    kept_on_device = networks_kept_on_device(networks, plan)
    for network in networks.modules():
        if network not in kept_on_device:
            network.to("cpu")
    return plan, partial(on_device, device=device, kept_on_device=kept_on_device)


def plan_for(networks: Networks, settings: RenderSettings, device: torch.device | str, dtype: torch.dtype) -> Plan:
    """How to use the device's memory; logged where there is a choice."""
    parameters = [parameter for network in networks.modules() for parameter in network.parameters()]
    width, height = settings.size
    free = free_bytes(device)
    if free is not None:
        # The weights that the last video left there can be moved to the host.
        free += sum(parameter.nbytes for parameter in parameters if parameter.device.type != "cpu")
    plan = make_plan(
        networks.config,
        free=free,
        weights=sum(parameter.nbytes for parameter in parameters),
        height=height // SIZE_STEP,
        width=width // SIZE_STEP,
        window_length=settings.sampling.window_length,
        guided=settings.sampling.guided,
        element_size=dtype.itemsize,
        vae_element_size=vae_dtype(dtype, device).itemsize,
        compiled=settings.compile,
    )
    if free is not None:
        logger.info("%s", plan.reason)
    return plan


def fit_poses(poses: PoseSequence, frames: int, fps: float) -> PoseSequence:
    """The clip at the video's rate, going back and forth where it is shorter; changes are logged."""
    if abs(poses.fps - fps) > 1e-6:
        logger.info("the pose clip has %g frames a second and is resampled to %g", poses.fps, fps)
    if poses.seconds + 1 / fps < frames / fps:
        logger.info(
            "the pose clip lasts %.1f s and the video %.1f s: it goes back and forth %d times",
            poses.seconds,
            frames / fps,
            math.ceil(frames / fps / poses.seconds),
        )
    return fit_length(poses, frames, fps)


def hash_inputs(networks: Networks, portrait: np.ndarray, speech: SpeechFeatures) -> dict[str, str]:
    """What the reference and the audio features are computed from, as hashes by name."""
    encoders = hash_text(hash_weights(networks.vae), hash_weights(networks.reference_unet))
    return {
        "portrait": hash_tensor(torch.from_numpy(portrait.copy())),
        "voice": speech.source,
        "rate": f"{speech.fps:g}",  # which part of the voice a frame hears
        "encoders": encoders,
    }


def encode_portrait(
    networks: Networks, portrait: np.ndarray, on_device_for: OnDevice, device: torch.device | str, dtype: torch.dtype
) -> dict[str, Tensor]:
    """The portrait `uint8 [H, W, 3]` as the reference that the denoiser attends to, on the host."""
    with on_device_for(networks.vae):
        latents = encode_reference(networks.vae, portrait)
    with on_device_for(networks.reference_unet), torch.no_grad():
        reference = networks.reference_unet(latents.to(device, dtype))
    return {name: tokens.cpu() for name, tokens in reference.items()}


def networks_kept_on_device(networks: Networks, plan: Plan) -> list[nn.Module]:
    """The networks that stay on the device between their stages, and from video to video."""
    if not plan.offload:
        return networks.modules()
    # CUDA graphs hold on to the addresses of a compiled denoiser's weights.
    return [networks.denoiser] if plan.compile else []


@contextmanager
def on_device(module: nn.Module, device: torch.device | str, kept_on_device: list[nn.Module]) -> Iterator[None]:
    """The module on the device while its stage runs, then back on the host unless it is one of those that stay."""
    module.to(device)
    try:
        yield
    finally:
        if module not in kept_on_device:
            module.to("cpu")
            if torch.cuda.is_available():
                torch.cuda.empty_cache()


def write_frames(chunks: Iterator[np.ndarray], output: str | Path, pictures: bool, inputs: Inputs, fps: float) -> None:
    """Write the frames as numbered pictures, or as a video with the inputs' sound."""
    if pictures:
        write_pictures(output, chunks)
    else:
        write_video(output, chunks, fps, audio=(inputs.waveform, inputs.sample_rate))


def counted(
    chunks: Iterator[np.ndarray], total: int, report: ProgressCallback, on_frames: FramesCallback | None
) -> Iterator[np.ndarray]:
    """The same chunks; shows each one to `on_frames`, and reports how many frames went by."""
    done = 0
    report("decode", done, total)
    for chunk in chunks:
        if on_frames is not None:
            on_frames(chunk)
        yield chunk
        done += len(chunk)
        report("decode", done, total)
