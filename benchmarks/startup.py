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


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--runs", type=int, default=5)
    arguments = parser.parse_args()
    print(json.dumps(describe_machine("cpu")))
    command = [sys.executable, "-m", "tests.import_pack"]
    runs = [
        json.loads(subprocess.run(command, cwd=ROOT, capture_output=True, check=True, text=True).stdout)
        for _ in range(arguments.runs)
    ]
    processor, wall = (statistics.median(run[clock] for run in runs) for clock in ("processor", "wall"))
    print(f"import and schemas: {processor:.2f} s of processor time, {wall:.2f} s wall")


if __name__ == "__main__":
    main()
