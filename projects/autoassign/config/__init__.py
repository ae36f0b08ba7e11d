"""The project's options, the values they may have, and the YAML files that set them."""

from .allowed_values import ALLOWED_VALUES, check_values
from .checks import (
    Rule,
    above,
    at_least,
    below,
    between,
    check_options,
    check_value,
    inside,
    one_of,
)
from .defaults import add_autoassign_config
from .device import fit_to_machine
from .files import find_config, get_config_file
from .loading import load_config, load_config_text, normalize_opts, own_options, set_options
from .messages import first_of
from .options import flatten_options
from .registry import LABEL_ASSIGNMENT_REGISTRY, load_strategies
from .replacing import remove_unfinished, replacing
from .strategies import strategy_names, strategy_options
from .yaml_aliases import refuse_nested_aliases

__all__ = [
    "ALLOWED_VALUES",
    "LABEL_ASSIGNMENT_REGISTRY",
    "Rule",
    "above",
    "add_autoassign_config",
    "at_least",
    "below",
    "between",
    "check_options",
    "check_value",
    "check_values",
    "find_config",
    "first_of",
    "fit_to_machine",
    "flatten_options",
    "get_config_file",
    "inside",
    "load_config",
    "load_config_text",
    "load_strategies",
    "normalize_opts",
    "one_of",
    "own_options",
    "refuse_nested_aliases",
    "remove_unfinished",
    "replacing",
    "set_options",
    "strategy_names",
    "strategy_options",
]
