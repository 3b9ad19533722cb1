"""Fixtures that the tests share."""

from __future__ import annotations

import logging
import os
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
# Two processes that fill numba's cache of librosa's functions at once crash (a fresh environment under pytest-xdist):
# each gets its own, and hands it to the programs it starts. It has to be set before numba is imported.
if "PYTEST_XDIST_WORKER" in os.environ:
    os.environ["NUMBA_CACHE_DIR"] = str(ROOT / ".pytest_cache" / f"numba-{os.environ['PYTEST_XDIST_WORKER']}")

from tests.pack import pack  # noqa: F401 - a fixture
from tests.pose_commands import image, out, portrait  # noqa: F401 - fixtures
from tests.small_bundle import write_small_bundle


@pytest.fixture(autouse=True)
def log_level_stays() -> Iterator[None]:
    """The command line sets the logger's level for its process, and with `--quiet` hides what later tests look for."""
    logger = logging.getLogger("echomimic")
    before = logger.level
    yield
    logger.setLevel(before)


@pytest.fixture(scope="session")
def small_bundle(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A bundle of small networks with drawn weights; see `tests.small_bundle`."""
    path = tmp_path_factory.mktemp("small") / "small_bundle.safetensors"
    write_small_bundle(path)
    return path


@pytest.fixture(scope="session")
def shared() -> Path:
    """The folder with the demo inputs of the published model, which are not ours to ship; a clone does not have it."""
    folder = Path(os.environ.get("ECHOMIMIC_SHARED", ROOT.parent / "shared"))
    if not (folder / "assets").is_dir():
        pytest.skip(
            "needs the published demo's portraits, voices and clips: set ECHOMIMIC_SHARED to the folder with assets/"
        )
    return folder
