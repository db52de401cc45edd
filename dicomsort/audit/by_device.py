"""Which device writes wrong tags: a wrong key of its protocol shows there."""

from dicomsort.audit.figures import Device, DeviceTally, worst_devices
from dicomsort.audit.verdicts import Verdict
from dicomsort.report.counts import share
from dicomsort.report.gather import UNKNOWN
from dicomsort.report.tables import Table, clipped, number

_ROWS = 40


def device_table(devices: dict[Device, DeviceTally]) -> Table:
    """Return the devices, those first of which the most images contradict their tags."""
    ranked = worst_devices(devices)
    rows = [
        [
            clipped(" ".join(filter(None, name[:2])) or UNKNOWN, 60),
            f"{tally.images:,}",
            number(tally.verdicts[Verdict.CONTRADICTS.value]),
            share(tally.verdicts[Verdict.CONTRADICTS.value], tally.images),
            number(tally.verdicts[Verdict.MISSING.value] + tally.verdicts[Verdict.UNKNOWN.value]),
            _most_frequent(tally),
            name[2],
        ]
        for name, tally in ranked[:_ROWS]
    ]
    head = (
        "device",
        "images",
        "contradicts",
        "share",
        "missing or unknown",
        "most frequent conflict",
        "station",
    )
    note = f"The {_ROWS} of {len(ranked):,} with the most conflicts." if len(ranked) > _ROWS else ""
    return Table("Images by device", head, rows, note)


def _most_frequent(tally: DeviceTally) -> str:
    for (_, tag, answer), count in tally.conflicts.most_common(1):
        return clipped(f"{tag} shows {answer} ({count:,})", 60)
    return ""
