"""What one batch says of a method: why a query is pulled and pushed, and whether the run is healthy."""
