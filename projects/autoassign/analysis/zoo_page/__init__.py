"""The table of the shipped recipes: published results, schedules and what they cost."""

from .costs import Costs, detector_costs, training_memory
from .page import model_zoo_page
from .recipes import RECIPES, Recipe

__all__ = ["RECIPES", "Costs", "Recipe", "detector_costs", "model_zoo_page", "training_memory"]
