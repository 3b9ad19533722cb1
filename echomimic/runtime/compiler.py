"""The denoiser's passes through torch's compiler: a choice of the machine's, the result differs by rounding only.

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

# (network, latents, timestep, ...) -> velocity or velocities
Pass = Callable[..., tuple[Tensor, ...]]


def one_branch(network: DenoisingUNet, latents: Tensor, timestep: Tensor, **conditions: Any) -> tuple[Tensor, ...]:
    return (network(latents, timestep, **conditions),)


def both_branches(network: DenoisingUNet, latents: Tensor, timestep: Tensor, **conditions: Any) -> tuple[Tensor, ...]:
    return network.guided(latents, timestep, **conditions)


def compiler_options(device: str) -> dict[str, Any]:
    """What `torch.compile` is asked for on a kind of device: CUDA graphs where there are any."""
    return {"mode": "reduce-overhead"} if device == "cuda" else {}


@functools.cache
def compiler_for(device: str) -> Compiler:
    """The process's compiler for a kind of device, so that renders share what is compiled, and its failure."""
    return Compiler(compiler_options(device))


class Compiler:
    """Compiles passes when they are first run; where that does not work, they run as they are, which is said once."""

    def __init__(self, options: dict[str, Any]) -> None:
        """Args: options: for `torch.compile`."""
        self.options = options
        self.compiled: dict[Pass, Pass] = {}
        self.works = True

    def run(self, work: Pass, network: DenoisingUNet, latents: Tensor, timestep: float, **conditions: Any) -> Any:
        """`work(network, latents, timestep, **conditions)`, compiled."""
        if self.works:
            # A number would be compiled in, and every step anew.
            when = torch.full((), timestep, device=latents.device)
            try:
                results = self.prepared(work)(network, latents, when, **conditions)
            except EchoMimicError:
                raise
            except Exception as error:
                # Whatever is missing here (a C++ compiler, triton, a Python that torch supports) has its own exception.
                if is_out_of_memory(error):
                    raise
                self.works = False
                cause = getattr(error, "inner_exception", error)  # torch wraps what its parts raise
                reason = str(cause).strip().split("\n")[0] or type(cause).__name__
                logger.warning("the network cannot be compiled here (%s): going on without", reason)
            else:
                # The next pass of a CUDA graph writes its results where these are.
                return tuple(result.clone() for result in results)
        return work(network, latents, timestep, **conditions)

    def prepared(self, work: Pass) -> Pass:
        if not self.compiled:
            logger.info("compiling the network: the first windows take minutes, the others less than without")
        if work not in self.compiled:
            self.compiled[work] = torch.compile(work, dynamic=False, **self.options)
        return self.compiled[work]


@dataclass(frozen=True)
class CompiledDenoiser:
    """Stands where a `DenoisingUNet` stands when windows are computed."""

    network: DenoisingUNet
    compiler: Compiler

    def __call__(self, latents: Tensor, timestep: float, **conditions: Any) -> Tensor:
        """See `DenoisingUNet.forward`."""
        return self.compiler.run(one_branch, self.network, latents, timestep, **conditions)[0]

    def guided(self, latents: Tensor, timestep: float, **conditions: Any) -> tuple[Tensor, Tensor]:
        """See `DenoisingUNet.guided`."""
        return self.compiler.run(both_branches, self.network, latents, timestep, **conditions)
