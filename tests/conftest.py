"""What the tests share: the folder of golden data and real inputs, when it is there."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from tests.pack import pack  # noqa: F401 - a fixture
from tests.pose_commands import image, out, portrait  # noqa: F401 - fixtures

ROOT = Path(__file__).resolve().parents[1]


@pytest.fixture(scope="session")
def shared() -> Path:
    """The folder with the original's outputs and real inputs; a user's clone does not have it."""
    folder = Path(os.environ.get("ECHOMIMIC_SHARED", ROOT.parent / "shared"))
    if not (folder / "golden").is_dir():
        pytest.skip(f"no golden data: {folder.name}/golden is not beside the checkout (set ECHOMIMIC_SHARED)")
    return folder
