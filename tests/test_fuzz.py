"""A short, always equal slice of `make fuzz` (tests/fuzz), so that a reader that breaks is seen by the suite."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings

from tests.fuzz.readers import Files, all_readers, run_once

EXAMPLES = 12


@pytest.fixture(scope="module")
def readers(tmp_path_factory: pytest.TempPathFactory):
    return all_readers(tmp_path_factory.mktemp("seeds"))


# The names need no seeds, so no folder.
@pytest.mark.parametrize("name", all_readers(Path()))
def test_nothing_but_our_sentences_comes_out_of(name: str, readers, tmp_path) -> None:
    reader = readers[name]()

    @settings(
        max_examples=EXAMPLES, derandomize=True, deadline=None, database=None, suppress_health_check=list(HealthCheck)
    )
    @given(files=reader.files)
    def examples(files: Files) -> None:
        run_once(reader, files, tmp_path / "files")

    examples()
