"""The pieces of a method: branches, contrasts between them, and the pipeline that has both."""
