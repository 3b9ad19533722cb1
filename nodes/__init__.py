"""The ComfyUI side: each node turns ComfyUI's values into the engine's, calls it, and turns the result back."""

from __future__ import annotations

from comfy_api.latest import ComfyExtension, io

from . import audio, decoding, host, loading, pose, sampling, training
from .native import nodes as native


class EchoMimicExtension(ComfyExtension):
    """What ComfyUI registers."""

    async def on_load(self) -> None:
        host.register_folders()
        host.offer_samples()

    async def get_node_list(self) -> list[type[io.ComfyNode]]:
        return [
            *loading.NODES,
            *audio.NODES,
            *pose.NODES,
            *sampling.NODES,
            *decoding.NODES,
            *native.NODES,
            *training.NODES,
        ]
