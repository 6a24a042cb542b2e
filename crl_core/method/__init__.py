"""What a method is made of: branches, contrasts between them, and the pipeline of both."""
