"""The rules that ship with the package, one file each, as a user's own would be written."""
