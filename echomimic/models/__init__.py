"""The networks of EchoMimicV2, with the published tensor names."""

from . import casting_layers
from .attention import AttentionFunction, scaled_dot_product_attention
from .config import MAX_WINDOW, UNetConfig
from .denoising import DenoisingUNet, ProjectedAudio, ProjectedReference
from .pose_encoder import PoseEncoder
from .reference import ReferenceUNet

__all__ = [
    "MAX_WINDOW",
    "AttentionFunction",
    "DenoisingUNet",
    "PoseEncoder",
    "ProjectedAudio",
    "ProjectedReference",
    "ReferenceUNet",
    "UNetConfig",
    "casting_layers",
    "scaled_dot_product_attention",
]
