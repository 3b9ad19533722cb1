"""A training run's configuration: YAML to frozen dataclasses, with a sentence for every mistake."""

from __future__ import annotations

import difflib
import math
import types
import typing
from collections.abc import Mapping
from dataclasses import MISSING, asdict, dataclass, field, fields, is_dataclass, replace
from pathlib import Path
from typing import Any, Literal, get_args

from ..errors import TrainingError
from ..files.text import read_text
from ..models import MAX_WINDOW
from ..models.config import MAX_AUDIO_CONTEXT
from ..models.motion import GROUPS as MOTION_NORM_GROUPS
from ..sampling.schedule import TRAINING_STEPS
from ..sampling.settings import MAX_GUIDANCE
from .conditions import FINE_TUNING_PHASES, PAPER_PHASES, Phase
from .losses import PhaseWeights
from .packages import missing_package
from .regions import RegionWeights

Stage = Literal["stage1", "stage2", "lora", "distill"]
STAGES: tuple[str, ...] = get_args(Stage)
# Seeds that every generator takes.
MAX_SEED = 2**63 - 1
# Of a decoded part: LPIPS' backbone makes nothing of smaller pictures.
MIN_CROP = 32
# Settings of `WeightsConfig` that name files or folders.
WEIGHTS_PATHS = ("path", "sd15_unet", "motion_module", "vae", "audio_encoder", "dwpose")


def check_range(settings: Any, where: str, names: str, low: float, high: float = math.inf) -> None:
    """Raises: TrainingError for one of these settings, separated by spaces, that lies outside `low` to `high`."""
    for name in names.split():
        value = getattr(settings, name)
        if not low <= value <= high:
            limits = f"at least {low}" if high == math.inf else f"{low} to {high}"
            raise TrainingError(f"{_join(where, name)} must be {limits}, not {value}")


@dataclass(frozen=True)
class WeightsConfig:
    """Where training starts.

    Attributes:
        start: "published" (a folder or bundle of ours), "sd15" (Stable Diffusion 1.5, AnimateDiff), or "random".
        path: the folder or bundle; for "sd15" and "random" it only has to hold the VAE and the audio encoder, or
            `vae` and `audio_encoder` name them.
        variant: which of a folder's published files; "" takes the standard ones where they are there.
        sd15_unet: for "sd15": the UNet's file (diffusers' names), best of the image variations model.
        motion_module: for "sd15": AnimateDiff's file, of length 32.
        vae, audio_encoder, dwpose: files or folders that replace the path's; dwpose is for the pose loss.
        block_out_channels, layers_per_block, attention_heads, norm_num_groups: for "random": the networks' size;
            two levels or more, whose channels are multiples of 32 (the motion modules' norm groups).
        audio_context: see `UNetConfig`; -1 leaves it as the weights have it.
    """

    start: str = "published"
    path: str = ""
    variant: str = ""
    sd15_unet: str = ""
    motion_module: str = ""
    vae: str = ""
    audio_encoder: str = ""
    dwpose: str = ""
    block_out_channels: tuple[int, ...] = (320, 640, 1280, 1280)
    layers_per_block: int = 2
    attention_heads: int = 8
    norm_num_groups: int = 32
    audio_context: int = -1

    def __post_init__(self) -> None:
        if self.start not in ("published", "sd15", "random"):
            raise TrainingError(f"weights.start is published, sd15 or random, not {self.start!r}")
        if self.variant not in ("", "standard", "accelerated"):
            raise TrainingError(f"weights.variant is standard or accelerated, not {self.variant!r}")
        check_range(self, "weights", "layers_per_block attention_heads norm_num_groups", 1)
        check_range(self, "weights", "audio_context", -1, MAX_AUDIO_CONTEXT)
        channels = self.block_out_channels
        if len(channels) < 2 or any(count < 1 or count % MOTION_NORM_GROUPS for count in channels):
            raise TrainingError(
                "weights.block_out_channels must be two levels or more, of multiples of "
                f"{MOTION_NORM_GROUPS} channels, not {list(channels)}"
            )
        if self.start == "published" and not self.path:
            raise TrainingError("weights.path must name the folder or bundle to start from")
        if self.start == "sd15" and not (self.sd15_unet and self.motion_module):
            raise TrainingError("weights.start sd15 needs weights.sd15_unet and weights.motion_module")


@dataclass(frozen=True)
class OptimizerConfig:
    """AdamW, with a linear warm-up and a cosine down to `final_share` of the learning rate.

    Habits of the model's family (AnimateAnyone, Hallo); the paper gives none of them."""

    learning_rate: float = 1e-5
    weight_decay: float = 1e-2
    betas: tuple[float, float] = (0.9, 0.999)
    warmup_steps: int = 100
    final_share: float = 0.1
    clip_norm: float = 1.0
    ema_decay: float = 0.999

    def __post_init__(self) -> None:
        if not (self.learning_rate > 0 and self.clip_norm > 0 and 0 <= self.ema_decay < 1):
            raise TrainingError("optimizer: learning_rate and clip_norm must be above 0, ema_decay from 0 to below 1")
        if not all(0 <= beta < 1 for beta in self.betas):
            raise TrainingError(f"optimizer.betas must be from 0 to below 1, not {list(self.betas)}")
        check_range(self, "optimizer", "weight_decay warmup_steps", 0)
        check_range(self, "optimizer", "final_share", 0, 1)


@dataclass(frozen=True)
class LossConfig:
    """Weights of the losses; see `echomimic.training.losses`.

    Attributes:
        snr_gamma: of the min-SNR weight; 0 weighs all timesteps alike.
        phases: the phase-specific terms; their weights (0.1 each) are a third party's.
        low_level: "lpips", "encoder" or "auto".
        pose: "dwpose" (what the detector sees), "gaussians" (pixels around points) or "auto" for whichever is there.
        crop: side of the decoded part in pixels, 32 or more; 0 decodes the whole frame, as "dwpose" does in any case.
        regions: how much lips, face and hands count in the latent loss; 1 each is the published model's.
    """

    snr_gamma: float = 5.0
    phases: PhaseWeights = field(default_factory=PhaseWeights)
    low_level: str = "auto"
    pose: str = "auto"
    crop: int = 256
    regions: RegionWeights = field(default_factory=RegionWeights)

    def __post_init__(self) -> None:
        if self.pose not in ("auto", "dwpose", "gaussians"):
            raise TrainingError(f"loss.pose is dwpose, gaussians or auto, not {self.pose!r}")
        if self.low_level not in ("auto", "lpips", "encoder"):
            raise TrainingError(f"loss.low_level is lpips, encoder or auto, not {self.low_level!r}")
        check_range(self, "loss", "snr_gamma", 0)
        if self.crop != 0:
            check_range(self, "loss", "crop", MIN_CROP)


@dataclass(frozen=True)
class LoraSettings:
    """Low-rank layers beside the attention projections.

    Attributes:
        rank, alpha: of the layers, whose output is scaled by alpha / rank.
        networks: which get them: "denoising_unet", "reference_unet".
    """

    rank: int = 16
    alpha: float = 16.0
    networks: tuple[str, ...] = ("denoising_unet", "reference_unet")

    def __post_init__(self) -> None:
        unknown = set(self.networks) - {"denoising_unet", "reference_unet"}
        if unknown or not self.networks:
            raise TrainingError(f"lora.networks are denoising_unet and reference_unet, not {list(self.networks)}")
        if self.rank < 1 or not self.alpha > 0:
            raise TrainingError(f"lora.rank and lora.alpha must be above 0, got {self.rank} and {self.alpha}")


@dataclass(frozen=True)
class DistillConfig:
    """Step distillation into an accelerated student with guidance folded in.

    Attributes:
        student_steps: sampling steps of the student.
        teacher_steps: guided DDIM steps of the teacher for one of the student's.
        guidance: of the teacher.
    """

    student_steps: int = 6
    teacher_steps: int = 4
    guidance: float = 2.5

    def __post_init__(self) -> None:
        check_range(self, "distill", "guidance", 0, MAX_GUIDANCE)
        if self.student_steps < 1 or self.teacher_steps < 1 or self.student_steps * self.teacher_steps > 1000:
            raise TrainingError(
                f"distill: {self.student_steps} student steps of {self.teacher_steps} teacher steps each do not fit "
                "into 1000 timesteps"
            )


@dataclass(frozen=True)
class ValidationConfig:
    """Renders of fixed clips during training.

    Attributes:
        every: steps between them; 0 for none.
        clips: how many clips of the data, at least 1.
        frames: of each, at least 1.
        steps, guidance: of the sampler, each up to 1000; 0 takes the weights'.
        seed: of the start noise, 0 to 2^63 - 1.
    """

    every: int = 500
    clips: int = 2
    frames: int = 24
    steps: int = 0
    guidance: float = 0.0
    seed: int = 0

    def __post_init__(self) -> None:
        check_range(self, "validation", "every", 0)
        check_range(self, "validation", "clips frames", 1)
        check_range(self, "validation", "steps", 0, TRAINING_STEPS)
        check_range(self, "validation", "guidance", 0, MAX_GUIDANCE)
        check_range(self, "validation", "seed", 0, MAX_SEED)


@dataclass(frozen=True)
class TrainingConfig:
    """Everything that a run depends on. Paths are relative to the configuration's file.

    Attributes:
        stage: "stage1" (frames), "stage2" (clips), "lora", or "distill".
        data: the folder that `prepare` made.
        output: the run's folder: checkpoints, logs, validation, the result.
        size: side of the pictures in pixels, a multiple of 8.
        frames: length of a clip's window; stage 1 takes single frames and ignores it.
        steps: optimiser steps.
        batch_size: rows of a process and micro-batch.
        accumulation: micro-batches of a step.
        precision: "bfloat16" or "float32", of the activations; trained weights are float32 in any case.
        gradient_checkpointing: compute activations again in the backward pass: less memory, a third more time.
        null_share: probability that a row has no conditions.
        noise_offset: strength of noise that is the same for a whole frame, 0 or more.
        checkpoint_every: steps between checkpoints.
        keep_checkpoints: how many are kept.
        phases: the curriculum; empty takes the paper's for stages 1 and 2, else hands only and audio everywhere.
        tracker: "" or "tensorboard".
        seed: of everything drawn, 0 to 2^63 - 1.
    """

    stage: str
    data: str
    output: str
    weights: WeightsConfig
    size: int = 512
    frames: int = 12
    steps: int = 1000
    batch_size: int = 1
    accumulation: int = 1
    precision: str = "bfloat16"
    gradient_checkpointing: bool = True
    null_share: float = 0.1
    noise_offset: float = 0.05
    checkpoint_every: int = 250
    keep_checkpoints: int = 2
    optimizer: OptimizerConfig = field(default_factory=OptimizerConfig)
    loss: LossConfig = field(default_factory=LossConfig)
    lora: LoraSettings = field(default_factory=LoraSettings)
    distill: DistillConfig = field(default_factory=DistillConfig)
    validation: ValidationConfig = field(default_factory=ValidationConfig)
    phases: tuple[Phase, ...] = ()
    tracker: str = ""
    seed: int = 0

    def __post_init__(self) -> None:
        if self.stage not in STAGES:
            raise TrainingError(f"stage is one of {', '.join(STAGES)}, not {self.stage!r}")
        if self.size < 64 or self.size % 8:
            raise TrainingError(f"size must be a multiple of 8 and at least 64, not {self.size}")
        if not 1 <= self.frames <= MAX_WINDOW:
            raise TrainingError(f"frames must be 1 to {MAX_WINDOW}, the motion modules' longest window: {self.frames}")
        check_range(self, "", "steps batch_size accumulation checkpoint_every keep_checkpoints", 1)
        check_range(self, "", "noise_offset", 0)
        check_range(self, "", "seed", 0, MAX_SEED)
        if self.precision not in ("bfloat16", "float32"):
            raise TrainingError(
                f"precision is bfloat16 or float32, not {self.precision!r} (float16 gave NaN at the second step)"
            )
        if not 0 <= self.null_share < 1:
            raise TrainingError(f"null_share is a probability below 1, not {self.null_share}")
        if self.tracker not in ("", "tensorboard"):
            raise TrainingError(f"tracker is empty or tensorboard, not {self.tracker!r}")

    @property
    def window(self) -> int:
        """Frames of a row."""
        return 1 if self.stage == "stage1" else self.frames

    @property
    def curriculum(self) -> tuple[Phase, ...]:
        """The phases, or the stage's own."""
        return self.phases or (PAPER_PHASES if self.stage in ("stage1", "stage2") else FINE_TUNING_PHASES)


def read_config(path: Path) -> TrainingConfig:
    """Read a YAML file; relative paths in it count from its folder.

    Raises:
        TrainingError: it cannot be read, or holds an unknown or impossible setting; names it and what is known.
        MissingPackageError: PyYAML is not installed.
    """
    try:
        import yaml  # optional
    except ImportError as error:
        raise missing_package("pyyaml", "reading a configuration") from error
    try:
        content = yaml.safe_load(read_text(path, TrainingError))
    except Exception as error:  # any bytes, any depth
        if isinstance(error, TrainingError):
            raise
        raise TrainingError(f"the configuration {path} cannot be read: {' '.join(str(error).split())}") from error
    if not isinstance(content, dict):
        raise TrainingError(f"the configuration {path} must be a list of settings, `name: value` each")
    return config_from(content, path.absolute().parent)


def config_from(content: Mapping[str, Any], base: Path) -> TrainingConfig:
    """The configuration of plain values; relative paths count from `base`."""
    config = _build(TrainingConfig, content, "")
    assert isinstance(config, TrainingConfig)
    paths: dict[str, Any] = {n: str(base / path) for n in WEIGHTS_PATHS if (path := getattr(config.weights, n))}
    weights = replace(config.weights, **paths)
    return replace(config, weights=weights, data=str(base / config.data), output=str(base / config.output))


def config_to_dict(config: TrainingConfig) -> dict[str, Any]:
    """Plain values, for a file."""

    def plain(value: Any) -> Any:
        if isinstance(value, dict):
            return {key: plain(inner) for key, inner in value.items()}
        return [plain(inner) for inner in value] if isinstance(value, list | tuple) else value

    return plain(asdict(config))


def _build(kind: Any, content: Any, where: str) -> Any:
    """A dataclass of plain values, checked name by name."""
    if not isinstance(content, Mapping):
        raise TrainingError(f"{where or 'the configuration'} must hold settings, not {content!r}")
    hints = typing.get_type_hints(kind)
    known = [f.name for f in fields(kind)]
    for name in content:
        if name not in known:
            near = difflib.get_close_matches(str(name), known, 1)
            hint = f"; did you mean {near[0]}?" if near else ""
            raise TrainingError(f"{_join(where, name)} is not a setting{hint} Known here: {', '.join(known)}")
    missing = [f.name for f in fields(kind) if f.name not in content and _is_required(f)]
    if missing:
        raise TrainingError(f"{_join(where, missing[0])} is missing from the configuration")
    return kind(**{name: _convert(hints[name], value, _join(where, name)) for name, value in content.items()})


def _is_required(one: Any) -> bool:
    return one.default is MISSING and one.default_factory is MISSING


def _convert(kind: Any, value: Any, where: str) -> Any:
    """A plain value as a field's type."""
    origin = typing.get_origin(kind)
    if is_dataclass(kind):
        return _build(kind, value, where)
    if origin is tuple:
        if not isinstance(value, list | tuple):
            raise TrainingError(f"{where} must be a list, not {value!r}")
        inner = get_args(kind)
        kinds = [inner[0]] * len(value) if inner[-1] is Ellipsis else list(inner)
        if len(kinds) != len(value):
            raise TrainingError(f"{where} must have {len(kinds)} entries, not {len(value)}")
        return tuple(_convert(k, v, f"{where}[{i}]") for i, (k, v) in enumerate(zip(kinds, value)))
    if origin in (types.UnionType, typing.Union):
        raise TypeError(f"{where}: unions are not used in configurations")
    if kind is bool:
        if not isinstance(value, bool):
            raise TrainingError(f"{where} must be true or false, not {value!r}")
        return value
    if kind in (int, float):
        if isinstance(value, str):  # YAML reads 1e-5 as text
            try:
                value = float(value)
            except ValueError as error:
                raise TrainingError(f"{where} must be a number, not {value!r}") from error
        is_number = isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)
        if not is_number or (kind is int and value != int(value)):
            raise TrainingError(f"{where} must be a {'whole ' if kind is int else ''}number, not {value!r}")
        return kind(value)
    if not isinstance(value, str):
        raise TrainingError(f"{where} must be text, not {value!r}")
    return value


def _join(where: str, name: object) -> str:
    return f"{where}.{name}" if where else str(name)
