"""The ComfyUI side: each node turns ComfyUI's values into the engine's, calls it, and turns the result back."""

from __future__ import annotations

from comfy_api.latest import ComfyExtension, io

from . import audio, decoding, folders, loading, lora, pose, samples, sampling, training
from .checked_inputs import with_checked_inputs
from .native import nodes as native
from .plain_errors import with_plain_errors

NODES: list[type[io.ComfyNode]] = [
    with_plain_errors(with_checked_inputs(node))
    for topic in (loading, audio, pose, sampling, decoding, native, training, lora)
    for node in topic.NODES
]


class EchoMimicExtension(ComfyExtension):
    """What ComfyUI registers."""

    async def on_load(self) -> None:
        folders.register_folders()
        folders.make_model_folder()
        samples.offer_samples()

    async def get_node_list(self) -> list[type[io.ComfyNode]]:
        return NODES
