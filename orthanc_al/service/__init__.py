"""The composition root: reads the settings, builds everything from them, and runs it."""
