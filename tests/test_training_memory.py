"""What training takes on a device, counted: the README's and the node's promise for a card of 12 GB."""

from __future__ import annotations

import subprocess
import sys

from tests.conftest import ROOT

PROGRAM = """
from benchmarks.train_memory import Step, count_step
for step in (Step("lora", 512, 12), Step("stage2", 512, 12)):
    print(count_step(step).total)
"""


def test_the_defaults_of_a_lora_fit_on_a_card_of_12_gb() -> None:
    # A process of its own: torch's compiler, once imported, replaces operations of the meta device.
    done = subprocess.run([sys.executable, "-c", PROGRAM], cwd=ROOT, capture_output=True, text=True, check=True)
    lora, stage2 = (int(line) / 2**30 for line in done.stdout.split())
    # A tenth for the allocator, and 1 GiB that the driver and the desktop have.
    assert 4 < lora < 12 / 1.1 - 1
    assert 16 < stage2 < 24 / 1.1 - 1
