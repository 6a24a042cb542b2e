"""Recipes, which are published methods with their data and training: presets, settings, the tables of the review."""
