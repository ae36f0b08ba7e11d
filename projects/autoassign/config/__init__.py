"""The project's options and the YAML files that set them."""

from .defaults import add_autoassign_config
from .files import get_config_file

__all__ = ["add_autoassign_config", "get_config_file"]
