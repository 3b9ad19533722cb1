"""The sample pictures, voices and videos in ComfyUI's input folder, so that the workflows run at once."""

from __future__ import annotations

import json
import logging
import shutil
from pathlib import Path

import folder_paths

from ..echomimic.files.atomic import atomic_write
from ..echomimic.files.fingerprint import hash_file
from .folders import ASSETS

logger = logging.getLogger("echomimic")

# Each sample's file, and the SHA-256 of every content that it has shipped with, the present one last.
VERSIONS = ASSETS / "samples.json"


def offer_samples() -> None:
    """Copy the samples that are not there, and renew copies of earlier versions: the workflows' marks belong to the
    pictures that ship. A file that a person has changed, or put there, stays."""
    for name, versions in json.loads(VERSIONS.read_text(encoding="utf-8")).items():
        target = Path(folder_paths.get_input_directory(), f"echomimic_{name}")
        try:
            earlier = versions[:-1]
            if not target.exists() or (earlier and hash_file(target) in earlier):
                with atomic_write(target) as temporary:
                    shutil.copyfile(ASSETS / name, temporary)
        except OSError as error:
            # A read-only installation: the nodes work without.
            logger.warning("the sample input %s is not offered: %s", name, error)
