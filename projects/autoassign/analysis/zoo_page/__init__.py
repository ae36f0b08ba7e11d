"""The table of the shipped recipes: published results, schedules and what they cost."""

from .memory import training_memory
from .page import model_zoo_page
from .recipes import RECIPES

__all__ = ["RECIPES", "model_zoo_page", "training_memory"]
