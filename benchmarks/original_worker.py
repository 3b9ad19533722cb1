"""Runs the released EchoMimicV2 for `benchmarks.compare`, in an environment of its own (it needs diffusers 0.31 and
transformers 4.46), so nothing of this repository is imported here.

    python original_worker.py CHECKOUT WEIGHTS.safetensors INPUTS.safetensors THREADS DEVICE PRECISION

WEIGHTS holds the denoising UNet's tensors, INPUTS a window's inputs and, under `bank.`, the reference features by block
name; both are moved to the device (`cpu`, `cuda`) and cast to the precision (`float32`, `float16`, `bfloat16`). Every
line on standard input names a step, `plain` or `guided`, which is run once and answered with a line of JSON.
"""

from __future__ import annotations

import json
import sys
import time
from pathlib import Path

import torch
from safetensors.torch import load_file

# As in benchmarks.setup.Window.
TIMESTEP = 600


def build(checkout: str, weights: dict[str, torch.Tensor]) -> torch.nn.Module:
    """The published denoising UNet with its motion modules, as the released configuration makes it."""
    sys.path.insert(0, checkout)
    from omegaconf import OmegaConf
    from src.models.unet_3d_emo import EMOUNet3DConditionModel

    settings = OmegaConf.load(f"{checkout}/configs/inference/inference_v2.yaml")
    with torch.device("meta"):
        unet = EMOUNet3DConditionModel(**OmegaConf.to_container(settings.unet_additional_kwargs))
    unet.load_state_dict(weights, assign=True)
    return unet.eval()


class Original:
    """The released denoising step with its reference attention, on a CPU or CUDA device."""

    def __init__(self, checkout: str, weights: str, inputs: str, device: torch.device, dtype: torch.dtype) -> None:
        self.device = device
        self.inputs = {name: tensor.to(device, dtype) for name, tensor in load_file(inputs).items()}
        self.bank = {n.removeprefix("bank."): t for n, t in self.inputs.items() if n.startswith("bank.")}
        self.unet = build(checkout, {name: tensor.to(device, dtype) for name, tensor in load_file(weights).items()})

    def attend_to_reference(self, guided: bool) -> None:
        """Install the released reference attention, with the features that its writer would have stored."""
        from src.models.attention import TemporalBasicTransformerBlock
        from src.models.mutual_self_attention import ReferenceAttentionControl

        # The released class names the CUDA device in a default argument.
        install = ReferenceAttentionControl.register_reference_hooks
        install.__defaults__ = tuple(
            self.device if isinstance(value, torch.device) else value for value in install.__defaults__
        )
        blocks = {n: m for n, m in self.unet.named_modules() if isinstance(m, TemporalBasicTransformerBlock)}
        ReferenceAttentionControl(
            self.unet, do_classifier_free_guidance=guided, mode="read", batch_size=1, fusion_blocks="full"
        )
        for name, block in blocks.items():
            features = self.bank[name]
            block.bank = [torch.cat([features, features]) if guided else features]

    @torch.no_grad()
    def step(self, guided: bool) -> torch.Tensor:
        """What the released sampler does for one window of one step: the velocity, after guidance 2.5."""
        latents, audio, pose = self.inputs["latents"], self.inputs["audio"], self.inputs["pose"]
        if guided:
            latents = latents.repeat(2, 1, 1, 1, 1)
            audio = torch.cat([torch.zeros_like(audio), audio])
            pose = torch.cat([torch.zeros_like(pose), pose])
        velocity = self.unet(
            latents,
            torch.tensor(TIMESTEP, device=self.device),
            encoder_hidden_states=None,
            audio_cond_fea=audio,
            face_musk_fea=pose,
            return_dict=False,
        )[0]
        if guided:
            unconditional, conditional = velocity.chunk(2)
            velocity = unconditional + 2.5 * (conditional - unconditional)
        return velocity


def synchronize(device: torch.device) -> None:
    """Wait until the device has finished, before a clock is read."""
    if device.type == "cuda":
        torch.cuda.synchronize(device)


def main() -> None:
    checkout, weights, inputs, threads, device, precision = sys.argv[1:7]
    torch.set_num_threads(int(threads))
    # The released code prints while it loads; the answers must stay alone on standard output.
    answers, sys.stdout = sys.stdout, sys.stderr
    original = Original(checkout, weights, inputs, torch.device(device), getattr(torch, precision))
    installed = None
    print(json.dumps({"torch": torch.__version__}), file=answers, flush=True)
    for line in sys.stdin:
        guided = line.strip() == "guided"
        if guided != installed:
            original.attend_to_reference(guided)
            installed = guided
        synchronize(original.device)
        wall, cpu = time.perf_counter(), time.process_time()
        velocity = original.step(guided)
        synchronize(original.device)
        answer = {"seconds": time.perf_counter() - wall, "cpu_seconds": time.process_time() - cpu}
        torch.save(velocity.float().cpu(), Path(inputs).with_suffix(".velocity"))
        print(json.dumps(answer), file=answers, flush=True)


if __name__ == "__main__":
    main()
