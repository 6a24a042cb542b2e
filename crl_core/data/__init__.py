"""What a method computes with: rows, views, relations, pairs and their scores."""
