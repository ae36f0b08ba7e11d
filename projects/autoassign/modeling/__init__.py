"""The detector: backbone, head, label assignments and losses."""

from .backbone import build_point_resnet_fpn_backbone
from .detector import PointDetector

__all__ = ["PointDetector", "build_point_resnet_fpn_backbone"]
