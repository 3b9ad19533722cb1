"""Makes workflows/*.json and their thumbnails, and the blueprints in subgraphs/.

    python assets/scripts/make_workflows.py

Drawn by a script, so that all of them look alike and a changed node is changed in one place.
"""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
from PIL import Image, ImageSequence
from workflow_basics import demo, from_text, long_audio
from workflow_blueprint import accelerated, blueprint, standard
from workflow_native import native, retake
from workflow_people import full_body, person, two_people
from workflow_poses import own_gestures, retargeted, voice_only
from workflow_training import avatar

ROOT = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT))

from echomimic.media.pictures import read_image  # noqa: E402
from echomimic.pose import draw_poses, load_poses  # noqa: E402
from echomimic.pose.drawing.overlay import overlay_poses  # noqa: E402
from echomimic.pose.fitting.framing import frame_portrait  # noqa: E402

FOLDER = ROOT / "workflows"
# What the template itself makes, so that it is known among the others.
DEMO = "demo.webp"
# The clip, or moving picture, and its frames of the thumbnail; without frames, the picture that it shows.
WORKFLOWS = {
    accelerated: ("explaining", [20]),
    standard: ("presenting", [40]),
    voice_only: ("emphasis_beats", [12, 30, 48, 66]),
    own_gestures: ("waving", [30]),
    retargeted: ("pointing", [30]),
    from_text: ("open_palms", [30]),
    long_audio: ("small_talk", [10, 40, 70, 100]),
    native: ("counting", [30]),
    retake: ("weighing", [30]),
    full_body: ("full_body.png", []),
    two_people: ("two_people.png", []),
    avatar: ("hand_on_heart", [12, 30, 48, 66]),
    demo: (DEMO, [20, 44, 66, 92]),
}

BLUEPRINTS = [blueprint, person]


def thumbnail(clip: str, frames: list[int]) -> Image.Image:
    """The portrait with a clip's hands on it, or the demo's frames, 512 x 512; of four frames, four small pictures; of
    none, a sample picture."""
    if not frames:
        picture = read_image(ROOT / "assets" / clip)
        return Image.fromarray(frame_portrait(picture, 512, 512, framing="whole picture", fill="blur").image)
    side = 512 if len(frames) == 1 else 256
    tiles = demo_frames(frames, side) if clip == DEMO else portrait_with_hands(clip, frames, side)
    if len(frames) == 1:
        return Image.fromarray(tiles[0])
    return Image.fromarray(np.concatenate([np.concatenate(tiles[:2], axis=1), np.concatenate(tiles[2:], axis=1)]))


def demo_frames(frames: list[int], side: int) -> np.ndarray:
    """Some frames of the README's moving picture, `[n, side, side, 3]`."""
    with Image.open(ROOT / "web" / "images" / DEMO) as moving:
        pictures = [frame.convert("RGB").resize((side, side)) for frame in ImageSequence.Iterator(moving)]
    return np.stack([np.asarray(pictures[number]) for number in frames])


def portrait_with_hands(clip: str, frames: list[int], side: int) -> np.ndarray:
    """The sample portrait under some frames of a clip, `[n, side, side, 3]`."""
    portrait = np.asarray(
        Image.fromarray(read_image(ROOT / "assets" / "portrait.png")).resize((side, side), Image.LANCZOS)
    )
    poses = load_poses(ROOT / "assets" / "clips" / f"{clip}.safetensors")
    return overlay_poses(draw_poses(poses, frames, side, side), portrait)


def main() -> None:
    FOLDER.mkdir(exist_ok=True)
    for whole in BLUEPRINTS:
        whole().write_blueprint(ROOT / "subgraphs")
    for make, (clip, frames) in WORKFLOWS.items():
        flow = make()
        flow.write(FOLDER)
        thumbnail(clip, frames).save(FOLDER / f"{flow.name}.jpg", quality=85)


if __name__ == "__main__":
    main()
