"""Sort DICOM archives: each X-ray into a folder per body-part class, one manifest row for every file."""

__version__ = "0.1.0"
