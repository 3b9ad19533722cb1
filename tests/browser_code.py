"""The pack's browser code in Node.js, with stand-ins for the frontend."""

from __future__ import annotations

import json
import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).resolve().parents[1]
NODE_JS = shutil.which("node")
APP = """
export const extensions = {};
export const app = { registerExtension: (given) => { extensions[given.name] = given; } };
"""
API = "export const api = { apiURL: (path) => path };"


def run_browser_code(folder: Path, script: str, given: Any) -> Any:
    """Run a script beside `web/js`, as the frontend serves it; what it reads from its input, and what it prints, is
    JSON. Skips the test where there is no Node.js."""
    if NODE_JS is None:
        pytest.skip("needs Node.js")
    shutil.copytree(ROOT / "web" / "js", folder / "extensions" / "echomimic" / "js", dirs_exist_ok=True)
    (folder / "scripts").mkdir(exist_ok=True)
    (folder / "scripts" / "app.js").write_text(APP)
    (folder / "scripts" / "api.js").write_text(API)
    (folder / "script.js").write_text(script)
    (folder / "package.json").write_text('{"type": "module"}')
    command = [NODE_JS, "script.js"]
    done = subprocess.run(command, cwd=folder, input=json.dumps(given), capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)
