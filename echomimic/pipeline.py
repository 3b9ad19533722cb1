"""From a portrait, a voice and poses to a video file: the whole story, top to bottom."""

from __future__ import annotations

import logging
import math
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn

from .audio import SpeechFeatures, encode_speech
from .media.pictures import fit_image
from .media.video import check_output, write_pictures, write_video
from .models.networks import Networks
from .pose import PoseSequence, fit_length
from .runtime.device import compute_dtype
from .runtime.memory import free_bytes
from .runtime.plan import Plan, make_plan
from .sampling import Ranks, RenderState, SamplingSettings
from .sampling.clip import clip_frames, denoise_clip
from .vae import decode_frames, encode_reference

logger = logging.getLogger("echomimic")

# Has a network on the device meanwhile.
Place = Callable[[nn.Module], AbstractContextManager[None]]
# Called with a stage ("encode", "sample", "decode"), how much of it is done and how much there is; raises to stop.
ProgressCallback = Callable[[str, int, int], None]

# Image sizes are eight times the latents'.
SIZE_STEP = 8


@dataclass(frozen=True)
class Inputs:
    """What a video is made of.

    Attributes:
        image: the portrait, uint8 RGB `[H, W, 3]`; cropped and resized to the video's size.
        waveform: the voice, float32 `[channels, samples]`.
        sample_rate: samples a second.
        poses: the gestures, or None for no hands asked for.
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
        compile: whether the denoiser goes through torch's compiler: minutes at first, then quicker; where it does not
            work that is said, and the work is done without.
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
    """What came out."""

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
    state: RenderState | None = None,
    ranks: Ranks | None = None,
) -> Rendered:
    """Make the video.

    Where all networks fit on the device they stay there, for the next video too; else they are there one at a time,
    and the rest waits on the host.

    Args:
        networks: with audio encoder and VAE; the precision of their weights is computed in where the device can.
        inputs, settings: what to make and how.
        output: an `.mp4` file, or a folder for pictures.
        device: where to compute.
        pictures: write `00000.png`, ... into the folder `output` instead of a video.
        on_progress: told of each stage's progress; raises to stop.
        state: where sampling keeps its state, to go on after a crash; removed when the video is there.
        ranks: the processes that share the windows; the first one decodes and writes.

    Raises:
        EchoMimicError: input, settings or output cannot be used; nothing is left behind.
    """
    tell = on_progress or (lambda stage, done, total: None)
    dtype = compute_dtype(next(networks.denoiser.parameters()).dtype, device)
    width, height = settings.size
    check_output(output, pictures)

    # 1. What is heard and seen.
    plan = plan_for(networks, settings, device, dtype)
    staying = residents(networks, plan)
    for network in networks.modules():
        if network not in staying:
            network.to("cpu")
    place = partial(placed, device=device, staying=staying)
    speech = hear(networks, inputs, settings.fps, place, tell)
    frames = clip_frames(speech, settings.frames)
    poses = None if inputs.poses is None else fit_poses(inputs.poses, frames, settings.fps)
    reference = look(networks, fit_image(inputs.image, width, height), place, device, dtype)
    tell("encode", 2, 2)

    # 2. The latents.
    with place(networks.denoiser), place(networks.pose_encoder), torch.no_grad():
        latents = denoise_clip(
            networks,
            reference,
            speech,
            poses,
            (frames, height // SIZE_STEP, width // SIZE_STEP),
            settings.sampling,
            on_step=lambda progress: tell("sample", progress.done, progress.total),
            device=device,
            dtype=dtype,
            plan=plan,
            state=state,
            ranks=ranks,
        )

    # 3. The video, written by the first of several processes.
    if ranks is None or ranks.rank == 0:
        with place(networks.vae):
            chunks = counted(decode_frames(networks.vae, latents, plan.decode_chunk), frames, tell)
            if pictures:
                write_pictures(output, chunks)
            else:
                write_video(output, chunks, settings.fps, audio=(inputs.waveform, inputs.sample_rate))
        if state is not None:
            state.remove()
    return Rendered(Path(output), frames, width, height, settings.fps)


def plan_for(networks: Networks, settings: RenderSettings, device: torch.device | str, dtype: torch.dtype) -> Plan:
    """How to use the device's memory; says so where there is a choice."""
    parameters = [parameter for network in networks.modules() for parameter in network.parameters()]
    width, height = settings.size
    free = free_bytes(device)
    if free is not None:
        # What the last video has left there is ours to move.
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
        compiled=settings.compile,
    )
    if free is not None:
        logger.info("%s", plan.reason)
    return plan


def hear(networks: Networks, inputs: Inputs, fps: float, place: Place, tell: ProgressCallback) -> SpeechFeatures:
    """The voice as features."""
    tell("encode", 0, 2)
    with place(networks.audio_encoder):
        speech = encode_speech(networks.audio_encoder, inputs.waveform, inputs.sample_rate, fps)
    tell("encode", 1, 2)
    return speech


def fit_poses(poses: PoseSequence, frames: int, fps: float) -> PoseSequence:
    """The clip at the video's rate, going back and forth where it is shorter; says so."""
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


def look(
    networks: Networks, image: np.ndarray, place: Place, device: torch.device | str, dtype: torch.dtype
) -> dict[str, Tensor]:
    """The portrait `uint8 [H, W, 3]` as the reference that the denoiser attends to, on the host: sampling keeps it
    projected."""
    with place(networks.vae):
        latents = encode_reference(networks.vae, image)
    with place(networks.reference_unet), torch.no_grad():
        reference = networks.reference_unet(latents.to(device, dtype))
    return {name: tokens.cpu() for name, tokens in reference.items()}


def residents(networks: Networks, plan: Plan) -> list[nn.Module]:
    """The networks that stay on the device between their stages, and from video to video."""
    if not plan.offload:
        return networks.modules()
    # CUDA graphs hold on to the addresses of a compiled denoiser's weights.
    return [networks.denoiser] if plan.compile else []


@contextmanager
def placed(module: nn.Module, device: torch.device | str, staying: list[nn.Module]) -> Iterator[None]:
    """The module on the device while its stage runs, then back on the host unless it is one of those that stay."""
    module.to(device)
    try:
        yield
    finally:
        if module not in staying:
            module.to("cpu")
            if torch.cuda.is_available():
                torch.cuda.empty_cache()


def counted(chunks: Iterator[np.ndarray], total: int, tell: ProgressCallback) -> Iterator[np.ndarray]:
    """The same chunks, telling how many frames went by."""
    done = 0
    tell("decode", done, total)
    for chunk in chunks:
        yield chunk
        done += len(chunk)
        tell("decode", done, total)
