"""dinproof listen: a page with the mixtures that a query matches, to hear, see and read."""

import argparse
import json
import webbrowser
from pathlib import Path
from typing import Any

import duckdb
import jinja2

from tasks.common.audio import decode
from tasks.common.errors import UserError
from tasks.common.tables import checked, read_rows, write_text

HELP = "a page to listen to the mixtures that a query matches"
EXAMPLES = """examples:
  dinproof listen "snr_db < 0 and noise_type = 'babble'"
  dinproof listen "split = 'test' and room_id is not null" --limit 12 --open
  dinproof listen "text like '%dog%' and speaker = 'en-US_linda'"

QUERY is what follows WHERE in DuckDB's SQL. Columns: those of data/mixtures_manifest.parquet (docs/architecture.md), and of the speech
text, speaker, duration_s. It sees that one table and no file."""
MANIFEST, MIXTURES, CATALOG = Path("data/mixtures_manifest.parquet"), Path("data/mixtures"), Path("data/catalog")
PAGE = Path("reports/listen.html")
LIMIT = 24  # 5 MB of page at 2 s a clip


def arguments(parser: argparse.ArgumentParser) -> None:
    """The query, and what to do with the page."""
    parser.add_argument("query", metavar="QUERY", help="a condition on mixtures, as after WHERE in SQL")
    parser.add_argument("--limit", type=int, default=LIMIT, metavar="N", help=f"mixtures on the page at most (default: {LIMIT})")
    parser.add_argument("--open", action="store_true", help="open the page in the browser")


def run(args: argparse.Namespace) -> int:
    """Write reports/listen.html and say how many mixtures matched."""
    if args.limit < 1:
        raise UserError(f"--limit {args.limit}", "a page holds at least one mixture", "Give a number from 1 on")
    matched = matching(args.query)
    if not matched:
        raise UserError("dinproof listen", f"no mixture matches: {args.query}", "Loosen the condition")
    # Ids are hashes of content, so the first ones are a sample, and the same one on every machine.
    clips = gathered(matched[: args.limit])
    write_text(PAGE, page(args.query, len(matched), clips))
    print(f"{len(matched)} mixtures match; {len(clips)} are in {PAGE}")
    if args.open:
        webbrowser.open(PAGE.absolute().as_uri())
    return 0


def matching(query: str) -> list[str]:
    """Ids of the mixtures for which the condition `query` is true, ascending. Raises UserError where it is no condition, or there is no manifest.

    The condition runs over a copy in memory, on a connection that has no access to files and cannot be given any.
    """
    for needed in (MANIFEST, CATALOG / "speech.parquet"):
        if not needed.is_file():
            raise UserError(str(needed), "no such file", "Build first: make curriculum, or dvc repro mix")
    connection = duckdb.connect()
    connection.execute(
        """CREATE TABLE mixtures AS SELECT m.*, s.text, s.speaker, s.duration_s
           FROM read_parquet($manifest) m LEFT JOIN read_parquet($speech) s USING (clip_id)""",
        dict(zip(("manifest", "speech"), checked([MANIFEST, CATALOG / "speech.parquet"]), strict=True)),
    )
    connection.execute("SET enable_external_access = false; SET lock_configuration = true")
    try:
        # Parsed alone, it must be one expression: what closes the bracket early is none.
        duckdb.SQLExpression(query)
        statement = f"SELECT DISTINCT mixture_id FROM mixtures WHERE (\n{query}\n) ORDER BY mixture_id"
        return [str(name) for (name,) in connection.execute(statement).fetchall()]
    except duckdb.Error as error:
        raise UserError(
            f"query '{query}'", str(error).strip().splitlines()[0].rstrip(".!"), "See dinproof listen --help for columns and examples"
        ) from None


def gathered(names: list[str]) -> list[dict[str, Any]]:
    """The rows of these mixtures with audio, spectrogram, recipe and sources, by noise type, SNR and id."""
    from tasks.report.examples import data_uri, spectrogram

    rows = read_rows(MANIFEST, None, [("mixture_id", "in", names)])
    shards = [MIXTURES / shard for shard in sorted({row["shard"] for row in rows})]
    if missing := [shard for shard in shards if not shard.is_file()]:
        raise UserError(str(missing[0]), "no such file, and the manifest names it", "Run dvc checkout, or dvc repro mix")
    columns, wanted = ["mixture_id", "audio"], [("mixture_id", "in", names)]
    audio = {row["mixture_id"]: row["audio"]["bytes"] for shard in shards for row in read_rows(shard, columns, wanted)}
    used = {name for row in rows for name in (row["clip_id"], *row["noise_ids"], *row["voice_ids"])}
    speech = {row["clip_id"]: row for row in read_rows(CATALOG / "speech.parquet", ["clip_id", "path", "text", "speaker"], [("clip_id", "in", used)])}
    noise = {row["clip_id"]: row for row in read_rows(CATALOG / "noise.parquet", ["clip_id", "path"], [("clip_id", "in", used)])}
    for row in rows:
        flac = audio[row["mixture_id"]]
        wave, rate = decode(flac)
        paths = {**{name: clip["path"] for name, clip in noise.items()}, **{name: clip["path"] for name, clip in speech.items()}}
        row |= {"text": None, "speaker": None, **speech.get(row["clip_id"], {}), "clip_id": row["clip_id"]}
        row["sources"] = [paths.get(name, name) for name in (row["clip_id"], *row["noise_ids"], *row["voice_ids"])]
        row["recipe"] = json.dumps(json.loads(row["recipe"]), indent=1, ensure_ascii=False)
        row |= {"audio": data_uri("audio/flac", flac), "picture": data_uri("image/png", spectrogram(wave)), "seconds": len(wave) / rate}
    return sorted(rows, key=lambda row: (row["noise_type"] or "", row["snr_db"] is None, row["snr_db"] or 0.0, row["mixture_id"]))


def page(query: str, matched: int, clips: list[dict[str, Any]]) -> str:
    """The page; every value is escaped, nothing outside of it is loaded and no script runs."""
    loader = jinja2.FileSystemLoader(Path(__file__).parent)
    environment = jinja2.Environment(loader=loader, autoescape=True, undefined=jinja2.StrictUndefined, trim_blocks=True, lstrip_blocks=True)
    return environment.get_template("listen.html.j2").render(query=query, matched=matched, clips=clips)
