"""The command lines: arguments in, text out, and nothing more."""
