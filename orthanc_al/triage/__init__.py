"""From a prediction to a tier and a read-by time."""
