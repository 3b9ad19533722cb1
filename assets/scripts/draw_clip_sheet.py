"""Draws `web/images/clips.png`: the thumbnails of the clips that ship, with their names, for the README.

python assets/scripts/draw_clip_sheet.py
"""

from __future__ import annotations

from pathlib import Path

from PIL import Image, ImageDraw

ROOT = Path(__file__).resolve().parents[2]
COLUMNS = 8
LABEL = 26


def main() -> None:
    pictures = {path.stem.replace("_", " "): Image.open(path) for path in sorted((ROOT / "assets/clips").glob("*.jpg"))}
    width, height = next(iter(pictures.values())).size
    rows = -(-len(pictures) // COLUMNS)
    sheet = Image.new("RGB", (width * COLUMNS, (height + LABEL) * rows), "#121214")
    draw = ImageDraw.Draw(sheet)
    for number, (name, picture) in enumerate(pictures.items()):
        x, y = number % COLUMNS * width, number // COLUMNS * (height + LABEL)
        sheet.paste(picture, (x, y))
        draw.text((x + width / 2, y + height + LABEL / 2), name, fill="#dcdce0", anchor="mm", font_size=15)
    sheet.save(ROOT / "web/images/clips.png", optimize=True)


if __name__ == "__main__":
    main()
