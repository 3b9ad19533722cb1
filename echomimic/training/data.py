"""The batches that a training step takes from prepared clips.

What a step takes is a pure function of the seed, the step and the row,
so that a resumed run, or one on more processes, sees the same samples.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Sequence
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import Any

import numpy as np
import torch
from safetensors import safe_open
from torch import Tensor

from ..audio import SpeechFeatures, encode_speech, read_audio
from ..errors import EchoMimicError, TrainingError
from ..files.tensors import read_state_dict
from ..models import UNetConfig
from ..pose import PoseSequence, load_poses
from ..sampling.schedule import TRAINING_STEPS
from .clip_files import read_clip_frames
from .conditions import StepConditions, draw_row, row_generator
from .losses import FrameTargets
from .pose_pictures import draw_pose_parts
from .records import CACHE_ENDING, ClipRecord, read_records
from .regions import Box, RegionWeights, audio_mask, hand_and_body_points, hard_box, loss_weights

# Number of clips whose speech features and poses are kept in memory.
CLIPS_IN_MEMORY = 64


@dataclass(frozen=True)
class LoadedClip:
    """What stays in memory of a clip."""

    record: ClipRecord
    poses: PoseSequence
    speech: SpeechFeatures


@dataclass(frozen=True)
class Batch:
    """What a step's rows consist of; F frames, latents of h x w, pictures of H x W.

    Attributes:
        names: of the rows' clips and first frames, for messages.
        frames: pictures `[B, F, 3, H, W]` uint8, where there are no cached latents.
        latents: scaled latents `[B, 4, F, h, w]`, where they are cached.
        reference: the reference picture `[B, 3, H, W]` uint8, or its latents `[B, 4, h, w]`.
        audio: tokens `[B, F, N, A]`.
        pose: pictures `[B, 3, F, H, W]` in 0..1.
        audio_mask: `[B, F, h, w]`.
        loss_mask: how much each place counts, `[B, F, h, w]`, 0 in a headshot's padding.
        conditioned, posed: see `RowConditions`, one a row.
        timesteps: `[B]`.
        noise: `[B, 4, F, h, w]`.
        targets: of the phase-specific terms.
    """

    names: list[str]
    frames: Tensor | None
    latents: Tensor | None
    reference: Tensor
    audio: Tensor
    pose: Tensor
    audio_mask: Tensor
    loss_mask: Tensor
    conditioned: list[bool]
    posed: list[bool]
    timesteps: Tensor
    noise: Tensor
    targets: FrameTargets

    def to(self, device: torch.device | str) -> Batch:
        """The same batch with its tensors there."""

        def moved(value: Any) -> Any:
            if isinstance(value, FrameTargets):
                return FrameTargets(**{f.name: getattr(value, f.name).to(device) for f in fields(FrameTargets)})
            return value.to(device) if isinstance(value, Tensor) else value

        return Batch(**{field.name: moved(getattr(self, field.name)) for field in fields(Batch)})


@dataclass(frozen=True)
class SamplingOfData:
    """How rows are drawn.

    Attributes:
        frames: length of a window.
        size: side of the pictures in pixels, a multiple of 8.
        null_share: probability that a row has no conditions at all, for classifier-free guidance.
        noise_offset: strength of noise that is the same for a whole frame and channel.
        seed: of everything drawn.
        regions: how much parts of the picture count in the latent loss.
        needs_targets: whether a loss compares decoded pictures. Without, a clip with cached latents is never decoded,
            and the targets are black.
    """

    frames: int
    size: int
    null_share: float = 0.1
    noise_offset: float = 0.05
    seed: int = 0
    regions: RegionWeights = field(default_factory=RegionWeights)
    needs_targets: bool = True


class TrainingClips:
    """A data folder's clips, and the rows drawn from them.

    Args:
        folder: holds `metadata.jsonl`.
        audio_encoder: Whisper's encoder, for clips without cached features; None if all have them.
        networks: size of those that the rows are for; None takes the published model's, and checks no width.

    Raises:
        TrainingError: see `read_records`.
    """

    def __init__(
        self,
        folder: Path,
        audio_encoder: Any = None,
        networks: UNetConfig | None = None,
    ) -> None:
        self.folder = folder
        self.audio_context = (networks or UNetConfig()).audio_context
        self.audio_width = networks.audio_dim if networks else None
        self.records = read_records(folder)
        self.audio_encoder = audio_encoder
        self.loaded: OrderedDict[int, LoadedClip] = OrderedDict()

    def check(self, sampling: SamplingOfData) -> None:
        """Raises: TrainingError when no clip has a window's length, or cached latents are of another size."""
        longest = max(record.frames for record in self.records)
        if longest < sampling.frames:
            raise TrainingError(
                f"the longest clip of {self.folder} has {longest} frames, but a window takes {sampling.frames}: "
                "prepare longer clips or set frames lower"
            )
        cached = [bool(record.latents) for record in self.records]
        if any(cached) and not all(cached):
            raise TrainingError(
                f"{sum(cached)} of {len(cached)} clips of {self.folder} have cached latents: run prepare again with "
                "--cache-latents, so that all have"
            )
        for record in self.records:
            if record.latents and record.size != sampling.size:
                raise TrainingError(
                    f"{record.latents} holds latents of {record.size}x{record.size}, but training runs at "
                    f"{sampling.size}x{sampling.size}: prepare with --size {sampling.size}, or without --cache-latents"
                )
            if not record.latents and self.audio_encoder is None:
                raise TrainingError(
                    f"{record.audio} needs an audio encoder, and the weights have none: give weights.audio_encoder "
                    "(Whisper's tiny.pt), or cache latents"
                )

    def clip(self, index: int) -> LoadedClip:
        """The poses and speech features of a clip.

        Raises:
            TrainingError: they cannot be read, or do not have the frames that the metadata say.
        """
        if index in self.loaded:
            self.loaded.move_to_end(index)
            return self.loaded[index]
        record = self.records[index]
        try:
            poses = load_poses(self.folder / record.poses)
            if record.latents:
                cached = read_state_dict(self.folder / record.latents)
                speech = SpeechFeatures(cached["steps"], record.fps)
            else:
                speech = encode_speech(self.audio_encoder, *read_audio(self.folder / record.audio), record.fps)
        except (EchoMimicError, KeyError) as error:
            raise TrainingError(f"the clip {record.file_name} cannot be used: {error}") from error
        if len(poses) != record.frames:
            raise TrainingError(
                f"{record.poses} has {len(poses)} frames, but {record.file_name} has {record.frames}: "
                "remove both and prepare the data again"
            )
        if record.latents:
            check_latents(cached["latents"], record)
        if self.audio_width not in (None, speech.steps.shape[-1]):
            raise TrainingError(
                f"the speech features of {record.file_name} are {speech.steps.shape[-1]} wide, but the denoising "
                f"network takes {self.audio_width}: use the audio encoder that belongs to the weights; where features "
                f"are cached, remove the {CACHE_ENDING} files and cache them again"
            )
        self.loaded[index] = clip = LoadedClip(record, poses, speech.with_context(self.audio_context))
        if len(self.loaded) > CLIPS_IN_MEMORY:
            self.loaded.popitem(last=False)
        return clip

    def batch(self, step: int, rows: Sequence[int], conditions: StepConditions, sampling: SamplingOfData) -> Batch:
        """The rows of these numbers of a step.

        Raises:
            TrainingError: a clip cannot be read.
        """
        drawn = [self.row(step, row, conditions, sampling) for row in rows]

        def stack(name: str) -> Any:
            values = [row[name] for row in drawn]
            return None if values[0] is None else torch.stack(values)

        targets = FrameTargets(
            *(stack(name) for name in ("frame", "picture", "points", "weights", "valid", "crop_place"))
        )
        return Batch(
            names=[row["name"] for row in drawn],
            frames=stack("frames"),
            latents=stack("latents"),
            reference=stack("reference"),
            audio=stack("audio"),
            pose=stack("pose"),
            audio_mask=stack("audio_mask"),
            loss_mask=stack("loss_mask"),
            conditioned=[row["conditioned"] for row in drawn],
            posed=[row["posed"] for row in drawn],
            timesteps=stack("timestep"),
            noise=stack("noise"),
            targets=targets,
        )

    def row(self, step: int, number: int, conditions: StepConditions, sampling: SamplingOfData) -> dict[str, Any]:
        """One row's parts by `Batch`'s names (in the singular where they differ)."""
        generator = row_generator(sampling.seed, step, number)

        def draw(below: int) -> int:
            return int(torch.randint(below, (), generator=generator))

        usable = [i for i, record in enumerate(self.records) if record.frames >= sampling.frames]
        clip = self.clip(usable[draw(len(usable))])
        record, size, count = clip.record, sampling.size, sampling.frames
        begin = draw(record.frames - count + 1)
        reference_frame, target = draw(record.frames), draw(count)
        chosen = draw_row(conditions, sampling.null_share, generator)
        timestep = draw(TRAINING_STEPS)
        crop_place = torch.rand(2, generator=generator)
        latent_size = size // 8
        noise = torch.randn(4, count, latent_size, latent_size, generator=generator)
        noise += sampling.noise_offset * torch.randn(4, count, 1, 1, generator=generator)

        window = list(range(begin, begin + count))
        pixels = self.pictures(record, window, reference_frame, target, sampling)
        poses = clip.poses.take(window)
        if record.headshot:
            pose = np.zeros((count, size, size, 3), np.uint8)
        else:
            pose = draw_pose_parts(poses, range(count), size, size, conditions.parts)
        audio_part, loss_part = self.masks(clip, conditions.audio, latent_size)
        counts = loss_part * loss_weights(poses, sampling.regions, latent_size, latent_size)
        points, weights = hand_and_body_points(poses, size, size)
        return {
            "name": f"{record.file_name} from frame {begin}",
            "frames": pixels.get("frames"),
            "latents": pixels.get("latents"),
            "reference": pixels["reference"],
            "audio": clip.speech.tokens(window),
            "pose": torch.from_numpy(pose).permute(3, 0, 1, 2).float() / 255,
            "audio_mask": audio_part.expand(count, -1, -1),
            "loss_mask": counts,
            "conditioned": chosen.conditioned,
            "posed": chosen.posed,
            "timestep": torch.tensor(timestep),
            "noise": noise,
            "frame": torch.tensor(target),
            "picture": pixels["target"].float() / 127.5 - 1,
            "points": torch.from_numpy(points[target]).float(),
            "weights": torch.from_numpy(weights[target]).float(),
            "valid": torch.tensor(not record.headshot),
            "crop_place": crop_place,
        }

    def pictures(
        self, record: ClipRecord, window: list[int], reference: int, target: int, sampling: SamplingOfData
    ) -> dict[str, Tensor]:
        """What a row needs of a clip's pictures: `target` uint8 `[3, H, W]`; and either `frames` `[F, 3, H, W]` and
        `reference` `[3, H, W]`, or where they are cached `latents` `[4, F, h, w]` and `reference` `[4, h, w]`."""
        path, size = self.folder / record.file_name, sampling.size
        if not record.latents:
            found = [channels_first(picture) for picture in read_clip_frames(path, [*window, reference], size)]
            return {"frames": torch.stack(found[:-1]), "reference": found[-1], "target": found[target]}
        # Of a clip of minutes only the window is read.
        with safe_open(self.folder / record.latents, "pt") as file:
            latents = file.get_slice("latents")
            cached = {
                "latents": latents[window[0] : window[-1] + 1].transpose(0, 1).float(),
                "reference": latents[reference : reference + 1][0].float(),
            }
        if not sampling.needs_targets:
            return {**cached, "target": torch.zeros(3, size, size, dtype=torch.uint8)}
        return {**cached, "target": channels_first(read_clip_frames(path, [window[target]], size)[0])}

    def masks(self, clip: LoadedClip, region: str, side: int) -> tuple[Tensor, Tensor]:
        """Where audio acts and where the loss counts, `[side, side]` each.

        Head partial attention: a headshot's audio acts on the face, and its padding counts nowhere.
        """
        if not clip.record.headshot:
            return audio_mask(clip.poses, region, side, side), torch.ones(side, side)
        inside = hard_box(Box(*clip.record.head_box), side, side)
        region = "face" if region == "picture" else region
        return audio_mask(clip.poses, region, side, side) * inside, inside


def channels_first(picture: np.ndarray) -> Tensor:
    """uint8 `[H, W, 3]` -> `[3, H, W]`."""
    return torch.from_numpy(picture).permute(2, 0, 1)


def check_latents(latents: Tensor, record: ClipRecord) -> None:
    """Raises: TrainingError when cached latents are not of the clip's length and size."""
    expected = (record.frames, 4, record.size // 8, record.size // 8)
    if tuple(latents.shape) != expected:
        raise TrainingError(
            f"{record.latents} has latents of shape {list(latents.shape)}, but {record.file_name} needs "
            f"{list(expected)}: remove that file and cache latents again"
        )
