"""Every decoder and engine is really tried, and one that gives something else is found."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from dicomsort.dicom import codecs
from dicomsort.dicom import trial as decoding
from dicomsort.doctor import decoders, engines
from dicomsort.doctor.finding import State
from dicomsort.model import trial as computing

JPEG_LS = "1.2.840.10008.1.2.4.80"


def test_there_is_a_sample_of_every_syntax_that_can_be_read_and_of_no_other() -> None:
    assert set(decoding.samples()) == codecs.SUPPORTED
    assert all(not decoding.spoken(syntax).startswith("1.2") for syntax in decoding.samples())


@pytest.mark.parametrize("syntax", sorted(codecs.SUPPORTED))
def test_every_sample_is_read_and_gives_one_picture(syntax: str) -> None:
    assert decoding.attempt(syntax) is None


def test_a_decoder_that_gives_another_picture_is_found(monkeypatch: pytest.MonkeyPatch) -> None:
    right = codecs.decode

    def upside_down(*given: Any) -> codecs.DecodedFrame:
        frame = right(*given)
        return replace(frame, words=np.ascontiguousarray(frame.words[::-1]))

    monkeypatch.setattr(codecs, "decode", upside_down)
    failure = decoding.attempt(JPEG_LS)
    assert failure is not None
    assert failure.status == "decode_error"


def test_the_workers_read_all_samples() -> None:
    told = {one.name: one for one in decoders.examine()}
    assert {one.state for one in told.values()} == {State.OK}
    assert f"{len(codecs.SUPPORTED)} of {len(codecs.SUPPORTED)} are read" in told["transfer syntaxes"].told


def test_the_answer_to_compare_with_is_that_of_the_default_model() -> None:
    """Else run: python tools/doctor_samples.py."""
    assert computing.load().tag in computing.ANSWER.read_text(encoding="utf-8")


def test_each_engine_gives_the_stored_answer() -> None:
    told = {one.name: one for one in engines.examine()}
    assert {"openvino on cpu", "torch on cpu"} <= set(told)
    assert all("answers as it should" in told[name].told for name in ("openvino on cpu", "torch on cpu"))


def test_an_engine_that_computes_something_else_is_a_problem(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    wrong = tmp_path / "trial.json"
    wrong.write_text(f'{{"model": "{computing.load().tag}", "scores": [0, 0, 0, 0, 1]}}')
    monkeypatch.setattr(computing, "ANSWER", wrong)
    told = {one.name: one for one in engines.examine()}
    assert told["openvino on cpu"].state is State.PROBLEM
    assert "do not sort with this engine" in told["openvino on cpu"].told


def test_a_library_that_cannot_be_loaded_is_a_problem_and_no_traceback(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def broken(*_: object) -> None:
        raise ImportError("libsomething.so: cannot open shared object file")

    monkeypatch.setattr(computing, "attempt", broken)
    told = {one.name: one for one in engines.examine()}
    assert (told["torch on cpu"].state, told["torch on cpu"].told) == (
        State.PROBLEM,
        "cannot be used (ImportError)",
    )
