"""What a person must know of a data set before trusting what comes of it, in lines."""

from collections.abc import Iterable, Mapping

from dicomsort.data.dataset import Remarked, Sample
from dicomsort.dicom.plain_pictures import picture_range
from dicomsort.outcome import Reason
from dicomsort.system.telling import counted

DIVIDED = (
    "warning: no patient is known, so images of one may be on two sides of the split: "
    "give --patient COLUMN, or none if there are no such images"
)
RESAMPLED = (
    "warning: no patient is known, so every image counts as one of its own in the intervals; see --patient"
)


def lines_of(remarked: Iterable[Remarked]) -> tuple[str, ...]:
    """Report each oddity once: how many files show it, an example, and what helps."""
    told = list(remarked)
    return (*_shallow(_with(Reason.SHALLOW, told)), *_turned(_with(Reason.POLARITY, told)))


def _with(reason: Reason, remarked: Iterable[Remarked]) -> dict[str, Sample]:
    """Return the samples that have a remark, by name."""
    return {one.name: one for one, remark in remarked if remark == reason}


def _shallow(samples: Mapping[str, Sample]) -> tuple[str, ...]:
    if not samples:
        return ()
    first = samples[min(samples)]
    ranges = map(picture_range, (first.file, *first.views))
    least, most = min((each for each in ranges if each), key=lambda each: each[1], default=(0, 0))
    one, many = "file is a 16-bit picture that uses", "files are 16-bit pictures that use"
    values = f" (values from {least} to {most} of 65535)" if most else ""
    return (
        f"warning: {counted(len(samples), one, many)} less than a quarter of their range, such as "
        f"{first.name}{values}: they are read nearly black; stretch them to 0..65535, or give the DICOM "
        "files they come from",
    )


def _turned(samples: Mapping[str, Sample]) -> tuple[str, ...]:
    if not samples:
        return ()
    return (
        f"warning: {counted(len(samples), 'file leaves', 'files leave')} it in doubt which end of the grays "
        f"is white, such as {min(samples)}: look at them (dicomsort render), and leave out those that are "
        "negatives",
    )
