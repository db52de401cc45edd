"""A filter that a person writes: what it chooses, what it refuses and where it says the trouble is."""

import os
import re

import pytest

from dicomsort.errors import UsageError
from dicomsort.export.datasets.where import compiled
from dicomsort.manifest.columns import columns
from dicomsort.manifest.rows import Row
from dicomsort.model.heads import Decision
from dicomsort.outcome import Action, FileStamp, Header, Reviewed, Status

ANSWERS = (
    "score_hand",
    "score_knee",
    "view.label",
    "view.confidence",
    "view.score_frontal",
    "view.score_lateral",
)
NAMES = columns(ANSWERS)


def cells(path: str, label: str = "hand", confidence: float | None = 0.5, **more: object) -> list[str]:
    view = Decision(str(more.pop("view", "frontal")), 0.75, (0.75, 0.25))
    told = {"status": Status.SORTED, "label": label, "confidence": confidence, "scores": (0.5, 0.5)}
    row = Row(path, **{**told, "further": (view,), "stamp": FileStamp(10, 1), **more})  # type: ignore[arg-type]
    return row.cells(len(ANSWERS), False, "m@1")


ROWS = [
    cells("/a", header=Header(modality="DX", rows=100), action=Action.COPY.value),
    cells("/b", "knee", 0.99, view="lateral", header=Header(modality="CR", body_part_examined="-Hand (l)")),
    cells("/c", "hand", None, header=Header(modality="DX", rows=3000)),
    cells("/d", "hand", 0.2, reviewed=Reviewed("knee", "@me", "2026-02-01T00:00:00Z")),
]
CHOSEN = {
    "view = frontal": "acd",
    "view.label == 'frontal' AND confidence > .3": "a",
    "view != frontal": "b",
    "confidence >= 0.99 or rows < 200": "ab",
    "confidence > 0.1 and not (label = knee)": "ad",
    "not confidence > 0.3": "cd",
    "confidence = ''": "c",
    "confidence != ''": "abd",
    'modality in (CR, "MG")': "b",
    "modality not in (CR, MG)": "acd",
    "modality = ''": "d",
    "body_part_examined = '-Hand (l)'": "b",
    "final_label = knee": "bd",
    "label = knee": "b",
    "rows in (100, 3e3)": "ac",
    "rows not in (100)": "bcd",
    "reviewed_at >= 2026-01-01": "d",
    "reviewed_at < '2026-01-01'": "",
    "reviewed_by = @me": "d",
    "view=frontal and modality=DX or label=knee": "abc",
    "view=frontal and (modality=DX or label=knee)": "ac",
    "view.score_frontal <= 0.75 and path = '/a'": "a",
    "NOT NOT label = hand": "acd",
    "\"label\" <> 'hand'": "b",
    "path = '/it\\'s'": "",
}
WRONG = {
    "": "--where is empty",
    "vew = frontal": r"at character 1 \('vew = frontal'\): no column 'vew': did you mean 'view'\?",
    "label = hand and modalty = DX": r"at character 18.*: no column 'modalty': did you mean 'modality'\?",
    "view = frontl": r"at character 8.*: 'view.label' has no label 'frontl': did you mean 'frontal'\?",
    "status = sortd": r"no status 'sortd': did you mean 'sorted'\?",
    "confidence > high": "at character 14.*: 'confidence' holds numbers, and 'high' is none",
    "confidence > nan": "'nan' is none",
    "rows = 1_000": "'1_000' is none",
    "rows = ٣": "'٣' is none",
    "'la\nbel' = \x1b": r"no column 'la\\x0abel'",
    "label = 'ha\nnd'": r"no label 'ha\\x0and'",
    "confidence > ''": "nothing is smaller or greater than an empty cell",
    "modality > CR": "at character 10.*: 'modality' holds texts: use =, != or in",
    "label": r"at character 6 \(the end\): expected a comparison of 'label': .*",
    "label =": r"at character 8 \(the end\): expected a value",
    "label = and": "at character 9.*: expected a value",
    "(label = hand": "a parenthesis is not closed",
    "label = hand)": r"at character 13 \('\)'\): expected 'and', 'or' or the end",
    "label = hand knee": "at character 14.*: expected 'and', 'or' or the end",
    "label = 'hand": r"at character 9.*: the quotation mark is not closed",
    "label in hand": r"expected '\(' and a list of values",
    "label in (hand knee)": r"expected ',' or '\)'",
    "label not hand": "expected 'in'",
    "label ! hand": "at character 7.*: not understood",
    "(" * 60 + "label = hand": "more than 50",
    "label = hand or " * 1000: "longer than 10000",
    "__import__('os').system('x')": "expected|no column",
}


@pytest.mark.parametrize("text", CHOSEN)
def test_it_chooses_what_it_says(text: str) -> None:
    test = compiled(text, NAMES)
    assert "".join(row[0][1:] for row in ROWS if test(row)) == CHOSEN[text]


@pytest.mark.parametrize("text", WRONG, ids=lambda text: text[:30])
def test_what_is_wrong_is_told_in_one_line_with_its_place(text: str) -> None:
    with pytest.raises(UsageError) as told:
        compiled(text, NAMES)
    assert re.search(WRONG[text], str(told.value))
    assert "\n" not in str(told.value)


def test_a_column_beats_the_short_name_of_an_answer() -> None:
    names = columns(("score_a", "rows.label", "rows.confidence", "rows.score_x"))
    with pytest.raises(UsageError, match="'rows' holds numbers"):
        compiled("rows = x", names)


def test_paths_are_written_as_they_stand_in_the_manifest() -> None:
    row = cells(os.fsdecode(b"/caf\xe9\\'"))
    assert compiled(r"path = '/caf\xe9\x5c\''", NAMES)(row)
