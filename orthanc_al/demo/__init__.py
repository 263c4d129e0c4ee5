"""Synthetic radiographs that show the service at work where there is no PACS."""
