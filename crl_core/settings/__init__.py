"""What a user sets of a recipe: its options, its presets, and places in the spec of a run."""
