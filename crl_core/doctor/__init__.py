"""What is wrong with the installed plugins, found from metadata and by importing parts in other processes."""
