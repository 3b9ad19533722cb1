"""accelerate's Accelerator as training uses it: devices and processes, and nothing else."""

from __future__ import annotations

from typing import Any

from ..errors import TrainingError
from .packages import missing_package


def make_accelerator(device: str) -> Any:
    """accelerate's Accelerator, for one process or several that each hold all weights.

    Precision is the networks' own matter, see `TrainedNetworks.forward`: a mixed precision of accelerate's own
    configuration is not used.

    Args:
        device: "cpu" stays there, anything else leaves it to accelerate.

    Raises:
        MissingPackageError: accelerate is not installed.
        TrainingError: it is configured to divide the weights between processes.
    """
    try:
        from accelerate import Accelerator, DistributedDataParallelKwargs  # optional
    except ImportError as error:
        raise missing_package("accelerate", "training") from error
    # A step's rows may use neither the reference nor the pose.
    unused = DistributedDataParallelKwargs(find_unused_parameters=True)
    accelerator = Accelerator(cpu=device == "cpu", mixed_precision="no", kwargs_handlers=[unused])
    kind = accelerator.distributed_type.value
    if kind in ("FSDP", "DEEPSPEED", "MEGATRON_LM"):
        raise TrainingError(
            f"accelerate is configured for {kind}, which divides the weights between processes; the averaged weights "
            "and the checkpoints need them whole: use `accelerate launch --multi_gpu` (docs/training.md says what a "
            "step takes on each GPU)"
        )
    return accelerator
