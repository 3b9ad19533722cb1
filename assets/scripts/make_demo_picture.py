"""Makes the README's moving picture, `web/images/demo.webp`, of the demo's video.

python -m echomimic demo && python -m assets.scripts.make_demo_picture demo.mp4
"""

from __future__ import annotations

import argparse
from pathlib import Path

from PIL import Image

from echomimic.media.video_reader import open_video

OUTPUT = Path(__file__).resolve().parents[2] / "web" / "images" / "demo.webp"
SIDE = 384


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("video", type=Path)
    options = parser.parse_args()
    with open_video(options.video) as video:
        duration = round(1000 / video.rate)
        frames = [Image.fromarray(frame.picture).resize((SIDE, SIDE), Image.LANCZOS) for frame in video.frames()]
    frames[0].save(
        OUTPUT, save_all=True, append_images=frames[1:], duration=duration, loop=0, quality=75, method=6
    )  # fmt: skip
    print(f"{OUTPUT}: {len(frames)} frames, {OUTPUT.stat().st_size} bytes")


if __name__ == "__main__":
    main()
