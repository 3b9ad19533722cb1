"""Tests one mutant: runs the fast tests of the folder that cosmic-ray has changed."""

from __future__ import annotations

import subprocess
import sys

TESTS = {
    "echomimic/sampling/": (
        "test_sampling.py",
        "test_sampling_approximations.py",
        "test_sampling_inputs.py",
        "test_sampling_schedule.py",
        "test_runtime_plan.py",
    ),
    "echomimic/audio/": ("test_audio.py",),
    "echomimic/vae/": ("test_vae.py",),
    "echomimic/media/": ("test_media_video_writer.py",),
    "echomimic/pose/": ("test_pose_drawing.py",),
}


def main() -> int:
    changed = subprocess.run(["git", "diff", "--name-only"], capture_output=True, text=True, check=True).stdout
    files = [f"tests/{name}" for folder, names in TESTS.items() if folder in changed for name in names]
    options = ["-x", "-q", "-p", "no:cacheprovider", "-m", "not slow"]
    return subprocess.run([sys.executable, "-m", "pytest", *options, *files]).returncode


if __name__ == "__main__":
    sys.exit(main())
