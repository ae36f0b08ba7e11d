"""The project's options, the values they may have, and the YAML files that set them."""

from .checks import Rule, above, at_least, between, check_choice, check_options, inside, one_of
from .defaults import add_autoassign_config
from .device import use_cpu_without_cuda
from .files import find_config, get_config_file
from .loading import load_config, load_config_text, normalize_opts
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
    "find_config",
    "get_config_file",
    "inside",
    "load_config",
    "load_config_text",
    "normalize_opts",
    "one_of",
    "use_cpu_without_cuda",
]
