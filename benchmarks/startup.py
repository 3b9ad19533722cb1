"""How long ComfyUI's start is delayed by this pack: its import and its nodes' schemas, torch being there already.

    python -m benchmarks.startup [--runs 5]

Runs over the stand-ins for ComfyUI that the tests use, in a new process each time; prints the median of processor and
wall seconds.
"""

from __future__ import annotations

import argparse
import json
import statistics
import subprocess
import sys
from pathlib import Path

from benchmarks.setup import describe_machine

ROOT = Path(__file__).resolve().parents[1]
PROGRAM = f"""
import asyncio, importlib.util, json, sys, tempfile, time
from pathlib import Path
sys.path.insert(0, {str(ROOT / "tests" / "comfy_stub")!r})
import torch, PIL.Image, comfy.model_management, folder_paths
folder_paths.use(Path(tempfile.mkdtemp()))
processor, wall = time.process_time(), time.perf_counter()
spec = importlib.util.spec_from_file_location("pack", {str(ROOT / "__init__.py")!r})
module = importlib.util.module_from_spec(spec)
sys.modules["pack"] = module
spec.loader.exec_module(module)
extension = asyncio.run(module.comfy_entrypoint())
asyncio.run(extension.on_load())
for node in asyncio.run(extension.get_node_list()):
    node.GET_SCHEMA()
print(json.dumps([time.process_time() - processor, time.perf_counter() - wall]))
"""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--runs", type=int, default=5)
    arguments = parser.parse_args()
    print(json.dumps(describe_machine("cpu")))
    runs = [
        json.loads(subprocess.run([sys.executable, "-c", PROGRAM], capture_output=True, check=True, text=True).stdout)
        for _ in range(arguments.runs)
    ]
    processor, wall = (statistics.median(clock) for clock in zip(*runs))
    print(f"import and schemas: {processor:.2f} s of processor time, {wall:.2f} s wall")


if __name__ == "__main__":
    main()
