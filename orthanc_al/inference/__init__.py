"""Model packages, and running them."""
