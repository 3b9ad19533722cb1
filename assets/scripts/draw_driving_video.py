"""Draw `assets/driving.mp4`: a drawn person who gestures, for templates that take poses out of a video.

The people generator draws it from one of the clips that ship, with a person whom no network here has been trained on.
Run it with `python -m assets.scripts.draw_driving_video`, after `make_clips.py`.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np

from echomimic.media.video_writer import write_video
from echomimic.pose import load_poses

from .people.clips import CLIPS, draw_clip, random_mouth
from .people.looks import HELD_OUT_SEEDS, person
from .people.motion import blinks

OUTPUT = CLIPS.parent / "driving.mp4"
CLIP, FRAMES, SIZE = "presenting", 96, 384
# H.264's quality: the picture is flat, so this is small and clean.
CRF = 24


def draw(output: Path = OUTPUT, frames: int = FRAMES) -> Path:
    """Write the video."""
    rng = np.random.default_rng(4)
    poses = load_poses(CLIPS / f"{CLIP}.safetensors").take(np.arange(frames))
    mouth = random_mouth(rng, frames)
    clip = draw_clip(person(HELD_OUT_SEEDS.start), poses, mouth, SIZE, blinks(rng, frames, poses.fps))
    return write_video(output, [clip.frames], poses.fps, crf=CRF)


if __name__ == "__main__":
    print(f"{draw()}: {OUTPUT.stat().st_size} bytes")
