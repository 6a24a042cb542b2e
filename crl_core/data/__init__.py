"""The data of a method: rows, views, relations, pairs and their scores."""
