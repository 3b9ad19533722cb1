"""Downloads the published weights from the hub, one variant at a time; an interrupted download is resumed."""

from __future__ import annotations

import contextlib
import errno
import os
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from ..errors import MissingPackageError, OutputError, WeightsError
from ..files.fingerprint import hash_file
from ..files.tensor_writer import check_space
from .published import ACCELERATED_SUFFIX, DENOISING_UNET, MOTION_MODULE, POSE_ENCODER, REFERENCE_UNET

NETWORKS_REPOSITORY = "BadToBest/EchoMimicV2"
VAE_REPOSITORY, VAE_FOLDER = "stabilityai/sd-vae-ft-mse", "sd-vae-ft-mse"
VAE_FILES = ("config.json", "diffusion_pytorch_model.safetensors")
# Taken where the networks' repository has no audio encoder of its own: the same weights, from their authors.
AUDIO_REPOSITORY, AUDIO_FOLDER = "openai/whisper-tiny", "whisper-tiny"
AUDIO_FILES = ("model.safetensors",)
OWN_AUDIO_FILES = ("audio_processor/tiny.pt", "audio_processor/whisper_tiny.pt")

SUFFIXES = {"standard": ("",), "accelerated": (ACCELERATED_SUFFIX,), "both": ("", ACCELERATED_SUFFIX)}


@dataclass(frozen=True)
class RemoteFile:
    """A file on the hub and where it goes.

    Attributes:
        repository: the hub's name for the repository.
        revision: the commit that the listing was of.
        name: path in the repository.
        size: in bytes; None where the hub does not give it.
        sha256: of the content; None where the hub does not give it (small text files).
        folder: local folder that stands for the repository's root.
    """

    repository: str
    revision: str
    name: str
    size: int | None
    sha256: str | None
    folder: Path

    @property
    def target(self) -> Path:
        """Where the file goes."""
        return self.folder / self.name

    @property
    def is_there(self) -> bool:
        """Whether the file is complete (until then its bytes are in `partial`)."""
        return self.target.is_file() and self.size in (None, self.target.stat().st_size)

    @property
    def partial(self) -> Path:
        """Where the bytes are collected; named by commit, so that only the same content is resumed."""
        return self.target.with_name(f".{self.target.name}.{self.revision[:12]}.part")

    @property
    def partial_bytes(self) -> int:
        """Bytes that an earlier attempt has left."""
        return self.partial.stat().st_size if self.partial.is_file() else 0


def download(
    folder: str | os.PathLike[str],
    variant: Literal["standard", "accelerated", "both"] = "accelerated",
    *,
    with_audio_encoder: bool = True,
    with_vae: bool = True,
    endpoint: str | None = None,
    quiet: bool = False,
    on_progress: Callable[[RemoteFile, int, int], None] | None = None,
) -> list[Path]:
    """Fetch what a variant needs into a folder laid out as published, skipping the files that are there already.

    Args:
        folder: made if it is not there.
        variant: whose denoising UNet and motion module to fetch; `both` fetches the two.
        with_audio_encoder, with_vae: whether to fetch these too.
        endpoint: address of the hub; None takes the library's own (the variable HF_ENDPOINT changes it).
        quiet: without the library's progress bars.
        on_progress: called before each file with the file, its number from 0, and how many there are.

    Returns:
        the files of the variant, also those that were there before.

    Raises:
        MissingPackageError: huggingface_hub is not installed.
        OutputError: the folder cannot be written or its disk has too little room.
        WeightsError: the hub cannot be reached, or does not have a file.
    """
    try:
        from huggingface_hub.utils import (  # optional
            are_progress_bars_disabled,
            disable_progress_bars,
            enable_progress_bars,
        )
    except ImportError:
        raise MissingPackageError("downloading needs huggingface_hub: pip install huggingface_hub") from None
    folder = Path(folder)
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise OutputError(f"the folder {folder} cannot be made: {error.strerror or error}") from error

    files = plan_download(folder, variant, with_audio_encoder=with_audio_encoder, with_vae=with_vae, endpoint=endpoint)
    wanted = [file for file in files if not file.is_there]
    check_space(folder, sum((file.size or 0) - file.partial_bytes for file in wanted))
    hide = quiet and not are_progress_bars_disabled()
    if hide:
        disable_progress_bars()
    try:
        for number, file in enumerate(wanted):
            if on_progress:
                on_progress(file, number, len(wanted))
            fetch(file, endpoint)
    finally:
        if hide:
            enable_progress_bars()
    return [file.target for file in files]


def fetch(file: RemoteFile, endpoint: str | None = None) -> None:
    """Download one file, resuming an earlier attempt, and check it against the hub's SHA-256.

    The library's `hf_hub_download` starts over after an interruption (since 1.x), which hurts with files of 3 GB; its
    `http_get` can resume.

    Raises:
        OutputError: the file cannot be written.
        WeightsError: the connection or the hub failed, or the bytes do not match the hub's checksum.
    """
    from huggingface_hub import hf_hub_url  # heavy
    from huggingface_hub.file_download import http_get  # heavy
    from huggingface_hub.utils import build_hf_headers  # heavy

    url = hf_hub_url(file.repository, file.name, revision=file.revision, endpoint=endpoint)
    try:
        file.target.parent.mkdir(parents=True, exist_ok=True)
        if file.size is not None and file.partial_bytes > file.size:
            file.partial.unlink()
        with file.partial.open("ab") as sink:
            if file.size is None or sink.tell() < file.size:
                with translate_errors(f"{file.repository} {file.name}"):
                    http_get(
                        url,
                        sink,
                        resume_size=sink.tell(),
                        headers=build_hf_headers(),
                        expected_size=file.size,
                        displayed_filename=file.name,
                    )
        if file.sha256 is not None and hash_file(file.partial) != file.sha256:
            file.partial.unlink()
            raise WeightsError(f"{file.name} arrived damaged (its SHA-256 is not the hub's) and was removed: try again")
        file.partial.replace(file.target)
    except OSError as error:
        raise OutputError(f"{file.target} cannot be written: {error.strerror or error}") from error


def plan_download(
    folder: Path, variant: str, *, with_audio_encoder: bool, with_vae: bool, endpoint: str | None
) -> list[RemoteFile]:
    """List the files of a variant on the hub.

    Raises:
        WeightsError: the hub cannot be reached, or lacks a file; or there is no such variant.
    """
    if variant not in SUFFIXES:
        raise WeightsError(f"there is no variant {variant!r}: choose {', '.join(SUFFIXES)}")
    listing = _Listing.fetch(NETWORKS_REPOSITORY, endpoint)
    stems = [stem + suffix for suffix in SUFFIXES[variant] for stem in (DENOISING_UNET, MOTION_MODULE)]
    files = [listing.pick((f"{stem}.pth",), folder) for stem in (*stems, REFERENCE_UNET, POSE_ENCODER)]
    if with_audio_encoder:
        if any(name in listing.files for name in OWN_AUDIO_FILES):
            files.append(listing.pick(OWN_AUDIO_FILES, folder))
        else:
            audio = _Listing.fetch(AUDIO_REPOSITORY, endpoint)
            files += [audio.pick((name,), folder / AUDIO_FOLDER) for name in AUDIO_FILES]
    if with_vae:
        vae = _Listing.fetch(VAE_REPOSITORY, endpoint)
        files += [vae.pick((name,), folder / VAE_FOLDER) for name in VAE_FILES]
    return files


@dataclass(frozen=True)
class _Listing:
    """What a repository holds: size and SHA-256 by file name."""

    repository: str
    revision: str
    files: dict[str, tuple[int | None, str | None]]

    @classmethod
    def fetch(cls, repository: str, endpoint: str | None) -> _Listing:
        from huggingface_hub import HfApi  # heavy

        with translate_errors(repository):
            info = HfApi(endpoint=endpoint).model_info(repository, files_metadata=True)
        files = {file.rfilename: (file.size, getattr(file.lfs, "sha256", None)) for file in info.siblings or ()}
        return cls(repository, info.sha or "main", files)

    def pick(self, names: tuple[str, ...], folder: Path) -> RemoteFile:
        """The first of these names that the repository has."""
        for name in names:
            if name in self.files:
                return RemoteFile(self.repository, self.revision, name, *self.files[name], folder)
        raise WeightsError(f"{self.repository} on the hub has no {names[0]} any more: get it elsewhere")


@contextlib.contextmanager
def translate_errors(what: str) -> Iterator[None]:
    """Turn failures of the hub's library into errors of ours, with what to do.

    Args:
        what: repository and file, for the message.

    Raises:
        OutputError: the disk filled up.
        WeightsError: any failure of the hub or the connection.
    """
    from huggingface_hub.utils import HfHubHTTPError, RepositoryNotFoundError  # heavy

    again = "run the same command again later, it resumes where it stopped"
    try:
        yield
    except RepositoryNotFoundError as error:
        raise WeightsError(f"the hub has no public repository {what}") from error
    except HfHubHTTPError as error:
        status = getattr(error.response, "status_code", "an error")
        raise WeightsError(f"the hub answered {status} for {what}: {again}") from error
    except Exception as error:  # requests', httpx's or httpx2's, by the version of the hub's library
        if isinstance(error, OSError) and error.errno == errno.ENOSPC:
            raise OutputError(f"the disk filled up during {what}: make room, then {again}") from error
        lines = str(error).strip().splitlines() or [type(error).__name__]
        raise WeightsError(
            f"{what} cannot be downloaded from the hub ({lines[0]}): check the connection, {again}"
        ) from error
