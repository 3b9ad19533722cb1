"""What preparation made of each video: clips, refusals, and the files that keep both."""

from __future__ import annotations

import json
import logging
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path

from ..errors import TrainingError
from ..files.text import read_json
from .records import METADATA, ClipRecord
from .run_folder import write_text

logger = logging.getLogger("echomimic")


@dataclass(frozen=True)
class Refusal:
    """A part of a video that is not used, and why.

    Attributes:
        video: the file's name.
        seconds: where in it.
        reason: a sentence.
        picture: a small picture of it in the data folder, or "".
    """

    video: str
    seconds: tuple[float, float]
    reason: str
    picture: str = ""


@dataclass(frozen=True)
class VideoResult:
    """The result of one video; kept as JSON."""

    video: str
    clips: list[ClipRecord] = field(default_factory=list)
    refusals: list[Refusal] = field(default_factory=list)

    def to_json(self) -> str:
        return json.dumps(asdict(self), ensure_ascii=False)


def write_metadata(output: Path, results: Sequence[VideoResult]) -> None:
    """`metadata.jsonl` of all clips so far, and `refused.jsonl` of what was left out."""
    clips = []
    for clip in (clip for result in results for clip in result.clips):
        cached = (output / clip.latents_name).is_file()
        clips.append(replace(clip, latents=clip.latents_name if cached else "").to_json())
    refused = [json.dumps(asdict(one), ensure_ascii=False) for result in results for one in result.refusals]
    write_text(output / METADATA, "".join(f"{line}\n" for line in clips))
    write_text(output / "refused.jsonl", "".join(f"{line}\n" for line in refused))


def unlisted_clips(output: Path, notes: Path, listed: Sequence[VideoResult]) -> list[str]:
    """Names of the clips that earlier runs made in `output`, that are still there, and that are not `listed`.

    Args:
        output: the data folder.
        notes: the folder of the videos' results.
        listed: what `metadata.jsonl` has.
    """
    known = {clip.file_name for result in listed for clip in result.clips}
    earlier = [done for path in sorted(notes.glob("*.json")) if (done := read_result(path)) is not None]
    names = dict.fromkeys(clip.file_name for result in earlier for clip in result.clips)
    return [name for name in names if name not in known and (output / name).is_file()]


def read_result(path: Path) -> VideoResult | None:
    """A video's result from an earlier run; None where it was damaged since, so that the video is done again."""
    try:
        content = read_json(path, TrainingError)
        clips = [ClipRecord(**clip) for clip in content["clips"]]
        refusals = [
            Refusal(one["video"], tuple(one["seconds"]), one["reason"], str(one.get("picture", "")))
            for one in content["refusals"]
        ]
        return VideoResult(str(content["video"]), clips, refusals)
    except Exception as error:  # the note may hold anything that JSON can
        logger.warning("%s, notes of an earlier run on a video, are damaged and left out (%s)", path, error)
        return None
