"""The only code that sends orders."""
