"""How much memory an input may take."""

from __future__ import annotations

from pathlib import Path

import pytest

from echomimic.errors import EchoMimicError
from echomimic.media import limits


def group(folder: Path, limit: str, usage: int, cache: str) -> tuple[Path, str, str]:
    (folder / "memory.max").write_text(f"{limit}\n")
    (folder / "memory.current").write_text(f"{usage}\n")
    (folder / "memory.stat").write_text(f"anon 5\n{cache}")
    return folder, "memory.max", "memory.current"


class TestContainers:
    """A container is killed at its own limit, whatever its machine has."""

    def test_its_limit_counts_without_the_cache(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(limits, "CONTROL_GROUPS", (group(tmp_path, "1000", 700, "inactive_file 200\n"),))
        assert limits.available_bytes() == 500
        with pytest.raises(EchoMimicError, match="memory has room for"):
            limits.check_room(501, "pictures", "make fewer")

    def test_the_older_layout_counts_what_its_children_hold(self, tmp_path: Path) -> None:
        found = group(tmp_path, "1000", 700, "inactive_file 1\ntotal_inactive_file 200\n")
        assert limits.room_in_container(*found) == 500

    def test_never_below_nothing(self, tmp_path: Path) -> None:
        assert limits.room_in_container(*group(tmp_path, "1000", 1200, "")) == 0

    def test_a_machine_with_less_decides(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(limits, "CONTROL_GROUPS", (group(tmp_path, "1000", 0, ""),))
        monkeypatch.setattr(limits, "available_on_machine", lambda: 300)
        assert limits.available_bytes() == 300

    def test_no_limit(self, tmp_path: Path) -> None:
        assert limits.room_in_container(*group(tmp_path, "max", 700, "")) is None
        assert limits.room_in_container(tmp_path / "missing", "memory.max", "memory.current") is None
