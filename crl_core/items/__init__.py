"""What sources are written with: items in memory, splits, and which items go together in a batch."""
