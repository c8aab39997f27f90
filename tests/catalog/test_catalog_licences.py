"""Licences decide what may be used, and the table of corpora says what is owed."""

import logging

import pytest
from catalog_project import DIGITS, NOISE, Project, as_wav, sound

from tasks.catalog.owed import allowed, together
from tasks.common.errors import UserError


@pytest.mark.parametrize(
    ("licence", "expected"),
    [
        ("CC0-1.0", True),
        ("CC-BY-4.0", True),
        ("CC-BY-NC-4.0", False),
        ("CC0-1.0 AND CC-BY-4.0", True),
        ("CC0-1.0 AND CC-BY-NC-4.0", False),
        ("CC-BY-NC-4.0 OR CC0-1.0", True),
        ("CC0-1.0 AND CC-BY-NC-4.0 OR CC-BY-NC-4.0", False),
        ("CC0-1.0 AND (CC-BY-4.0 OR CC-BY-NC-4.0)", False),
        ("(CC0-1.0 AND CC-BY-4.0)", True),
    ],
)
def test_every_part_must_be_allowed(licence: str, expected: bool) -> None:
    assert allowed(licence, ["CC0-1.0", "CC-BY-4.0"]) == expected


def test_licences_together() -> None:
    assert together({"MIT", "CC0-1.0 AND MIT", "CC0-1.0"}) == "CC0-1.0 AND MIT"


def test_clips_that_may_not_be_used_are_refused_one_by_one(project: Project, monkeypatch: pytest.MonkeyPatch) -> None:
    project.entry(NOISE, licences={"rain": "CC-BY-NC-4.0", "wind": "CC-BY-4.0 AND CC-BY-NC-4.0"})
    for number, name in enumerate(["hum", "rain", "wind"]):
        project.write(f"din/{name}.wav", as_wav(sound(number, 4.0)))
    project.write("din/again.wav", (project.corpora / "din/rain.wav").read_bytes())
    project.use(noise=["din"], allow_licences=["CC0-1.0", "CC-BY-4.0"], max_quarantine_share=0.0)
    project.build()
    refused = project.rows("quarantine")
    assert {row["reason"] for row in refused} == {"licence"} and len(refused) == 8
    assert {row["noise_type"] for row in project.rows("noise")} == {"hum", "again"}  # a copy under a licence that is allowed is used
    project.use(noise=["din"], allow_licences=["CC-BY-NC-4.0", "CC0-1.0", "CC-BY-4.0"])
    assert project.build().done["files"] == 0
    assert {row["noise_type"] for row in project.rows("noise")} == {"hum", "again", "wind"}


def test_a_licence_per_clip_comes_from_its_field(project: Project) -> None:
    names = {"licence": {"by": "CC-BY-4.0", "zero": "CC0-1.0"}}
    project.entry(NOISE, pattern=r"(?P<noise_type>[a-z]+)-(?P<licence>[a-z]+)\.wav", licence_field="licence", labels=names, licences={})
    for number, name in enumerate(["rain-by", "wind-zero", "hum-odd"]):
        project.write(f"din/{name}.wav", as_wav(sound(number, 4.0)))
    project.use(noise=["din"])
    project.build()
    assert {row["noise_type"]: row["licence"] for row in project.rows("noise")} == {"rain": "CC-BY-4.0", "wind": "CC0-1.0"}
    assert set(project.refused().values()) == {"licence"} and len(project.refused()) == 4
    assert project.rows("corpora")[0]["licences"] == ["CC-BY-4.0", "CC0-1.0"]


def test_a_licence_nobody_knows_is_a_mistake(project: Project) -> None:
    project.entry(NOISE)
    project.use(noise=["din"], allow_licences=["CC-BY"])
    with pytest.raises(UserError, match=r"allow_licences.*'CC-BY' is no SPDX licence"):
        project.build()


def test_the_table_of_corpora(project: Project, caplog: pytest.LogCaptureFixture) -> None:
    project.digits()
    project.entry(DIGITS, expected={"files": 36})
    project.entry(NOISE, expected={"files": 100, "hours": 0.5}, fetch="dvc import-url https://example.org/din.zip", licences={})
    project.write("din/rain.wav", as_wav(sound(1, 6.0)))
    project.use(speech=["digits"], noise=["din"])
    with caplog.at_level(logging.INFO, "dinproof"):
        project.build()
    assert "din: 1 files here, 100 as published" in caplog.text and "hours here, 0.5 as published" in caplog.text
    assert "digits: 36 files here" not in caplog.text
    din, digits = project.rows("corpora")
    assert (din["corpus"], din["files"], din["clips"], din["expected_files"], din["licences"]) == ("din", 1, 6, 100, ["CC0-1.0"])
    assert din["hours"] == pytest.approx(6 / 3600, abs=1e-4) and din["fetch"].startswith("dvc import-url") and din["citation"] == "none"
    assert (digits["corpus"], digits["files"], digits["clips"]) == ("digits", 36, 36)  # what is composed is not counted
