"""Makes the README's pictures of a fit and of gestures under the voice, from what ships.

python assets/scripts/draw_fit_pictures.py
"""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
from PIL import Image

ROOT = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT))

from echomimic.audio import read_audio  # noqa: E402
from echomimic.media.pictures import read_image  # noqa: E402
from echomimic.pose.drawing.fit_overlay import draw_fit  # noqa: E402
from echomimic.pose.drawing.preview import speed_plot  # noqa: E402
from echomimic.pose.fitting.linear import portrait_from_points  # noqa: E402
from echomimic.pose.fitting.portrait import fit_to_portrait  # noqa: E402
from echomimic.pose.gestures import generate_gestures  # noqa: E402

FOLDER = ROOT / "web" / "images"
# In the portrait that ships: nose, neck, right and left shoulder, right wrist, in pixels.
MARKS = ((386, 174), (383, 377), (241, 376), (525, 376), (279, 685))
PICTURES, SIDE = 4, 320


def main() -> None:
    waveform, rate = read_audio(ROOT / "assets" / "speech.wav")
    image = Image.fromarray(read_image(ROOT / "assets" / "portrait.png"))
    gestures = generate_gestures(waveform, rate)
    fit = fit_to_portrait(gestures, portrait_from_points(image.size, *MARKS))
    frames = np.linspace(0, len(gestures) - 1, PICTURES + 2).round().astype(int)[1:-1]
    pictures = draw_fit(fit.sequence, frames, np.asarray(image.resize((SIDE, SIDE))), fit.portrait)
    Image.fromarray(np.concatenate(pictures, axis=1)).save(FOLDER / "fit.png", optimize=True)
    plot = Image.fromarray(speed_plot(fit.sequence, waveform, rate))
    plot.quantize(64).save(FOLDER / "voice_plot.png", optimize=True)
    print(fit.report)


if __name__ == "__main__":
    main()
