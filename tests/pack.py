"""The pack as ComfyUI loads it, over stand-ins for ComfyUI (tests/comfy_stub): CI has no ComfyUI."""

from __future__ import annotations

import asyncio
import importlib.util
import sys
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
import torch

ROOT = Path(__file__).resolve().parents[1]
STUB = Path(__file__).parent / "comfy_stub"
# ComfyUI names a pack's module after its path.
NAME = str(ROOT).replace(".", "_x_")


def load() -> ModuleType:
    """Import the pack the way `load_custom_node` of ComfyUI's nodes.py does."""
    if NAME in sys.modules:
        return sys.modules[NAME]
    sys.path.insert(0, str(STUB))
    spec = importlib.util.spec_from_file_location(NAME, ROOT / "__init__.py")
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[NAME] = module
    spec.loader.exec_module(module)
    return module


class Pack:
    """The pack's nodes by id, its modules, and the stand-ins beneath them."""

    def __init__(self, folder: Path) -> None:
        module = load()
        import comfy.model_management as model_management
        import comfy.utils
        import folder_paths
        import latent_preview
        import server

        folder_paths.use(folder)
        model_management.reset()
        comfy.utils.updates.clear()
        server.texts.clear()
        latent_preview.enabled = True
        self.folder, self.memory, self.updates = folder, model_management, comfy.utils.updates
        self.models = folder / "models" / "echomimic"
        self.extension = asyncio.run(module.comfy_entrypoint())
        asyncio.run(self.extension.on_load())
        self.nodes = {n.GET_SCHEMA().node_id: n for n in asyncio.run(self.extension.get_node_list())}

    def part(self, name: str) -> ModuleType:
        """A module of the pack, `nodes.host` or `echomimic.errors`: these are not the ones that `import` gives."""
        return importlib.import_module(f"{NAME}.{name}")

    def run(self, node_id: str, **inputs: Any) -> Any:
        """Execute a node as ComfyUI does: defaults for widgets that are not given, no gradients."""
        node = self.nodes[node_id]
        defaults = {
            entry.id: default_of(entry)
            for entry in node.GET_SCHEMA().inputs
            if "default" in entry.options or entry.io_type == "COMFY_DYNAMICCOMBO_V3" or "options" in entry.options
        }
        with torch.inference_mode():
            return node.execute(**{**defaults, **inputs})

    def choose(self, node_id: str, name: str, key: str, **values: Any) -> dict[str, Any]:
        """The value of a node's dynamic list with this choice."""
        (entry,) = [entry for entry in self.nodes[node_id].GET_SCHEMA().inputs if entry.id == name]
        given = chosen(entry, key)
        assert values.keys() <= given.keys()
        return {**given, **values}


def default_of(entry: Any) -> Any:
    if entry.io_type == "COMFY_DYNAMICCOMBO_V3":
        return chosen(entry, entry.options["options"][0].key)
    return entry.options["default"] if "default" in entry.options else entry.options["options"][0]


def chosen(entry: Any, key: str) -> dict[str, Any]:
    """The value of a dynamic list with this choice, and the defaults of what belongs to it."""
    (option,) = [option for option in entry.options["options"] if option.key == key]
    return {entry.id: key, **{part.id: default_of(part) for part in option.inputs}}


@pytest.fixture
def pack(tmp_path: Path) -> Iterator[Pack]:
    """The pack in a ComfyUI whose folders are empty."""
    yield Pack(tmp_path / "comfyui")
