"""Prepared clips on disk.

A data folder follows the Hub's convention: `metadata.jsonl` with one line a clip, whose `file_name` is the video;
poses, sound and cached latents lie beside it.
"""

from __future__ import annotations

import json
import math
from collections.abc import Iterable
from dataclasses import asdict, dataclass, fields
from pathlib import Path

from ..errors import TrainingError
from ..files.fingerprint import hash_text
from ..files.text import read_text

METADATA = "metadata.jsonl"
CACHE_ENDING = ".latents.safetensors"
# Says which files are the data set's, so that `datasets.load_dataset(FOLDER)` takes the videos for what they are; by
# itself it would take the folder for one of sounds.
CARD = """---
configs:
- config_name: default
  data_files:
  - split: train
    path: ["clips/*.mp4", "metadata.jsonl"]
---
Clips of speaking people: videos, 16 kHz sound and DWPose keypoints, made by `python -m echomimic prepare`.
"""


@dataclass(frozen=True)
class ClipRecord:
    """A line of `metadata.jsonl`. File names are relative to the data folder.

    Attributes:
        file_name: the video, square, without sound.
        audio: 16 kHz mono WAV.
        poses: the keypoints, one a frame.
        frames, fps, size: of the video.
        headshot: whether it shows a head only, padded to a half-body picture.
        head_box: the part that the headshot covers: left, top, right, bottom in fractions of the picture.
        latents: cached VAE latents (`latents [F, 4, h, w]`, scaled) and speech features (`steps`), or "".
        source: the video that it was cut from, and where.
    """

    file_name: str
    audio: str
    poses: str
    frames: int
    fps: float
    size: int
    headshot: bool = False
    head_box: tuple[float, float, float, float] = (0.0, 0.0, 1.0, 1.0)
    latents: str = ""
    source: str = ""

    def __post_init__(self) -> None:
        object.__setattr__(self, "head_box", tuple(self.head_box))

    @property
    def latents_name(self) -> str:
        """Where the cached latents lie, if they do."""
        return str(Path(self.file_name).with_suffix(CACHE_ENDING).as_posix())

    def to_json(self) -> str:
        return json.dumps({**asdict(self), "head_box": list(self.head_box)}, ensure_ascii=False)


def clips_digest(records: Iterable[ClipRecord]) -> str:
    """Names a data folder's clips and their order, wherever they lie and whether their latents are cached."""
    names = ("file_name", "audio", "poses")
    facts = [
        [*(Path(getattr(one, name)).name for name in names), one.frames, one.fps, one.size, one.headshot, *one.head_box]
        for one in records
    ]
    return hash_text(json.dumps(facts))[:16]


def read_records(folder: Path) -> list[ClipRecord]:
    """The clips of a data folder.

    Raises:
        TrainingError: there are none, a line is invalid, or a file that it names is missing; names the line.
    """
    path = folder / METADATA
    if not path.is_file():
        raise TrainingError(f"{folder} holds no {METADATA}: make it with `python -m echomimic prepare VIDEOS --output`")
    known = {field.name for field in fields(ClipRecord)}
    records = []
    for number, line in enumerate(read_text(path, TrainingError).split("\n"), 1):
        if not line.strip():
            continue
        try:
            content = json.loads(line)
            record = ClipRecord(**{key: value for key, value in content.items() if key in known})
            texts = (record.file_name, record.audio, record.poses, record.latents)
            if not all(isinstance(text, str) for text in texts):
                raise ValueError("names of files must be texts")
            numbers = (record.frames, record.size)
            if not all(type(value) is int and value > 0 for value in numbers) or not 0 < record.fps < math.inf:
                raise ValueError(f"frames, size and fps must be above 0: {record.frames}, {record.size}, {record.fps}")
            if len(record.head_box) != 4:
                raise ValueError(f"head_box has {len(record.head_box)} numbers, not 4")
        except Exception as error:  # the line may hold anything that JSON can
            raise TrainingError(f"line {number} of {path} is invalid: {error}") from error
        missing = [
            name for name in (record.file_name, record.audio, record.poses, record.latents)
            if name and not (folder / name).is_file()
        ]  # fmt: skip
        if missing:
            raise TrainingError(
                f"line {number} of {path} names {missing[0]}, which is not there: prepare the data again"
            )
        records.append(record)
    if not records:
        raise TrainingError(f"{path} lists no clip: every video was refused, see report.html beside it")
    return records
