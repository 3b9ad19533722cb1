"""The command line: gathers the commands and turns errors into one sentence and an exit code."""

from __future__ import annotations

import argparse
import logging
import sys
import warnings
from collections.abc import Sequence
from io import TextIOWrapper

from .. import __version__
from ..errors import Cancelled, EchoMimicError, is_out_of_memory
from ..media.containers import reason_of
from . import avatar, batch, bundle, demo, download, evaluate, generate, inspect, pose, prepare, train

COMMANDS = (generate, demo, batch, pose, download, bundle, inspect, prepare, train, evaluate, avatar)

EXIT_REFUSED = 2
EXIT_INTERRUPTED = 130

DESCRIPTION = """\
EchoMimicV2: one half-body portrait, a voice recording and a sequence of hand poses
become a video of that person speaking and gesturing.

Start with `python -m echomimic demo`, which needs no download.
"""


def make_parser() -> argparse.ArgumentParser:
    """The parser with all commands."""
    parser = argparse.ArgumentParser(
        prog="python -m echomimic", description=DESCRIPTION, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--version", action="version", version=f"echomimic {__version__}")
    subparsers = parser.add_subparsers(dest="command", metavar="COMMAND", required=True)
    for command in COMMANDS:
        command.add_parser(subparsers)
    return parser


def main(arguments: Sequence[str] | None = None) -> int:
    """Run a command; returns the exit code: 0 done, 2 refused with a sentence, 130 interrupted."""
    for stream in (sys.stdout, sys.stderr):
        # A file name that the console's code page cannot show must not end the work.
        if isinstance(stream, TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")
    options = make_parser().parse_args(arguments)
    quiet = getattr(options, "quiet", False)
    logging.basicConfig(format="%(message)s", level=logging.WARNING)
    logging.getLogger("echomimic").setLevel(logging.WARNING if quiet else logging.INFO)
    # Deprecation warnings of our dependencies are for us, not for the user.
    warnings.simplefilter("ignore", FutureWarning)
    warnings.simplefilter("ignore", DeprecationWarning)
    try:
        return options.run(options)
    except EchoMimicError as error:
        print(f"echomimic: {error}", file=sys.stderr)
        return EXIT_REFUSED
    except OSError as error:  # a folder that is closed, a name that no file system has, a full disk
        name = "" if error.filename is None else f"{error.filename}: "
        print(f"echomimic: {name}{error.strerror or error}", file=sys.stderr)
        return EXIT_REFUSED
    except (MemoryError, RuntimeError) as error:  # torch reports full memory as a RuntimeError
        if not (isinstance(error, MemoryError) or is_out_of_memory(error)):
            raise
        print(
            f"echomimic: memory is full ({reason_of(error)}): choose a smaller size or a shorter clip", file=sys.stderr
        )
        return EXIT_REFUSED
    except (KeyboardInterrupt, Cancelled):
        resumes = getattr(options, "resumes", False) or getattr(options, "resume", None) is not None
        farewell = "the same command resumes" if resumes else "nothing was left behind"
        print(f"echomimic: stopped; {farewell}", file=sys.stderr)
        return EXIT_INTERRUPTED
