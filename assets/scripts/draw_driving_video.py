"""Draw `assets/driving.mp4`: a drawn person who gestures and speaks, for templates that take poses out of a video or
train on one.

The people generator draws it from one of the clips that ship, with a person whom no network here has been trained on;
the lips follow the voice. Needs espeak-ng. Run it with `python -m assets.scripts.draw_driving_video`, after
`make_clips.py`.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch

from echomimic.media.video_writer import write_video
from echomimic.media.waveform import SAMPLE_RATE
from echomimic.pose import load_poses

from .people.clips import CLIPS, draw_clip
from .people.looks import HELD_OUT_SEEDS, person
from .people.motion import blinks
from .people.visemes import mouth_at_frames
from .people.voices import Voice, speak

OUTPUT = CLIPS.parent / "driving.mp4"
CLIP, FRAMES, SIZE = "presenting", 96, 384
# H.264's quality: the picture is flat, so this is small and clean.
CRF = 24
TEXT = "This is how I speak, and this is how I move my hands. Now it is your turn."
VOICE = Voice("en-us", "f3", speed=185)


def draw(output: Path = OUTPUT, frames: int = FRAMES) -> Path:
    """Write the video."""
    rng = np.random.default_rng(4)
    poses = load_poses(CLIPS / f"{CLIP}.safetensors").take(np.arange(frames))
    speech = speak(TEXT, VOICE)
    mouth = mouth_at_frames(speech.track, frames, poses.fps)
    clip = draw_clip(person(HELD_OUT_SEEDS.start), poses, mouth, SIZE, blinks(rng, frames, poses.fps))
    sound = torch.from_numpy(speech.samples)[None], SAMPLE_RATE
    return write_video(output, [clip.frames], poses.fps, audio=sound, crf=CRF)


if __name__ == "__main__":
    print(f"{draw()}: {OUTPUT.stat().st_size} bytes")
