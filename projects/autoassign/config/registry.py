"""The registry of label assignments, below everything that adds to it or reads it."""

from detectron2.utils.registry import Registry

__all__ = ["LABEL_ASSIGNMENT_REGISTRY"]

LABEL_ASSIGNMENT_REGISTRY = Registry("LABEL_ASSIGNMENT")
LABEL_ASSIGNMENT_REGISTRY.__doc__ = """
Label assignments, chosen by ``MODEL.LABEL_ASSIGNMENT.NAME``: subclasses of
:class:`~autoassign.modeling.LabelAssignment`. Their options are added to every config.
"""
