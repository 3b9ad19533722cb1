"""`python -m echomimic pose` as its tests run it."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from echomimic.cli.main import main
from echomimic.pose import PoseSequence, save_poses
from tests.portraits import marked_portrait

ASSETS = Path(__file__).resolve().parents[1] / "assets"
WAVING, IDLE = (str(ASSETS / "clips" / f"{name}.safetensors") for name in ("waving", "idle"))
SPEECH, PORTRAIT = str(ASSETS / "speech.wav"), str(ASSETS / "portrait.png")
POINTS = ["520,248", "515,489", "303,489", "727,489", "722,730"]


def pose(*arguments: object) -> int:
    """Run a pose command; argparse's own refusals give their exit code too."""
    try:
        return main(["pose", *map(str, arguments)])
    except SystemExit as stopped:
        return int(stopped.code or 0)


def same(a: PoseSequence, b: PoseSequence) -> bool:
    return (
        np.array_equal(a.keypoints, b.keypoints)
        and np.array_equal(a.scores, b.scores)
        and (a.fps, a.canvas) == (b.fps, b.canvas)
    )


def picture(path: Path) -> np.ndarray:
    return np.asarray(Image.open(path).convert("RGB"))


@pytest.fixture
def out(tmp_path: Path) -> Path:
    """A folder that is not there yet, for outputs only."""
    return tmp_path / "new" / "out"


@pytest.fixture
def portrait(tmp_path: Path) -> Path:
    return save_poses(marked_portrait("0077"), tmp_path / "portrait.safetensors")


@pytest.fixture
def image(tmp_path: Path) -> Path:
    """A picture of the shape of the marked portraits."""
    path = tmp_path / "portrait.png"
    Image.fromarray(np.full((256, 256, 3), 200, np.uint8)).save(path)
    return path
