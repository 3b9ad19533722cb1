"""Finds the files of one variant in a folder of published weights."""

from __future__ import annotations

import logging
import os
import re
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from ..errors import WeightsError
from ..files.listing import scan
from ..files.state_dicts import name_some
from ..files.tensors import read_metadata
from ..models.networks import VARIANTS, Variant

logger = logging.getLogger("echomimic")

# In order of preference: the format that cannot carry code and loads fastest comes first.
SUFFIXES = (".safetensors", ".pth", ".pt", ".bin", ".ckpt")
# What browsers and download managers put behind the name until they are done.
UNFINISHED_SUFFIXES = (".crdownload", ".part", ".partial", ".download", ".incomplete", ".aria2", ".tmp", ".!ut")
ACCELERATED_SUFFIX = "_acc"
DENOISING_UNET, MOTION_MODULE = "denoising_unet", "motion_module"
REFERENCE_UNET, POSE_ENCODER = "reference_unet", "pose_encoder"
# Published as audio_processor/tiny.pt; other packs and other sources of Whisper tiny use the rest.
AUDIO_ENCODERS = (
    "audio_processor/tiny",
    "audio_processor/whisper_tiny",
    "whisper_tiny",
    "tiny",
    "audio_processor/whisper-tiny/model",
    "whisper-tiny/model",
)
VAE_FOLDERS = ("sd-vae-ft-mse", "vae")
VAE_FILES = ("sd-vae-ft-mse", "vae-ft-mse-840000-ema-pruned", "vae")


@dataclass(frozen=True)
class WeightFiles:
    """The files that the networks are built from.

    Attributes:
        denoising_unet: may hold the motion modules too.
        motion_module: None when they are in the denoising UNet's file.
        reference_unet: the network that describes the portrait.
        pose_encoder: the network that reads pose pictures.
        audio_encoder: Whisper tiny, or None to leave it out.
        vae: a diffusers folder or a single file, or None to leave it out.
    """

    denoising_unet: Path
    motion_module: Path | None
    reference_unet: Path
    pose_encoder: Path
    audio_encoder: Path | None = None
    vae: Path | None = None


def variant_of_file(path: str | os.PathLike[str]) -> Variant | None:
    """The variant a denoising UNet or motion module belongs to; None when neither metadata nor name give it.

    The tensors of the two variants have the same names and shapes, so the file must declare it: a safetensors header by
    its entry `variant`, else the name, where `_acc` marks the accelerated variant and the published name without it
    the standard one.

    Raises:
        WeightsError: the file cannot be read.
    """
    path = Path(path)
    declared = read_metadata(path).get("variant")
    if declared == "standard":
        return "standard"
    if declared == "accelerated":
        return "accelerated"
    name = plain_stem(path.name).lower()
    if re.search(r"(^|[_.-])(acc|accelerated)($|[_.-])", name):
        return "accelerated"
    if name.startswith((DENOISING_UNET, MOTION_MODULE)):
        return "standard"
    return None


def resolve_variant(files: WeightFiles, wanted: Variant | None) -> Variant:
    """The variant of these files.

    Args:
        files: the files to be loaded together.
        wanted: the caller's choice; it decides where the files do not declare one.

    Raises:
        WeightsError: the files contradict each other or `wanted`, or the variant cannot be determined.
    """
    check_variant(wanted)
    found = {
        path: variant
        for path in (files.denoising_unet, files.motion_module)
        if path is not None and (variant := variant_of_file(path)) is not None
    }
    if len(set(found.values())) > 1:
        described = " and ".join(f"{path.name} is {variant}" for path, variant in found.items())
        raise WeightsError(
            f"the files are of two variants: {described}. Both must be standard, or both accelerated "
            f"({DENOISING_UNET}{ACCELERATED_SUFFIX} with {MOTION_MODULE}{ACCELERATED_SUFFIX})"
        )
    for path, variant in found.items():
        if wanted is None or wanted == variant:
            return variant
        raise WeightsError(f"the {wanted} variant was requested, but {path} is {variant}")
    if wanted is None:
        raise WeightsError(
            f"the name {files.denoising_unet.name} does not give the variant: choose standard or accelerated"
        )
    return wanted


def check_variant(variant: str | None) -> None:
    """Raises: WeightsError for an unknown variant."""
    if variant is not None and variant not in VARIANTS:
        raise WeightsError(f"there is no variant {variant!r}: choose {' or '.join(VARIANTS)}")


def find_weights(
    folder: str | os.PathLike[str],
    variant: Variant | None = None,
    *,
    audio_encoder: str | os.PathLike[str] | None = None,
    vae: str | os.PathLike[str] | None = None,
) -> WeightFiles:
    """The files of one variant in a folder laid out as published.

    The networks are searched in the folder and in `v2` below it (where another ComfyUI pack keeps them). The audio
    encoder and the VAE may be missing there: then they are None.

    Args:
        folder: the folder.
        variant: which one to take; None takes the accelerated one where the folder has all of it (it needs a tenth of
            the work), else the standard one.
        audio_encoder: use this file instead of searching for one.
        vae: use this file or folder instead of searching for one.

    Raises:
        WeightsError: the folder is missing, or lacks a network; the message lists what is missing.
    """
    folder = Path(folder)
    check_variant(variant)
    if folder.is_file():
        raise WeightsError(
            f"{folder} is a file, not a folder of weights; a bundle is given with --bundle (load_bundle)"
        )
    if not folder.is_dir():
        raise WeightsError(
            f"there is no weights folder {folder}: {download_command(folder, variant or 'accelerated')} makes it"
        )
    places = search_places(folder)
    suffix = _choose_suffix(places, variant)
    stems = (DENOISING_UNET + suffix, MOTION_MODULE + suffix, REFERENCE_UNET, POSE_ENCODER)
    denoising, motion, reference, pose = found = [_find(places, [stem]) for stem in stems]
    # Without a motion module of either variant, the denoising UNet's file may hold it; loading finds out.
    foreign_motion = None if motion else _find(places, [MOTION_MODULE, MOTION_MODULE + ACCELERATED_SUFFIX])
    if denoising is None or reference is None or pose is None or foreign_motion:
        named: Variant = "accelerated" if suffix else "standard"
        may_hold_motion = denoising is not None and not foreign_motion
        needed = [stem for stem, path in zip(stems, found) if not path and not (stem == stems[1] and may_hold_motion)]
        unfinished = unfinished_downloads(places, needed)
        mixing = f"; {foreign_motion.name} is the other variant's and cannot be mixed in" if foreign_motion else ""
        raise WeightsError(
            f"{folder} lacks {', '.join(f'{stem}.pth' for stem in needed)} of the "
            f"{named} variant{mixing} (also searched as {', '.join(SUFFIXES)} and in its folder v2){unfinished}: "
            f"{download_command(folder, named)} gets what is missing"
        )
    return WeightFiles(
        denoising,
        motion,
        reference,
        pose,
        Path(audio_encoder) if audio_encoder else find_audio_encoder(places),
        Path(vae) if vae else find_vae(places),
    )


def search_places(folder: Path) -> list[Path]:
    """The folders that a folder's files are searched in, the likeliest first."""
    places = [folder, folder / "v2"]
    if folder.name == "v2":
        places.append(folder.parent)
    return places


def _choose_suffix(places: list[Path], variant: Variant | None) -> str:
    """The suffix of the variant's file names; if none is wanted, that of the variant in the folder."""
    if variant is not None:
        return ACCELERATED_SUFFIX if variant == "accelerated" else ""
    suffixes = (ACCELERATED_SUFFIX, "")
    there = {s: (_find(places, [DENOISING_UNET + s]), _find(places, [MOTION_MODULE + s])) for s in suffixes}
    # The denoising UNet may hold the motion modules; and the message names what an incomplete variant lacks, of an
    # empty folder the one that `download` fetches unless told otherwise.
    found = (
        [s for s in suffixes if all(there[s])]
        or [s for s in suffixes if there[s][0]]
        or [s for s in suffixes if there[s][1]]
        or [s for s in suffixes if unfinished_downloads(places, [DENOISING_UNET + s])]
    )
    return found[0] if found else ACCELERATED_SUFFIX


def download_command(folder: str | os.PathLike[str], variant: Variant) -> str:
    """The command that completes a folder, for messages.

    It names the variant: a folder that gains the other one is another model, since the accelerated one comes first.
    """
    quoted = f'"{os.fspath(folder)}"' if " " in os.fspath(folder) else os.fspath(folder)
    return f"`python -m echomimic download {quoted} --variant {variant}`"


def _find(places: list[Path], stems: Iterable[str]) -> Path | None:
    """The first file there is with one of these stems and a suffix of weights."""
    stems = list(stems)
    candidates = (place / f"{stem}{suffix}" for place in places for stem in stems for suffix in SUFFIXES)
    found = next((path for path in candidates if path.is_file()), None)
    return found or _find_renamed(places, stems)


def _find_renamed(places: list[Path], stems: list[str]) -> Path | None:
    """The same for names that a browser or a person has extended: `tiny (1).pt`, `denoising_unet.pth.pth`."""
    for place in places:
        for path in scan(place, SUFFIXES, depth=1):
            if plain_stem(path.name).lower() in stems:
                logger.info("%s is taken for %s", path, plain_stem(path.name))
                return path
    return None


def unfinished_downloads(places: list[Path], stems: list[str]) -> str:
    """What browsers left of these files, or parts of them, for a message; empty without any."""
    found = [
        path.name
        for place in places
        for path in scan(place, UNFINISHED_SUFFIXES, depth=1)
        if path.name.lower().startswith(tuple(stems))
    ]
    if found:
        return f"; {name_some(found)} is a download that was not finished"
    parts = [path.name for place in places for path in scan(place, SUFFIXES, depth=1) if is_part(path.name, stems)]
    return f"; {name_some(sorted(parts))} are parts: join them into one file" if parts else ""


def is_part(name: str, stems: list[str]) -> bool:
    """Whether a file holds a part of one of these networks (`STEM-00001-of-00002`)."""
    stem, _, numbers = name.lower().partition("-")
    return stem in stems and re.match(r"\d+-of-\d+\.", numbers) is not None


def plain_stem(name: str) -> str:
    """A file's name without endings of weights and without a browser's number in brackets."""
    stem = name
    while True:
        shorter = re.sub(r"\s*(\(\d+\)| - Copy)$", "", stem)
        shorter = next((shorter[: -len(suffix)] for suffix in SUFFIXES if shorter.lower().endswith(suffix)), shorter)
        if shorter == stem:
            return stem
        stem = shorter


def find_audio_encoder(places: list[Path]) -> Path | None:
    """Whisper's file in the first folder that has one."""
    return _find(places, AUDIO_ENCODERS)


def find_vae(places: list[Path]) -> Path | None:
    """The VAE's folder or file, in the first of these folders that has one; folders before files."""
    folders = (place / name for place in places for name in VAE_FOLDERS)
    return next((path for path in folders if (path / "config.json").is_file()), None) or _find(places, VAE_FILES)
