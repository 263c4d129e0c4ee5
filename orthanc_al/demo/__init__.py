"""Synthetic radiographs that show the service at work where there is no PACS."""

from orthanc_al.demo.studies import demo_datasets, demo_films

__all__ = ["demo_datasets", "demo_films"]
