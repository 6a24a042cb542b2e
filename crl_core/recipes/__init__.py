"""Published methods with data and training that suit them: presets, settings, and the tables of the review."""
