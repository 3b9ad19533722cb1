"""`python -m tests.fuzz [--minutes 10] [--reader NAME] [--seed N]`: all readers, each in a process of its own.

A process of its own, since what a C library does to a damaged file may end it. What was read last lies in
`.hypothesis/fuzz/NAME/files`; it is kept there when something is found.
"""

from __future__ import annotations

import argparse
import faulthandler
import logging
import os
import random
import subprocess
import sys
import time
import traceback
import warnings
from pathlib import Path

from hypothesis import HealthCheck, Phase, given, seed, settings

from .readers import Files, all_readers, run_once

FOLDER = Path(".hypothesis") / "fuzz"
# A small file that takes this long is a hang.
HANG_SECONDS = 60
EXAMPLES_AT_ONCE = 50


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.fuzz", description=__doc__)
    parser.add_argument("--minutes", type=float, default=10.0, help="for all readers together (default: %(default)g)")
    parser.add_argument("--reader", action="append", help="only this one; may be given several times")
    parser.add_argument("--seed", type=int, default=None, help="where to start (default: by chance)")
    parser.add_argument("--here", action="store_true", help=argparse.SUPPRESS)
    options = parser.parse_args()
    known = list(all_readers(FOLDER))
    names = options.reader or known
    unknown = [name for name in names if name not in known]
    if unknown:
        parser.error(f"there is no reader {unknown[0]!r}; there are {', '.join(known)}")
    start = random.randrange(2**31) if options.seed is None else options.seed
    if options.here:
        return fuzz(names[0], options.minutes * 60, start)
    found = []
    for name in names:
        command = [sys.executable, "-m", "tests.fuzz", "--here", "--reader", name, "--seed", str(start)]
        code = subprocess.run([*command, "--minutes", str(options.minutes / len(names))]).returncode
        if code:
            found.append(name)
            print(f"{name}: FOUND (exit {code}), the files lie in {place_of(name) / 'files'}", flush=True)
    print(f"{len(names) - len(found)} of {len(names)} readers without a find, seed {start}")
    return 1 if found else 0


def place_of(name: str) -> Path:
    return FOLDER / name.replace(" ", "-")


def fuzz(name: str, seconds: float, start: int) -> int:
    """Examples for so many seconds; 1 when one was found that fails."""
    logging.disable(logging.CRITICAL)
    warnings.simplefilter("ignore")
    quiet_libraries()
    reader = all_readers(place_of(name) / "seeds")[name]()
    folder, end, done = place_of(name) / "files", time.monotonic() + seconds, 0

    @settings(
        max_examples=EXAMPLES_AT_ONCE,
        deadline=None,
        database=None,
        suppress_health_check=list(HealthCheck),
        phases=(Phase.generate, Phase.shrink),
    )
    @given(files=reader.files)
    def examples(files: Files) -> None:
        nonlocal done
        done += 1
        faulthandler.dump_traceback_later(HANG_SECONDS, exit=True, file=sys.stderr)
        run_once(reader, files, folder)
        faulthandler.cancel_dump_traceback_later()

    try:
        while time.monotonic() < end or not done:
            seed(start)(examples)()
            start += 1
    except Exception:
        lines = traceback.format_exc().splitlines()
        print("\n".join(line[:300] for line in lines[-60:]), file=sys.stderr)
        return 1
    print(f"{name}: {done} files", flush=True)
    return 0


def quiet_libraries() -> None:
    """What C libraries print about each damaged file goes nowhere; Python's own messages stay."""
    kept = os.dup(2)
    sys.stderr = os.fdopen(kept, "w")
    os.dup2(os.open(os.devnull, os.O_WRONLY), 2)
    faulthandler.enable(sys.stderr)


if __name__ == "__main__":
    sys.exit(main())
