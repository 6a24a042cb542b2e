"""A run as a page: curve, figures, pictures."""
