"""A run's folder: its lock, its checkpoints and its log. A killed run resumes with the same result."""

from __future__ import annotations

import json
import logging
import re
from collections.abc import Iterator, Mapping, Sequence, Set
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import torch

from ..errors import OutputError, TrainingError
from ..files.atomic import atomic_output, atomic_write
from ..files.text import read_json, read_text
from .config import WEIGHTS_PATHS, TrainingConfig, config_from, config_to_dict
from .packages import missing_package
from .records import ClipRecord, clips_digest

logger = logging.getLogger("echomimic")

LOG = "losses.jsonl"
CONFIG = "config.json"
CLIPS = "clips.json"
WEIGHTS = "weights.json"
# A run may be resumed at another place, with other intervals or less memory. What its samples or its learning rate
# depend on must not change, the number of steps among them: the curriculum and the cosine run over all of them. Where
# the data and the weights lie may change, the clips and the weights there may not (`check_clips`, `check_weights`).
FREE_TO_CHANGE = {
    "data",
    "output",
    "checkpoint_every",
    "keep_checkpoints",
    "validation",
    "tracker",
    "gradient_checkpointing",
}


@contextmanager
def locked(folder: Path) -> Iterator[None]:
    """Hold the folder for this process; the lock of a killed process is released by the system.

    Raises:
        TrainingError: another training runs in it.
        OutputError: it cannot be made.
    """
    try:
        from filelock import FileLock, Timeout  # optional
    except ImportError as error:
        raise missing_package("filelock", "training") from error
    lock = FileLock(folder / ".lock", timeout=0)
    try:
        folder.mkdir(parents=True, exist_ok=True)
        lock.acquire()
    except Timeout as error:
        raise TrainingError(
            f"another training runs in {folder}: wait for it, or give this one another output"
        ) from error
    except OSError as error:
        raise OutputError(f"{folder} cannot be written: {error.strerror or error}") from error
    try:
        yield
    finally:
        lock.release()


class RunFolder:
    """Checkpoints and log of one run; see `locked`."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def check_config(self, config: TrainingConfig) -> None:
        """Compare with the configuration that the run began with.

        Raises:
            TrainingError: something that the samples depend on has changed; names it.
        """
        plain = plain_config(config)
        place = self.path / CONFIG
        if place.is_file() and self.checkpoints():
            stored = read_json(place, TrainingError)
            if not isinstance(stored, dict):
                raise TrainingError(f"{place} holds no configuration: remove it, or give this run another output")
            # A run of an earlier version: what it did not know yet has its default.
            before, now = (by_name(config_to_dict(config_from(one, Path()))) for one in (stored, plain))
            says_weights = self.weights() is not None
            for name in (f"weights.{one}" for one in WEIGHTS_PATHS):
                # A run of an earlier version does not say what it began with: its files are known by their place.
                if says_weights or Path(before[name]).resolve() == Path(now[name]).resolve():
                    before[name] = now[name]
            changed = [name for name in now if name.split(".")[0] not in FREE_TO_CHANGE and now[name] != before[name]]
            if changed:
                listed = ", ".join(f"{name} ({before[name]}, now {now[name]})" for name in changed)
                raise TrainingError(f"{self.path} holds a run with another {listed}: give this one another output")

    def keep_config(self, config: TrainingConfig) -> None:
        """Write the configuration that the run goes on with, once everything was compared."""
        write_text(self.path / CONFIG, json.dumps(plain_config(config), indent=1))

    def check_clips(self, records: Sequence[ClipRecord]) -> None:
        """Keep which clips the run draws from at the first start, and compare at every later one.

        Raises:
            TrainingError: it began with others.
        """
        now = {"number": len(records), "digest": clips_digest(records)}
        # A run of an earlier version does not say what it began with.
        before = self.clips() if self.checkpoints() else None
        if before is not None and before["digest"] != now["digest"]:
            raise TrainingError(
                f"{self.path} holds a run that began with other clips ({before['number']}, now {now['number']}): to "
                "train on these, remove it or give this one another output; to resume it, prepare the videos that it "
                "began with, in their order"
            )
        write_text(self.path / CLIPS, json.dumps(now))

    def check_weights(self, digests: Mapping[str, str]) -> None:
        """Keep which weights the run starts from at the first start, and compare at every later one.

        Args:
            digests: by the part's name, for messages; one that only an earlier or a later start has is not compared.

        Raises:
            TrainingError: it began with others.
        """
        before = (self.weights() if self.checkpoints() else None) or {}
        changed = [name for name, digest in digests.items() if before.get(name, digest) != digest]
        if changed:
            raise TrainingError(
                f"{self.path} holds a run that began with other weights ({', '.join(changed)}): to resume it, give "
                f"those that its {CONFIG} names, wherever they lie now; to train from these, give another output"
            )
        write_text(self.path / WEIGHTS, json.dumps({**before, **digests}))

    def weights(self) -> dict[str, Any] | None:
        """The digests of the weights that the run began with; None where it does not say.

        Raises:
            TrainingError: the note is damaged.
        """
        return self.note(WEIGHTS, "weights")

    def clips(self) -> dict[str, Any] | None:
        """The number and the digest of the clips that the run began with; None where it does not say.

        Raises:
            TrainingError: the note is damaged.
        """
        return self.note(CLIPS, "clips", {"number", "digest"})

    def note(self, name: str, what: str, names: Set[str] = frozenset()) -> dict[str, Any] | None:
        """What a note says of the run's beginning, with these names at least; None where there is none."""
        place = self.path / name
        if not place.is_file():
            return None
        stored = read_json(place, TrainingError)
        if not isinstance(stored, dict) or not names <= stored.keys():
            raise TrainingError(f"{place} does not say which {what} the run began with: remove it")
        return stored

    def checkpoints(self) -> list[Path]:
        """Whole checkpoints, oldest first."""
        return sorted(
            path for path in self.path.glob("checkpoint-*.pt") if re.fullmatch(r"checkpoint-\d+\.pt", path.name)
        )

    def save(self, step: int, state: dict[str, Any], keep: int) -> Path:
        """Write a checkpoint beside the others and let it appear when it is whole; then remove the oldest.

        Raises:
            OutputError: it cannot be written; the earlier ones stay.
        """
        path = self.path / f"checkpoint-{step:08d}.pt"
        try:
            with atomic_write(path, flush=True) as temporary, temporary.open("wb") as file:
                torch.save({"step": step, **state}, file)
        except (OSError, RuntimeError) as error:  # torch reports a full disk as a RuntimeError
            last = self.checkpoints()
            kept = f"the last good one is {last[-1].name}" if last else "there is no earlier one"
            reason = getattr(error, "strerror", None) or str(error).splitlines()[0]
            raise OutputError(f"the checkpoint {path} cannot be written ({reason}); {kept}") from error
        for old in self.checkpoints()[:-keep]:
            old.unlink(missing_ok=True)
        return path

    def load(self) -> dict[str, Any] | None:
        """The newest checkpoint; None in a new folder.

        Raises:
            TrainingError: it is damaged.
        """
        found = self.checkpoints()
        if not found:
            return None
        try:
            return torch.load(found[-1], map_location="cpu", weights_only=True)
        except Exception as error:  # a damaged file decides what is raised
            raise TrainingError(
                f"the checkpoint {found[-1]} is damaged ({type(error).__name__}): remove it to use the one before"
            ) from error

    def log(self, line: dict[str, Any]) -> None:
        """Append one line of numbers."""
        with (self.path / LOG).open("a", encoding="utf-8") as file:
            file.write(json.dumps(line) + "\n")

    def read_log(self) -> list[dict[str, Any]]:
        """The lines; one that was cut off by a crash is left out."""
        path = self.path / LOG
        lines = []
        if path.is_file():
            for line in read_text(path, TrainingError).splitlines():
                with suppress(ValueError):
                    lines.append(json.loads(line))
        return lines

    def cut_log(self, step: int) -> None:
        """Forget lines of steps that will be done again."""
        kept = [line for line in self.read_log() if line["step"] < step]
        write_text(self.path / LOG, "".join(json.dumps(line) + "\n" for line in kept))


def plain_config(config: TrainingConfig) -> dict[str, Any]:
    """A configuration as it is read back from a file."""
    return json.loads(json.dumps(config_to_dict(config)))


def by_name(settings: Mapping[str, Any], where: str = "") -> dict[str, Any]:
    """Settings within settings as one table by full names, `optimizer.learning_rate`."""
    table: dict[str, Any] = {}
    for name, value in settings.items():
        table |= by_name(value, f"{where}{name}.") if isinstance(value, Mapping) else {f"{where}{name}": value}
    return table


def write_text(path: Path, text: str) -> None:
    """Write a text file that is whole or not there.

    Raises:
        OutputError: it cannot be written.
    """
    with atomic_output(path) as temporary:
        # A file name in no encoding: JSON reads the escape as the same character.
        temporary.write_text(text, encoding="utf-8", errors="backslashreplace")
