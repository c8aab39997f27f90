"""Parameters: overlays, switching, and errors a user can act on."""

from pathlib import Path

import pytest
import yaml

from tasks.common import params
from tasks.common.errors import UserError


class Toy(params.Section):
    snr_db: list[float]
    depth: int = 1


@pytest.fixture
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    Path("profiles").mkdir()
    Path("params.yaml").write_text("# kept\nprofile: tiny\ncorpora: data/corpora\ntoy:\n  snr_db: [0, 10]  # dB\n  depth: 2\n")
    Path("profiles/tiny.yaml").write_text("toy: {}\n")
    Path("profiles/recorded.yaml").write_text("toy: {snr_db: [5]}\n")
    return tmp_path


def test_a_profile_is_laid_over_key_by_key(project: Path) -> None:
    assert params.load("toy", Toy) == Toy(snr_db=[0, 10], depth=2)
    (project / "records").mkdir()
    params.switch("recorded", "records")
    assert params.load("toy", Toy) == Toy(snr_db=[5], depth=2)
    assert params.corpora_root() == project / "records"
    params.switch("tiny", None)
    assert Path("params.yaml").read_text().startswith("# kept\nprofile: tiny\ncorpora: data/corpora\n")


@pytest.mark.parametrize(
    ("change", "says"),
    [
        ("snr_dbb: [1]", "unknown key 'snr_dbb'. Did you mean 'snr_db'?"),
        ("snr_db: loud", "'snr_db' is 'loud'"),
        ("{}", "key 'snr_db' is missing"),
        ("[1, 2]", "expected a mapping"),
    ],
)
def test_a_wrong_section_is_one_clear_line(project: Path, change: str, says: str) -> None:
    value = yaml.safe_load(change)
    with pytest.raises(UserError) as caught:
        params.validate(Toy, value, "params.yaml, toy")
    assert says in str(caught.value)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("profile", "corpora", "says"),
    [
        ("huge", None, "unknown profile. Choose one of: recorded, tiny"),
        ("recorded", None, "needs your recordings. Add CORPORA="),
        ("recorded", "absent", "CORPORA=absent: no such folder"),
    ],
)
def test_a_wrong_switch_changes_nothing(project: Path, profile: str, corpora: str | None, says: str) -> None:
    before = Path("params.yaml").read_text()
    with pytest.raises(UserError, match=says.replace(".", r"\.")):
        params.switch(profile, corpora)
    assert Path("params.yaml").read_text() == before


def test_broken_yaml_names_the_line(project: Path) -> None:
    Path("params.yaml").write_text("profile: tiny\n  corpora: [\n")
    with pytest.raises(UserError, match="not valid YAML at line 2"):
        params.all_params()


def test_the_projects_own_profiles_name_every_section() -> None:
    root = Path(__file__).resolve().parents[2]
    sections = set(yaml.safe_load((root / "params.yaml").read_text())) - {"profile", "corpora"}
    for profile in (root / "profiles").glob("*.yaml"):
        assert set(yaml.safe_load(profile.read_text())) == sections, f"{profile.name}: DVC tracks every section of every profile by name"
