"""What preparation kept and refused, on one HTML page."""

from __future__ import annotations

import base64
import html
import io
import re
from collections import Counter
from pathlib import Path

import numpy as np
from PIL import Image

from ..pose import load_poses
from .clip_files import read_clip_frames
from .pose_pictures import draw_pose_parts
from .run_folder import write_text
from .video_results import Refusal, VideoResult

THUMBNAIL = 192
PAGE = """<!doctype html><html lang="en"><meta charset="utf-8"><title>Prepared clips</title>
<style>
body {{ font: 15px/1.5 system-ui, sans-serif; margin: 2rem; background: #f6f6f4; color: #222 }}
.clips {{ display: grid; grid-template-columns: repeat(auto-fill, minmax(400px, 1fr)); gap: 12px }}
figure {{ margin: 0; background: #fff; border: 1px solid #ddd; border-radius: 6px; padding: 8px }}
figure img {{ width: 100%; display: block }} figcaption {{ font-size: 13px; overflow-wrap: anywhere }}
table {{ border-collapse: collapse; background: #fff }}
td, th {{ border: 1px solid #ddd; padding: 4px 10px; text-align: left }}
.part {{ white-space: nowrap }}
td img {{ display: block; max-height: 96px }}
.head {{ color: #a50 }}
</style>
<h1>{clips}, {minutes:.1f} minutes</h1>
<p>Headshots among them: {heads}. Of {videos}, {refusals} refused.</p>
<div class="clips">{figures}</div>
<h2>Refused</h2>{reasons}
<table><tr><th></th><th>video</th><th>seconds</th><th>reason</th></tr>{rows}</table></html>
"""


def write_report(folder: Path, results: list[VideoResult]) -> Path:
    """`report.html`: three frames of every clip with its pose pictures, and what was refused and why."""
    clips = [clip for result in results for clip in result.clips]
    refusals = [refusal for result in results for refusal in result.refusals]
    figures = []
    for clip in clips:
        numbers = [0, clip.frames // 2, clip.frames - 1]
        pictures = read_clip_frames(folder / clip.file_name, numbers, THUMBNAIL)
        poses = load_poses(folder / clip.poses)
        drawn = draw_pose_parts(poses, numbers, THUMBNAIL, THUMBNAIL, ("body", "head", "lips", "hands"))
        sheet = np.concatenate([np.concatenate(pictures, axis=1), np.concatenate(list(drawn), axis=1)])
        kind = ' <span class="head">headshot</span>' if clip.headshot else ""
        figures.append(
            f'<figure><img src="{data_address(sheet)}" alt=""><figcaption>{html.escape(clip.file_name)}{kind}<br>'
            f"{clip.frames / clip.fps:.1f} s of {html.escape(clip.source)}</figcaption></figure>"
        )
    rows = "".join(
        f"<tr><td>{refused_picture(folder, one)}</td><td>{html.escape(one.video)}</td>"
        f"<td class='part'>{where(one)}</td><td>{html.escape(one.reason)}</td></tr>"
        for one in refusals
    )
    counts = Counter(kind_of(one.reason) for one in refusals)
    reasons = "".join(f"<li>{count} x {html.escape(reason)}</li>" for reason, count in counts.most_common())
    path = folder / "report.html"
    page = PAGE.format(
        clips=counted(len(clips), "clip"),
        minutes=sum(clip.frames / clip.fps for clip in clips) / 60,
        heads=sum(clip.headshot for clip in clips),
        videos=counted(len(results), "video"),
        refusals=f"{counted(len(refusals), 'part')} {'was' if len(refusals) == 1 else 'were'}",
        figures="".join(figures),
        reasons=f"<ul>{reasons}</ul>",
        rows=rows,
    )
    write_text(path, page)
    return path


def counted(number: int, name: str) -> str:
    """A number of things, in words."""
    return f"{number} {name}" if number == 1 else f"{number} {name}s"


def kind_of(reason: str) -> str:
    """A reason without its particulars."""
    return re.sub(r"\d[\d.]*", "…", reason.split(" (")[0].split(":")[0])


def refused_picture(folder: Path, refusal: Refusal) -> str:
    """An image element of a refused part; nothing where it has no picture."""
    path = folder / refusal.picture
    if not refusal.picture or not path.is_file():
        return ""
    return f'<img src="data:image/jpeg;base64,{base64.b64encode(path.read_bytes()).decode()}" alt="">'


def where(refusal: Refusal) -> str:
    """The part of the video, in seconds."""
    begin, end = refusal.seconds
    return f"{begin:.1f} to {end:.1f}" if end > 0 else "all"


def data_address(picture: np.ndarray) -> str:
    """A picture inside a page, as JPEG."""
    buffer = io.BytesIO()
    Image.fromarray(picture).save(buffer, "JPEG", quality=80)
    return f"data:image/jpeg;base64,{base64.b64encode(buffer.getvalue()).decode()}"
