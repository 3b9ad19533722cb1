"""What users install changes nothing that a ComfyUI environment has."""

from __future__ import annotations

import json
import subprocess
import sys

import pytest

from tests.conftest import ROOT

OFFLINE = (
    "Could not fetch",
    "Connection",
    "Temporary failure",
    "No matching distribution found for torch",
    "Max retries",
)


def test_requirements_move_no_package_of_a_comfyui_environment(shared, tmp_path):
    environment = shared / "tools" / "comfyui-environment.txt"
    report = tmp_path / "report.json"
    # As constraints, the environment's exact versions leave pip no choice but to keep them or to fail.
    pip = [
        sys.executable,
        "-m",
        "pip",
        "install",
        "--dry-run",
        "--ignore-installed",
        "--quiet",
        "--report",
        str(report),
    ]
    command = [*pip, "-r", str(ROOT / "requirements.txt"), "-c", str(environment)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=600)
    if done.returncode and any(sign in done.stderr for sign in OFFLINE):
        pytest.skip("the package index cannot be reached")
    assert done.returncode == 0, done.stderr

    pinned = dict(line.split("==") for line in environment.read_text().splitlines() if "==" in line)
    pinned = {name.lower().replace("_", "-"): version for name, version in pinned.items()}
    chosen = {
        item["metadata"]["name"].lower().replace("_", "-"): item["metadata"]["version"].split("+")[0]
        for item in json.loads(report.read_text())["install"]
    }
    assert {"torch", "diffusers", "librosa", "opencv-python"} <= chosen.keys()
    moved = {name: version for name, version in chosen.items() if name in pinned and version != pinned[name]}
    assert not moved


def test_only_ranges_are_required():
    lines = [line.split("#")[0].strip() for line in (ROOT / "requirements.txt").read_text().splitlines()]
    names = [line for line in lines if line]
    assert names
    assert not [line for line in names if "==" in line or "<" in line or "@" in line]
