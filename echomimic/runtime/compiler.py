"""The denoiser's passes through torch's compiler: faster on some machines; results differ by rounding only.

A pass is compiled once for each shape and each set of inputs (with and without conditions), and then used for every
window, step, clip and render of the process: windows of one size are of one shape however long a clip is.
"""

from __future__ import annotations

import functools
import logging
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from ..errors import EchoMimicError, is_out_of_memory
from ..models.denoising import DenoisingUNet

logger = logging.getLogger("echomimic")


def predict(network: DenoisingUNet, latents: Tensor, timestep: Tensor | float, **conditions: Any) -> Tensor:
    """What is compiled: a function of the network, so that networks of one size share it."""
    return network.predict(latents, timestep, **conditions)


def compiler_options(device: str) -> dict[str, Any]:
    """Options of `torch.compile` for a kind of device: CUDA graphs where it has them."""
    return {"mode": "reduce-overhead"} if device == "cuda" else {}


@functools.cache
def compiler_for(device: str) -> Compiler:
    """The process's compiler for a kind of device: renders share compiled code, and a failure is not repeated."""
    return Compiler(compiler_options(device))


class Compiler:
    """Compiles passes at their first run; where compilation fails, they run uncompiled, and one warning is logged.

    Args:
        options: for `torch.compile`.
    """

    def __init__(self, options: dict[str, Any]) -> None:
        self.options = options
        self.compiled: Callable[..., Tensor] | None = None
        self.works = True

    def run(self, network: DenoisingUNet, latents: Tensor, timestep: float, **conditions: Any) -> Tensor:
        """`network.predict(latents, timestep, **conditions)`, compiled."""
        if self.works:
            # A Python number would be compiled in as a constant, and every step would be compiled again.
            timestep_tensor = torch.full((), timestep, device=latents.device)
            try:
                velocity = self.prepared()(network, latents, timestep_tensor, **conditions)
            except EchoMimicError:
                raise
            except Exception as error:
                # Whatever is missing here (a C++ compiler, triton, a Python that torch supports) has its own exception.
                if is_out_of_memory(error):
                    raise
                self.works = False
                cause = getattr(error, "inner_exception", error)  # torch wraps what its parts raise
                reason = str(cause).strip().split("\n")[0] or type(cause).__name__
                logger.warning("the network cannot be compiled here (%s): continuing without", reason)
            else:
                # The next call of a CUDA graph overwrites this one's output.
                return velocity.clone()
        return network.predict(latents, timestep, **conditions)

    def prepared(self) -> Callable[..., Tensor]:
        if self.compiled is None:
            logger.info("compiling the network: the first windows take minutes, the others less than without")
            self.compiled = torch.compile(predict, dynamic=False, **self.options)
        return self.compiled


@dataclass(frozen=True)
class CompiledDenoiser:
    """Takes the place of a `DenoisingUNet` when windows are computed."""

    network: DenoisingUNet
    compiler: Compiler

    def predict(self, latents: Tensor, timestep: float, **conditions: Any) -> Tensor:
        """See `DenoisingUNet.predict`."""
        return self.compiler.run(self.network, latents, timestep, **conditions)
