"""A shard with something wrong inside gives its reason, and never takes the process down."""

from pathlib import Path

import pytest

from tasks.catalog.found import Refused
from tests.promises.bad_readers import ROOMS, SPEECH, refusals_of
from tests.promises.bad_shards import SHARDS, Shard


@pytest.mark.parametrize("shard", SHARDS, ids=lambda shard: shard.what)
def test_a_shard_with_something_wrong_gives_its_reason(shard: Shard, tmp_path: Path) -> None:
    (tmp_path / f"s.{shard.suffix}").write_bytes(shard.data)
    entry = ROOMS | {"layout": "sofa"} if shard.suffix == "sofa" else SPEECH | {"layout": "huggingface", "pattern": r".*"}
    refused: list[Refused] = refusals_of(tmp_path, entry)
    assert [one.reason for one in refused] == [shard.reason], refused
