"""Shipped configs and their weights, as :mod:`detectron2.model_zoo` gives its own."""

from .zoo import get, get_checkpoint_url, get_config, get_config_file

__all__ = ["get", "get_checkpoint_url", "get_config", "get_config_file"]
