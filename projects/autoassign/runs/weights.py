"""The weights that a config names."""

from __future__ import annotations

from ..checkpoint import local_weight_file

__all__ = ["check_weights_exist"]


def check_weights_exist(weights: str) -> None:
    """
    Args:
        weights: ``MODEL.WEIGHTS``; "" passes. An address is fetched.

    Raises:
        FileNotFoundError: it names a local file that is not there.
        OSError: it names an address that cannot be fetched.
    """
    if not weights:
        return
    try:
        local_weight_file(weights)
    except OSError as error:
        raise type(error)(f"MODEL.WEIGHTS: {error}") from error
