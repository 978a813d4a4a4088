"""What was served to whom, in units, and what that costs. Holds no content: ids, names of tools, numbers."""
