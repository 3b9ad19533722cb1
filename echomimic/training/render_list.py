"""A table for `batch` that renders prepared clips again, each from its own first frame, sound and poses."""

from __future__ import annotations

import csv
import io
from pathlib import Path

from ..audio import frames_needed, read_audio
from ..media.video_writer import write_picture
from .clip_files import read_clip_frames
from .records import read_records
from .run_folder import write_text


def write_render_list(data: Path, made: Path) -> Path:
    """Write `renders.csv` into the data folder, and each clip's first frame beside its video.

    Args:
        data: as `prepare` made it.
        made: where `batch` will put the renders, under the clips' names.

    Raises:
        TrainingError, OutputError: clips cannot be read, or files not written.
    """
    table = io.StringIO()
    writer = csv.writer(table)
    writer.writerow(["image", "audio", "pose", "output", "width", "height", "frames"])
    for record in read_records(data):
        picture = Path(record.file_name).with_suffix(".first.png")
        write_picture(data / picture, read_clip_frames(data / record.file_name, [0])[0])
        output = made.absolute() / Path(record.file_name).name
        # Sound of data that an earlier version prepared may end before the pictures.
        frames = record.frames
        if record.audio:
            frames = min(frames, frames_needed(*read_audio(data / record.audio), record.fps))
        writer.writerow([picture, record.audio, record.poses, output, record.size, record.size, frames])
    path = data / "renders.csv"
    write_text(path, table.getvalue())
    return path
