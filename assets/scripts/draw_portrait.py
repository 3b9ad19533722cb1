"""Draw `assets/portrait.png`: a half-body portrait in the framing of the published model.

One of the drawn people that the demo's model learns from, but one that training never sees. Arms and hands stand where
the clip `idle` has them in its first frame, so the picture fits every clip of the library. Run it with
`python -m assets.scripts.draw_portrait`, after `make_clips.py`.
"""

from __future__ import annotations

from pathlib import Path

from PIL import Image

from echomimic.pose import load_poses

from .people.figure import draw_frame
from .people.looks import portrait_person
from .people.motion import Mouth, retarget

ASSETS = Path(__file__).resolve().parents[1]
SIDE = 768
# Closed and friendly.
SMILE = Mouth(0.0, 0.62, 0.0)


def main() -> None:
    who = portrait_person()
    points = retarget(load_poses(ASSETS / "clips" / "idle.safetensors"), who)[0]
    Image.fromarray(draw_frame(who, points, SMILE, 0.0, SIDE).picture).save(ASSETS / "portrait.png", optimize=True)


if __name__ == "__main__":
    main()
