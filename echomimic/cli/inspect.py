"""`inspect`: what is in a weights file."""

from __future__ import annotations

import argparse
from pathlib import Path

from ..errors import WeightsError
from ..files.listing import scan
from ..weights.inspect import Contents, Inspection, inspect_file
from ..weights.published import SUFFIXES
from .options import file_path

EXAMPLE = """\
examples:
  python -m echomimic inspect models/echomimic
  python -m echomimic inspect echomimic_v2.safetensors denoising_unet_acc.pth
"""
LABEL_WIDTH = 12


def add_parser(subparsers: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    parser = subparsers.add_parser(
        "inspect",
        help="describe a weights file: network, variant, sizes, missing tensors",
        description="Describe weights files: which network, which variant, how many tensors of which type, and "
        "which tensor names are missing or have no place. Values are not read, and nothing in a file is run.",
        epilog=EXAMPLE,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("paths", nargs="+", type=file_path, metavar="FILE", help="a weights file, or a folder of them")
    parser.add_argument("--all", action="store_true", help="list every missing or unexpected name, not only the first")
    parser.set_defaults(run=run)


def run(options: argparse.Namespace) -> int:
    """Print a table for each file; returns 0, or 2 when a file could not be inspected."""
    unreadable = 0
    for path in weight_files(options.paths):
        try:
            lines = table(inspect_file(path), options.all)
        except WeightsError as error:
            unreadable += 1
            lines = [str(path), row("problem", str(error))]
        print("\n".join(lines), end="\n\n")
    return 2 if unreadable else 0


def weight_files(paths: list[Path]) -> list[Path]:
    """The files, with each folder replaced by the weights files in it and below.

    Raises:
        WeightsError: a folder has none.
    """
    found: list[Path] = []
    for path in paths:
        if not path.is_dir():
            found.append(path)
            continue
        inside = sorted(scan(path, SUFFIXES))
        if not inside:
            raise WeightsError(f"the folder {path} has no weights files ({', '.join(SUFFIXES)})")
        found += inside
    return found


def table(inspection: Inspection, every_name: bool = False) -> list[str]:
    """The lines that describe an `Inspection`."""
    kind = inspection.kind or "nothing of EchoMimicV2"
    lines = [str(inspection.path), row("kind", f"{kind}, {inspection.variant}" if inspection.variant else kind)]
    lines.append(row("file", f"{size(inspection.path.stat().st_size)}, {inspection.format}"))
    if inspection.bundle is not None:
        settings = inspection.bundle.settings
        lines.append(
            row(
                "settings",
                f"{settings.steps} steps, guidance {settings.guidance:g}, {settings.width}x{settings.height}, "
                f"{settings.fps:g} frames a second, windows of {settings.window} overlapping by {settings.overlap}",
            )
        )
        if inspection.bundle.source:
            lines.append(row("source", inspection.bundle.source))
    for part, contents in inspection.contents.items():
        if part:
            lines.append(f"  {part}")
        lines += contents_rows(contents, every_name)
    return lines


def contents_rows(contents: Contents, every_name: bool) -> list[str]:
    """The lines that describe one network's `Contents`."""
    types = ", ".join(
        f"{count} {name}" if len(contents.dtypes) > 1 else name for name, count in contents.dtypes.items()
    )
    lines = [
        row("tensors", f"{contents.tensors}: {count(contents.parameters)} numbers, {size(contents.bytes)}, {types}")
    ]
    if contents.config is not None:
        config = contents.config
        audio = f", audio width {config.audio_dim}" if contents.kind == "denoising UNet" else ""
        widths = ", ".join(map(str, config.block_out_channels))
        lines.append(row("network", f"{widths} channels, layers a block: {config.layers_per_block}{audio}"))
    if contents.missing is None:
        return lines
    faults = {"missing": contents.missing, "unexpected": contents.unexpected, "wrong shape": contents.misshaped}
    if not any(faults.values()):
        return [*lines, row("names", "complete, nothing unexpected")]
    for label, names in faults.items():
        if names:
            shown = names if every_name else names[:3]
            more = f" and {len(names) - len(shown)} more (--all lists them)" if len(names) > len(shown) else ""
            lines.append(row(label, f"{len(names)}: {', '.join(shown)}{more}"))
    return lines


def row(label: str, text: str) -> str:
    """A line of the table."""
    return f"    {label:<{LABEL_WIDTH}}{text}"


def size(count: int) -> str:
    """Bytes in words."""
    for unit, factor in (("GB", 1e9), ("MB", 1e6), ("kB", 1e3)):
        if count >= factor:
            return f"{count / factor:.1f} {unit}"
    return f"{count} bytes"


def count(number: int) -> str:
    """A large number in words."""
    return f"{number / 1e6:.1f} million" if number >= 1e6 else f"{number:,}"
