"""What `graph.py` measures, a file for each topic."""
