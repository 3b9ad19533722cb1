"""Stand-in for ComfyUI's handle on a model."""


class CoreModelPatcher:
    def __init__(self, model, load_device, offload_device) -> None:
        self.model, self.load_device, self.offload_device = model, load_device, offload_device
        model.device = offload_device

    def is_dynamic(self) -> bool:
        return False
