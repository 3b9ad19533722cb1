"""Imports stand at the top of a file; one inside a function is of a heavy or an optional package, and says so."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
FILES = [path for folder in ("echomimic", "nodes") for path in sorted((ROOT / folder).rglob("*.py"))]


def inner_imports(tree: ast.Module) -> Iterator[ast.Import | ast.ImportFrom]:
    """The imports inside functions."""
    for function in ast.walk(tree):
        if isinstance(function, ast.FunctionDef | ast.AsyncFunctionDef):
            yield from (node for node in ast.walk(function) if isinstance(node, ast.Import | ast.ImportFrom))


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.relative_to(ROOT).as_posix())
def test_an_import_inside_a_function_says_why(path):
    text = path.read_text(encoding="utf-8")
    lines = text.splitlines()
    for node in inner_imports(ast.parse(text)):
        assert not (isinstance(node, ast.ImportFrom) and node.level), f"line {node.lineno} imports our own module"
        comment = lines[node.lineno - 1].partition("#")[2]
        assert "heavy" in comment or "optional" in comment, f"line {node.lineno} does not say why it is not at the top"
