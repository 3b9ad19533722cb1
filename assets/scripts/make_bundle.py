"""Makes assets/demo_bundle.safetensors: small networks with weights drawn at random, for `make demo` and the tests.

    python assets/scripts/make_bundle.py

Nothing about it is trained, so what it makes is noise; but it has every part, every tensor name and the format of a
real bundle, and runs in seconds on a CPU. The weights come from the tests' recipe, so the file is the same each time.
"""

from __future__ import annotations

import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT))

from tests.small_bundle import write_small_bundle  # noqa: E402

OUTPUT = ROOT / "assets" / "demo_bundle.safetensors"


def main() -> None:
    write_small_bundle(OUTPUT, source="random weights, by assets/scripts/make_bundle.py")


if __name__ == "__main__":
    main()
