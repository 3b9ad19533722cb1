"""Errors as ComfyUI shows them: it puts an exception's module and class before the message."""

from __future__ import annotations

import functools
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from ..echomimic.errors import EchoMimicError


class NodeError(EchoMimicError):
    """An error of the engine as ComfyUI shows it, under the name `EchoMimic`."""


# ComfyUI shows `module.qualname` of an exception, and of a built-in one its name alone.
NodeError.__module__, NodeError.__qualname__ = "builtins", "EchoMimic"


@contextmanager
def plain_errors() -> Iterator[None]:
    """Within it, the engine's errors come out as `NodeError` with the same message, where they were raised, and so does
    what the file system refuses: a closed folder, a full disk."""
    try:
        yield
    except NodeError:
        raise
    except EchoMimicError as error:
        raise NodeError(str(error)).with_traceback(error.__traceback__) from None
    except OSError as error:
        name = "" if error.filename is None else f"{error.filename}: "
        raise NodeError(f"{name}{error.strerror or error}").with_traceback(error.__traceback__) from error


def with_plain_errors(node: Any) -> Any:
    """The node class, its `execute` within `plain_errors`."""
    execute = node.execute.__func__

    @functools.wraps(execute)
    def execute_plainly(cls: Any, *arguments: Any, **inputs: Any) -> Any:
        with plain_errors():
            return execute(cls, *arguments, **inputs)

    node.execute = classmethod(execute_plainly)
    return node
