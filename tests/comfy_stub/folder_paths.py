"""Stand-in for ComfyUI's folders, all below a base folder that a test chooses with `use`."""

from __future__ import annotations

from pathlib import Path

supported_pt_extensions = {".ckpt", ".pt", ".pt2", ".bin", ".pth", ".safetensors", ".pkl", ".sft"}
folder_names_and_paths: dict[str, tuple[list[str], set[str]]] = {}
base = Path()
models_dir = ""


def use(folder: Path) -> None:
    """Start anew with this base folder."""
    global base, models_dir
    base, models_dir = folder, str(folder / "models")
    for name in ("input", "output", "temp", "user", "models"):
        (folder / name).mkdir(parents=True, exist_ok=True)
    folder_names_and_paths.clear()
    for name in ("audio_encoders", "vae", "checkpoints", "loras"):
        folder_names_and_paths[name] = ([str(folder / "models" / name)], supported_pt_extensions)


def get_input_directory() -> str:
    return str(base / "input")


def get_output_directory() -> str:
    return str(base / "output")


def get_temp_directory() -> str:
    return str(base / "temp")


def get_user_directory() -> str:
    return str(base / "user")


def get_system_user_directory(name: str = "system") -> str:
    return str(base / "user" / f"__{name}")


def add_model_folder_path(folder_name: str, full_folder_path: str, is_default: bool = False) -> None:
    paths, _ = folder_names_and_paths.setdefault(folder_name, ([], set()))
    if full_folder_path not in paths:
        paths.append(full_folder_path)


def get_folder_paths(folder_name: str) -> list[str]:
    return list(folder_names_and_paths[folder_name][0])


def get_filename_list(folder_name: str) -> list[str]:
    paths, extensions = folder_names_and_paths[folder_name]
    return sorted(
        {
            path.relative_to(root).as_posix()
            for root in map(Path, paths)
            for path in root.rglob("*")
            if path.is_file() and (not extensions or path.suffix.lower() in extensions)
        }
    )


def get_full_path(folder_name: str, filename: str) -> str | None:
    # As the real one: a name cannot lead out of its folder.
    inside = Path("/", filename).resolve().relative_to("/")
    found = (Path(root, inside) for root in folder_names_and_paths[folder_name][0])
    return next((str(path) for path in found if path.is_file()), None)


def get_save_image_path(filename_prefix: str, output_dir: str, image_width: int = 0, image_height: int = 0):
    prefix = Path(filename_prefix)
    folder = Path(output_dir, prefix.parent)
    if not folder.resolve().is_relative_to(Path(output_dir).resolve()):
        raise Exception("Saving image outside the output folder is not allowed.")
    folder.mkdir(parents=True, exist_ok=True)
    counter = 1 + sum(path.name.startswith(f"{prefix.name}_") for path in folder.iterdir())
    return str(folder), prefix.name, counter, str(prefix.parent), filename_prefix
