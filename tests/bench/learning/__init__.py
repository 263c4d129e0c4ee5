"""`make bench-learning`: what the method shows, on any folder of labelled images."""
