"""Draw `assets/portrait.png`: the drawn person whom the demo makes speak, in the framing of the published model.

    python -m assets.scripts.draw_portrait

Drawn by the generator of the demo's training people (`assets/scripts/people`), which never draws this person for
training. Arms and hands stand where the clip `idle` has them in its first frame, so the picture fits every clip of the
library. Run it after `make_clips.py`.
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


def main() -> None:
    person = portrait_person()
    points = retarget(load_poses(ASSETS / "clips" / "idle.safetensors").take([0]), person)[0]
    picture = draw_frame(person, points, Mouth(), size=SIDE).picture
    Image.fromarray(picture).save(ASSETS / "portrait.png", optimize=True)


if __name__ == "__main__":
    main()
