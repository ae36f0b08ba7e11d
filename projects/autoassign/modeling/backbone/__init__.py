"""Feature pyramids over ResNets, Swin Transformers and torchvision's models."""

from .fpn import LastLevelP6, build_point_fpn_backbone
from .resnet import build_point_resnet_backbone
from .swin import build_swin_backbone
from .torchvision_models import TorchvisionBackbone, check_torchvision_model

__all__ = [
    "LastLevelP6",
    "TorchvisionBackbone",
    "build_point_fpn_backbone",
    "build_point_resnet_backbone",
    "build_swin_backbone",
    "check_torchvision_model",
]
