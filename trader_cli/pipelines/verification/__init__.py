"""The checks of `trader verify`, one module for each line of the guide's list."""
