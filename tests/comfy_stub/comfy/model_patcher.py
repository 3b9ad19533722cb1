"""Stand-in for ComfyUI's handle on a model."""

from __future__ import annotations

from typing import Any


class ModelPatcher:
    def __init__(self, model, load_device, offload_device) -> None:
        self.model, self.load_device, self.offload_device = model, load_device, offload_device
        self.patches: dict[str, Any] = {}
        self.model_options: dict[str, Any] = {"transformer_options": {}}
        model.device = offload_device

    def is_dynamic(self) -> bool:
        return False

    def add_patches(self, patches, strength_patch=1.0):
        known = self.model.state_dict()
        assert patches.keys() <= known.keys()
        self.patches = {**self.patches, **{key: (strength_patch, patch) for key, patch in patches.items()}}

    def clone(self):
        copy = type(self)(self.model, self.load_device, self.offload_device)
        copy.model_options = {**self.model_options}
        copy.patches = {**self.patches}
        return copy


class CoreModelPatcher(ModelPatcher):
    pass
