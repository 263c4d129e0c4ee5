"""Faults on purpose (`make chaos`): nothing here is imported by the program."""
