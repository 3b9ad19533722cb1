"""The pack's folders in ComfyUI: models, what is kept between runs, and where results go."""

from __future__ import annotations

import logging
from collections.abc import Iterable
from pathlib import Path, PureWindowsPath

import folder_paths

from ..echomimic.errors import OutputError, WeightsError
from ..echomimic.files.atomic import check_name
from ..echomimic.pose.sources.dwpose import PERSON_FILE, POSE_FILE

logger = logging.getLogger("echomimic")

FOLDER = "echomimic"
# Where an older pack keeps the same files (in its folder v2, with the audio encoder beside it).
OTHER_FOLDER = "echo_mimic"
ASSETS = Path(__file__).resolve().parents[1] / "assets"


def register_folders() -> None:
    """Register the model folders with ComfyUI: `models/echomimic`, and the other pack's folder."""
    for folder in (own_folder(), Path(folder_paths.models_dir, OTHER_FOLDER)):
        folder_paths.add_model_folder_path(FOLDER, str(folder))
    # A new name starts with no file endings, which would list every file; extra_model_paths.yaml leaves it so too.
    paths, endings = folder_paths.folder_names_and_paths[FOLDER]
    folder_paths.folder_names_and_paths[FOLDER] = (paths, set(endings) | folder_paths.supported_pt_extensions)


def make_model_folder() -> None:
    """Make `models/echomimic`, so that people see where their files go."""
    try:
        own_folder().mkdir(parents=True, exist_ok=True)
    except OSError as error:
        # A read-only installation: the nodes work without.
        logger.warning("the folder for models is not made: %s", error)


def model_files() -> list[str]:
    """Weights files in the pack's model folders, as ComfyUI names them."""
    # Pose clips lie in a folder beside them. (On Windows names have backslashes.)
    return [name for name in folder_paths.get_filename_list(FOLDER) if Path(name).parts[0] != "poses"]


def model_path(name: str, folder: str = FOLDER) -> Path:
    """Where a listed file is.

    Raises:
        WeightsError: it is not there (any more).
    """
    path = folder_paths.get_full_path(folder, name)
    if path is None:
        raise WeightsError(f"{name} is not in {' or '.join(folder_paths.get_folder_paths(folder))}")
    return Path(path)


def find_listed(name: str, names: Iterable[str]) -> str | None:
    """The listed file that a graph's name stands for; None where none does.

    Graphs travel. Windows lists `audio_processor\\tiny.pt` where other systems have a slash, and people keep the same
    files in other subfolders: where the name itself is not listed, the one file of that name in any of them is taken.
    """
    # A Windows path takes both separators.
    wanted, slashed = PureWindowsPath(name), {PureWindowsPath(one).as_posix(): one for one in names}
    if wanted.as_posix() in slashed:
        return slashed[wanted.as_posix()]
    namesakes = [one for one in slashed.values() if PureWindowsPath(one).name == wanted.name]
    if len(namesakes) != 1:
        return None
    logger.info("%s is not listed: %s is taken", name, namesakes[0])
    return namesakes[0]


def find_file(name: str, names: Iterable[str], folder: str) -> Path | None:
    """Where the file is that a graph names, of those listed in a model folder; None where it is not there."""
    listed = find_listed(name, names)
    path = None if listed is None else folder_paths.get_full_path(folder, listed)
    return None if path is None else Path(path)


def file_state(path: Path | None) -> tuple[str, int, int] | None:
    """What tells that a file was replaced under its own name; None where it is not there."""
    try:
        return None if path is None else (str(path), path.stat().st_mtime_ns, path.stat().st_size)
    except OSError:
        return None


def detector_folder() -> Path:
    """Where DWPose's two files are: a model folder of this pack, or its subfolder `dwpose`; for the message about
    missing files the user's own."""
    for root in map(Path, folder_paths.get_folder_paths(FOLDER)):
        for folder in (root, root / "dwpose"):
            if all((folder / name).is_file() for name in (PERSON_FILE, POSE_FILE)):
                return folder
    return own_folder()


def own_folder() -> Path:
    """Where a user's own model files go, for messages."""
    return Path(folder_paths.models_dir, FOLDER)


def cache_folder() -> Path:
    """Where extracted poses are kept; may be deleted at any time."""
    return user_folder() / "poses"


def state_folder() -> Path:
    """Where unfinished renders are kept."""
    return user_folder() / "renders"


def user_folder() -> Path:
    """For the pack's own files: in ComfyUI's folder for users, out of its web server's reach where it can be.

    (Older releases of ComfyUI have no folder for system users.)
    """
    system = getattr(folder_paths, "get_system_user_directory", None)
    return Path(system(FOLDER)) if system is not None else Path(folder_paths.get_user_directory(), FOLDER)


def output_place(prefix: str, width: int = 0, height: int = 0) -> tuple[str, str, int, str]:
    """Where a node may save: the folder, the name, the number that follows it, and the folder below the output folder.

    Raises:
        OutputError: the prefix leads out of the output folder, or names what the system does not make.
    """
    output = folder_paths.get_output_directory()
    check_name(Path(output, prefix))
    try:
        return folder_paths.get_save_image_path(prefix, output, width, height)[:4]
    except OSError as error:
        raise OutputError(
            f"filename_prefix {prefix!r} names a place that cannot be made ({error.strerror or error}): shorten it, "
            "or name another folder"
        ) from error
    except Exception as error:  # ComfyUI raises a bare Exception for a place outside
        raise OutputError(
            f"filename_prefix {prefix!r} leads out of ComfyUI's output folder {output}: name a folder below it, such "
            "as video/EchoMimic"
        ) from error
