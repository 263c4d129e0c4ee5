"""DICOM pixel data to model input."""
