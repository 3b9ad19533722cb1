"""How alike pictures are: PSNR and SSIM."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

from .packages import missing_package

# torchmetrics holds five filtered copies of what it is given.
PICTURES_AT_ONCE = 8


def psnr(a: Tensor, b: Tensor) -> float:
    """Of pictures `[n, 3, H, W]` in 0..1, in dB; 100 for equal ones, since JSON knows no infinity."""
    error = float((a - b).square().mean())
    return 100.0 if error < 1e-10 else -10 * float(np.log10(error))


def ssim(a: Tensor, b: Tensor) -> float:
    """Structural similarity of pictures `[n, 3, H, W]` in 0..1 by torchmetrics, the mean of the pictures'.

    In float32, as papers' tables have it: flat regions lose up to 5e-4. In float64 it takes 20 times as long on a CPU.

    Raises:
        MissingPackageError: torchmetrics is not installed.
    """
    try:
        from torchmetrics.functional.image import structural_similarity_index_measure  # optional
    except ImportError as error:
        raise missing_package("torchmetrics", "SSIM") from error
    parts = zip(a.split(PICTURES_AT_ONCE), b.split(PICTURES_AT_ONCE))
    each = [structural_similarity_index_measure(x, y, data_range=1.0, reduction="none") for x, y in parts]
    return float(torch.cat([values.reshape(-1) for values in each]).mean())  # type: ignore[union-attr]
