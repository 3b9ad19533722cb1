"""How far pictures decoded in bfloat16 are from those in float32: `python -m benchmarks.vae_precision [SIZE]`.

The VAE has the published size and weights drawn by the golden recipe, which keep every layer's numbers near unit
variance as trained ones do; trained weights are not needed to see what rounding does.
"""

from __future__ import annotations

import sys
import tempfile
from pathlib import Path

import torch

from benchmarks.setup import describe_machine
from echomimic.vae import load_vae
from tests.published import PUBLISHED_VAE, write_vae


@torch.no_grad()
def decoded(path: Path, latents: torch.Tensor, dtype: torch.dtype) -> torch.Tensor:
    """Pictures in 0..255, not rounded."""
    vae = load_vae(path, dtype=dtype)
    pictures = vae.decode(latents.to(dtype) / 0.18215).sample.float()
    return (pictures / 2 + 0.5).clamp(0, 1) * 255


def main() -> None:
    size = int(sys.argv[1]) if len(sys.argv) > 1 else 256
    latents = torch.randn(1, 4, size // 8, size // 8, generator=torch.Generator().manual_seed(0))
    with tempfile.TemporaryDirectory() as folder:
        path = write_vae(Path(folder) / "vae", PUBLISHED_VAE)
        exact = decoded(path, latents, torch.float32)
        print(describe_machine("cpu"))
        for dtype in (torch.bfloat16, torch.float16):
            difference = (decoded(path, latents, dtype) - exact).abs()
            print(
                f"{dtype}: {difference.mean():.3f} of 255 on average, {difference.max():.1f} at most, "
                f"values {exact.std():.0f} of 255 apart"
            )


if __name__ == "__main__":
    main()
