"""What a method is made of, and a published one with its data and training: a recipe."""
