"""Promise 4 on the whole DAG and through its drivers: what names a broken file also says the command that makes it again, and that command does."""

import shlex
import shutil

import pytest

from tests.dag.conftest import Project
from tests.promises.flips import LINE, anywhere, bit_of, flip, found_share

pytestmark = [pytest.mark.soak, pytest.mark.timeout(3600)]
# (pattern of a file, a column of it, the stage that is next to read it)
CASES = [
    ("data/corpora/noise/*.parquet", "audio", "tasks.see"),
    ("data/catalog/speech.parquet", "path", "tasks.items"),
    ("data/catalog/utterances/*-test-*.parquet", "audio", "tasks.references"),
    ("data/rooms/test-*.parquet", "rir", "tasks.rooms"),
    ("data/items.parquet", "options", "tasks.difficulty"),
    ("data/mixtures/test-noise-*.parquet", "audio", "tasks.curriculum"),
    ("data/mixtures_manifest.parquet", "shard", "tasks.curriculum"),
    ("data/references/*.parquet", "text", "tasks.curriculum"),
    ("data/pseudo_gt/*.parquet", "token_ids", "tasks.curriculum"),
    ("data/difficulty.parquet", "see", "tasks.curriculum"),
    ("data/curriculum/train/*.parquet", "prompt", "tasks.training caad"),
    ("models/backbone/model.safetensors", None, "tasks.see"),
    ("models/backbone/tokenizer.json", None, "tasks.references"),
    ("models/see/mixed.safetensors", None, "tasks.difficulty"),
    ("models/caad/model.safetensors", None, "tasks.evaluate"),
    ("reports/answers.parquet", "text", "tasks.report"),
]


@pytest.fixture(scope="module")
def project(built: Project, tmp_path_factory: pytest.TempPathFactory) -> Project:
    """A copy of the build to break."""
    folder = tmp_path_factory.mktemp("corruption") / "build"
    shutil.copytree(built.folder, folder, symlinks=True)
    copy = Project(folder, workers=1, server=False)
    copy.build()  # DVC knows a copy's files once it has looked at them
    return copy


def test_flips_anywhere_in_the_build(project: Project) -> None:
    counted = anywhere(project.folder, 1500)
    assert len({kind for kind, _ in counted}) >= 25 and found_share(counted) >= 0.97


@pytest.mark.parametrize(("pattern", "column", "reader"), CASES, ids=[case[0] for case in CASES])
def test_the_next_stage_names_the_file_and_the_command_makes_it_again(project: Project, pattern: str, column: str | None, reader: str) -> None:
    path = sorted(project.folder.glob(pattern))[0]
    name, right = path.relative_to(project.folder), path.read_bytes()
    if name.parts[1] == "catalog" and len(name.parts) == 4:  # what has answers already is not heard again
        shutil.rmtree(project.folder / "data/references")
    flip(path, bit_of(path, column, "stage"))
    assert path.read_bytes() != right
    done = project.run("python", "-m", *reader.split(), check=False)
    told = LINE.fullmatch(done.stderr.strip().splitlines()[-1].removeprefix("error: "))
    assert done.returncode == 2 and told and told[1] == str(name), done.stderr[-2000:]
    (forgotten,) = shlex.split(told[2])
    (project.folder / forgotten).unlink()
    before = project.lock()
    project.build()  # what `make curriculum` runs
    assert path.read_bytes() == right and project.lock() == before
