"""The networks of EchoMimicV2, with the published tensor names."""

from . import casting_layers
from .attention import AttentionFunction, scaled_dot_product_attention
from .config import MAX_WINDOW, UNetConfig
from .denoising import DenoisingUNet, ProjectedAudio, ProjectedReference
from .networks import RECOMMENDED_SETTINGS, VARIANTS, Networks, RecommendedSettings, Variant
from .pose_encoder import PoseEncoder
from .reference import ReferenceUNet

__all__ = [
    "MAX_WINDOW",
    "RECOMMENDED_SETTINGS",
    "VARIANTS",
    "AttentionFunction",
    "DenoisingUNet",
    "Networks",
    "PoseEncoder",
    "ProjectedAudio",
    "ProjectedReference",
    "RecommendedSettings",
    "ReferenceUNet",
    "UNetConfig",
    "Variant",
    "casting_layers",
    "scaled_dot_product_attention",
]
