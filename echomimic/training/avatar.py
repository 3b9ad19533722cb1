"""From one person's video to their LoRA: prepare, train, and a sheet of before and after."""

from __future__ import annotations

import logging
import shutil
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch

from ..errors import OutputError, TrainingError
from ..files.atomic import atomic_output
from ..media.video_writer import check_place, write_picture
from ..pose.sources.extract import Detector
from ..weights.lora import apply_lora
from .accelerator import make_accelerator
from .clip_filters import PrepareSettings
from .config import LoraSettings, OptimizerConfig, TrainingConfig, ValidationConfig, WeightsConfig
from .data import TrainingClips
from .data_report import counted, write_report
from .metrics import as_tensor
from .networks import start_networks
from .prepare import prepare
from .records import clips_digest, read_records
from .run_folder import RunFolder
from .similarity import psnr
from .train import OnStep, result_path, train
from .validation import Validation, make_strip

logger = logging.getLogger("echomimic")


@dataclass(frozen=True)
class AvatarSettings:
    """How a LoRA for one person is trained. The defaults fit a card of 12 GB (`python -m benchmarks.train_memory`).

    Attributes:
        size: side of the pictures in pixels.
        frames: length of a window.
        steps: of the optimiser.
        rank: of the low-rank layers.
        learning_rate: of AdamW.
        sheet_frames, sheet_steps: length and sampling steps of the renders for the sheet; 0 steps takes the weights'.
        seed: of everything drawn.
    """

    size: int = 512
    frames: int = 12
    steps: int = 500
    rank: int = 16
    learning_rate: float = 1e-4
    sheet_frames: int = 24
    sheet_steps: int = 0
    seed: int = 0


def avatar_config(data: Path, weights: Path, output: Path, settings: AvatarSettings) -> TrainingConfig:
    """The training configuration of an avatar."""
    return TrainingConfig(
        stage="lora",
        data=str(data),
        output=str(output),
        weights=WeightsConfig(path=str(weights)),
        size=settings.size,
        frames=settings.frames,
        steps=settings.steps,
        checkpoint_every=50,
        optimizer=OptimizerConfig(
            learning_rate=settings.learning_rate, warmup_steps=min(50, settings.steps), ema_decay=0.99
        ),
        lora=LoraSettings(rank=settings.rank, alpha=float(settings.rank)),
        validation=ValidationConfig(every=0, clips=1, frames=settings.sheet_frames, steps=settings.sheet_steps),
        seed=settings.seed,
    )


def make_avatar(
    videos: list[Path],
    weights: Path,
    output: Path,
    detect: Detector,
    settings: AvatarSettings | None = None,
    *,
    device: str = "auto",
    on_step: OnStep | None = None,
) -> tuple[Path, Path]:
    """Train a LoRA of one person.

    Everything on the way lies in a folder beside the output, so that the same call resumes after an interruption. Of
    other videos it trains another LoRA, from the beginning.

    Args:
        videos: of the person: minutes rather than seconds, head to waist, speaking.
        weights: a folder of published files, or a bundle.
        output: the LoRA file (`.safetensors`).
        detect: finds the people of a picture.
        settings: how to train.
        device: see `train`.
        on_step: see `train`.

    Returns:
        the LoRA file, and the sheet `NAME.sheet.png` beside it: truth, before and after, one above the other.

    Raises:
        TrainingError: no video gave a clip (the reasons), or see `train`.
        OutputError, WeightsError, MissingPackageError, Cancelled: see `train`.
    """
    settings = settings or AvatarSettings()
    if output.suffix != ".safetensors":
        raise OutputError(f"{output.name}: a LoRA file ends in .safetensors")
    if output.is_dir():
        raise OutputError(f"{output} is a folder: name a file for the LoRA")
    check_place(output)
    folder = output.with_suffix(".avatar")
    data = folder / "data"
    # Before the long look through the videos, because it checks the settings.
    config = avatar_config(data, weights, folder / "run", settings)
    logger.info("looking for the person in %s", counted(len(videos), "video"))
    results = prepare(videos, data, detect, PrepareSettings(size=settings.size))
    page = write_report(data, results)
    clips = sum(len(result.clips) for result in results)
    if not clips:
        reasons = {refusal.reason for result in results for refusal in result.refusals}
        raise TrainingError(f"no part of {', '.join(map(str, videos))} can be used: {'; '.join(sorted(reasons))}")
    logger.info("%s to learn from; %s shows what was kept and refused", counted(clips, "clip"), page)
    config = replace(config, output=str(run_of_clips(config, clips_digest(read_records(data)))))
    made = train(config, on_step, device)
    with atomic_output(output) as temporary:
        shutil.copyfile(made, temporary)
    logger.info("rendering the first clip without and with the LoRA")
    # NAME.png is likely to be the person's portrait.
    sheet = draw_sheet(config, output, output.with_suffix(".sheet.png"), device)
    return output, sheet


def run_of_clips(config: TrainingConfig, digest: str) -> Path:
    """The folder of the run on these clips, so that other videos begin a run of their own.

    Earlier versions had one folder for all, `config.output`. It serves on where it is known to hold these clips; where
    it says nothing of its clips, only if it was interrupted.
    """
    earlier = RunFolder(Path(config.output))
    clips = earlier.clips()
    if clips:
        serves = clips["digest"] == digest
    else:
        serves = bool(earlier.checkpoints()) and not result_path(config).is_file()
    return earlier.path if serves else earlier.path.with_name(f"run-{digest}")


def draw_sheet(config: TrainingConfig, lora: Path, path: Path, device: str = "auto") -> Path:
    """The first clip's frames, what the weights make of it without the LoRA, and what with it.

    Args:
        config: of the training run.
        lora: the file.
        path: the PNG.
        device: see `train`.
    """
    place: Any = make_accelerator(device).device
    dtype = torch.bfloat16 if config.precision == "bfloat16" else torch.float32
    networks = start_networks(config, dtype)
    for module in networks.modules():
        module.to(place)
    clips = TrainingClips(Path(config.data), networks.audio_encoder)
    render: Callable[..., Any] = Validation(config, clips, networks, Path(config.output), place, dtype).render
    truth, before = render(clips.clip(0))
    apply_lora(networks, lora)
    _, after = render(clips.clip(0))
    near = [psnr(as_tensor(truth), as_tensor(made)) for made in (before, after)]
    captions = (
        "the video",
        f"before: the weights without the LoRA, {near[0]:.1f} dB",
        f"after: with the LoRA, {near[1]:.1f} dB",
    )
    return write_picture(path, make_strip(truth, before, after, captions=captions))


def with_changes(settings: AvatarSettings, **changes: Any) -> AvatarSettings:
    """The settings with those changes that are not None."""
    return replace(settings, **{name: value for name, value in changes.items() if value is not None})
