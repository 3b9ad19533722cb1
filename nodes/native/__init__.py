"""EchoMimicV2 as a MODEL of ComfyUI: core's samplers, guiders, LoRA loaders and context windows run it."""
