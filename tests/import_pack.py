"""Imports the pack as ComfyUI does at its start, over the stand-ins, in a process of its own.

`python -m tests.import_pack` prints the processor and wall seconds that it took, torch being there already, and the
modules that are loaded then.
"""

from __future__ import annotations

import asyncio
import importlib.util
import json
import sys
import tempfile
import time
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]


def main() -> None:
    sys.path.insert(0, str(ROOT / "tests" / "comfy_stub"))
    import comfy.model_management
    import folder_paths
    import PIL.Image  # noqa: F401 - ComfyUI has it by then
    import torch  # noqa: F401 - so with this

    assert comfy.model_management
    folder_paths.use(Path(tempfile.mkdtemp()))
    processor, wall = time.process_time(), time.perf_counter()
    spec = importlib.util.spec_from_file_location("pack", ROOT / "__init__.py")
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules["pack"] = module
    spec.loader.exec_module(module)
    extension = asyncio.run(module.comfy_entrypoint())
    asyncio.run(extension.on_load())
    for node in asyncio.run(extension.get_node_list()):
        node.GET_SCHEMA()
    seconds = {"processor": time.process_time() - processor, "wall": time.perf_counter() - wall}
    print(json.dumps({**seconds, "modules": sorted(sys.modules)}))


if __name__ == "__main__":
    main()
