"""Inputs and measurements of the benchmark commands in ``tools/``."""
