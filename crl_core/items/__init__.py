"""Helpers for sources: items in memory, splits, and which items are in one batch."""
