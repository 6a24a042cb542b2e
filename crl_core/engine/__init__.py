"""Training: `fit`, and what it stands on."""
