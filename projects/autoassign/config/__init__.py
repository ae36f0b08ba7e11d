"""The project's options, the values they may have, and the YAML files that set them."""

from .checks import Rule, above, at_least, between, check_choice, check_options, inside, one_of
from .defaults import add_autoassign_config
from .files import get_config_file
from .registry import LABEL_ASSIGNMENT_REGISTRY

__all__ = [
    "LABEL_ASSIGNMENT_REGISTRY",
    "Rule",
    "above",
    "add_autoassign_config",
    "at_least",
    "between",
    "check_choice",
    "check_options",
    "get_config_file",
    "inside",
    "one_of",
]
