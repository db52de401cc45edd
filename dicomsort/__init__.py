"""Sort DICOM archives: each X-ray into a folder per body-part class, one manifest row for every file.

from dicomsort import Preprocessing, read_image

picture = read_image("a.dcm", Preprocessing(size=224))
"""

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from dicomsort.dicom.reader import UnreadableError, read_image
    from dicomsort.dicom.sop_classes import ReadSettings
    from dicomsort.imaging.canvas import Preprocessing

__all__ = ["Preprocessing", "ReadSettings", "UnreadableError", "__version__", "read_image"]
__version__ = "0.1.0"


def __getattr__(name: str) -> Any:
    """Import the public names when they are asked for: the command line starts without NumPy."""
    if name not in __all__:
        raise AttributeError(f"module 'dicomsort' has no attribute '{name}'")
    from dicomsort.dicom import reader  # noqa: PLC0415

    return getattr(reader, name)
