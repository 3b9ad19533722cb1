"""Training's own packages, which rendering does without."""

from __future__ import annotations

from ..errors import MissingPackageError


def missing_package(packages: str, purpose: str) -> MissingPackageError:
    """An error that names the pip command."""
    return MissingPackageError(
        f"{purpose} needs a package that is not installed. Install it with: pip install {packages}  (all of training's "
        "packages: pip install -r requirements-train.txt)"
    )
