"""Writes `web/clips`: each clip that ships as a small moving picture, for the lists of the nodes.

python assets/scripts/make_clip_pictures.py [NAME ...]
"""

from __future__ import annotations

import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT))

from echomimic.pose import PoseSequence, load_poses  # noqa: E402
from echomimic.pose.drawing.preview import animated_preview  # noqa: E402

SIDE = 128
# Every n-th frame: pictures of a list need not be smooth.
EVERY = 3


def write_moving_picture(clip: PoseSequence, path: Path) -> None:
    """The hands in the model's colours over a grey figure, at the clip's own speed."""
    part = clip.take(range(0, len(clip), EVERY))
    animated_preview(PoseSequence(part.keypoints, part.scores, clip.fps / EVERY, part.canvas), path, SIDE)


def main() -> None:
    for path in sorted((ROOT / "assets" / "clips").glob("*.safetensors")):
        if not sys.argv[1:] or path.stem in sys.argv[1:]:
            write_moving_picture(load_poses(path), ROOT / "web" / "clips" / f"{path.stem}.webp")


if __name__ == "__main__":
    main()
