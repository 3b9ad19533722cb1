"""The networks of EchoMimicV2, with the published tensor names."""

from .config import MAX_WINDOW, UNetConfig
from .denoising import DenoisingUNet, ProjectedAudio, ProjectedReference
from .layers import scaled_dot_product_attention
from .pose_encoder import PoseEncoder
from .reference import ReferenceUNet

__all__ = [
    "MAX_WINDOW",
    "DenoisingUNet",
    "PoseEncoder",
    "ProjectedAudio",
    "ProjectedReference",
    "ReferenceUNet",
    "UNetConfig",
    "scaled_dot_product_attention",
]
