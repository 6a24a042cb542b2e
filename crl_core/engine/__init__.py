"""Training: `fit`, its loading of items, optimisers, checkpoints, and the folder of a run."""
