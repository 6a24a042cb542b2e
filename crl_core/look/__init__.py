"""Looks at one batch: what a query is pulled to and pushed from, and whether the run is healthy."""
