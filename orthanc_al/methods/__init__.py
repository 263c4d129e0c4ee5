"""The science: pure functions on arrays, each with its source."""
