"""Finds problems of the installed plugins, from metadata and by importing parts in other processes."""
