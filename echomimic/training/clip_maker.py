"""Makes a training clip from a graph's values: pictures, their poses, the encoded voice and a VAE."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from itertools import islice
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from ..audio import SpeechFeatures
from ..errors import TrainingError
from ..files.tensor_writer import write_safetensors
from ..media.video_writer import write_video
from ..pose import PoseSequence, save_poses
from .clip_filters import PrepareSettings, is_headshot
from .prepare import place_body, place_head
from .records import CACHE_ENDING, METADATA, ClipRecord
from .run_folder import write_text

# uint8 [n, 3, H, W] -> scaled latents [n, 4, H/8, W/8]
Encode = Callable[[Tensor], Tensor]
FRAMES_AT_ONCE = 16


def make_clip_from_frames(
    folder: Path,
    name: str,
    frames: Iterable[np.ndarray],
    poses: PoseSequence,
    speech: SpeechFeatures,
    encode: Encode,
    size: int,
    on_frame: Callable[[int, int], object] | None = None,
) -> ClipRecord:
    """Crop, encode and write one clip; a clip of that name that is there already is taken.

    Args:
        folder: where its files go.
        name: of the files, without an ending: names the content, and the VAE.
        frames: uint8 RGB `[H, W, 3]` each, one a pose.
        poses: canvas region = the frames.
        speech: the voice, at the poses' rate.
        encode: the VAE's encoder.
        size: side of the square picture in pixels.
        on_frame: called with frames done and frames in all; raises to stop.

    Raises:
        TrainingError: frames, poses and voice do not fit together, the size is no multiple of 8, or the VAE returns
            NaN or latents of another shape than the model's.
        PoseError: no head-to-waist square can be cut, or a clip with few hands shows no face.
        OutputError: a file cannot be written.
    """
    if abs(speech.fps - poses.fps) > 1e-6:
        raise TrainingError(
            f"the poses have {poses.fps:g} frames a second and the voice was encoded for {speech.fps:g}: "
            "use one rate for both"
        )
    if size % 8:
        raise TrainingError(f"the size must be a multiple of 8 pixels, as the VAE works in blocks of 8; it is {size}")
    count = min(len(poses), len(speech))
    headshot = is_headshot(poses, PrepareSettings())
    placed = place_head(poses, size) if headshot else place_body(poses, size)
    box = placed.box
    record = ClipRecord(
        file_name=f"{name}.mp4",
        audio="",
        poses=f"{name}.poses.safetensors",
        frames=count,
        fps=poses.fps,
        size=size,
        headshot=headshot,
        head_box=(box.left, box.top, box.right, box.bottom),
        latents=f"{name}{CACHE_ENDING}",
        source=poses.info.get("source", ""),
    )
    if all((folder / file).is_file() for file in (record.file_name, record.poses, record.latents)):
        return record
    latents, done = [], 0

    def cut_and_encode() -> Iterator[np.ndarray]:
        nonlocal done
        for part in batched(islice(frames, count)):
            cut = np.stack([placed.cut(picture) for picture in part])
            encoded = encode(torch.from_numpy(cut).permute(0, 3, 1, 2)).float().cpu()
            if encoded.shape[1:] != (4, size // 8, size // 8):
                raise TrainingError(
                    f"the VAE makes latents of {list(encoded.shape[1:])} of a picture, but the model's are "
                    f"{[4, size // 8, size // 8]}: connect a Stable Diffusion 1.5 VAE"
                )
            if not encoded.isfinite().all():
                raise TrainingError("the VAE returned NaN or infinite values: use bfloat16 or float32 for it")
            latents.append(encoded)
            done += len(cut)
            if on_frame is not None:
                on_frame(done, count)
            yield cut
        if done < count:
            raise TrainingError(
                f"there are {done} frames, but {len(poses)} poses: take the poses of the same frames "
                "(EchoMimic Extract Pose)"
            )

    write_video(folder / record.file_name, cut_and_encode(), poses.fps, crf=6)
    save_poses(placed.poses.take(range(count)), folder / record.poses, precision="float32")
    tensors = {"latents": torch.cat(latents), "steps": speech.steps}
    write_safetensors(folder / record.latents, tensors, {"format": "pt", "source": record.file_name})
    return record


def batched(frames: Iterable[np.ndarray]) -> Iterator[list[np.ndarray]]:
    """Frames in lists of `FRAMES_AT_ONCE`, the last one shorter."""
    rest = iter(frames)
    while part := list(islice(rest, FRAMES_AT_ONCE)):
        yield part


def write_data_folder(folder: Path, records: Iterable[ClipRecord]) -> Path:
    """A data folder of clips that lie in its neighbour `clips`."""
    folder.mkdir(parents=True, exist_ok=True)
    lines = []
    for record in records:
        names = {"file_name": record.file_name, "poses": record.poses, "latents": record.latents}
        moved = {key: f"../clips/{value}" for key, value in names.items()}
        lines.append(ClipRecord(**{**vars(record), **moved}).to_json() + "\n")
    write_text(folder / METADATA, "".join(lines))
    return folder
