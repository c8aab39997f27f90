"""docs/bad_input.md, made of the cases that the tests run: `python -m tests.promises.bad_input_page` writes it, a test compares it."""

from pathlib import Path

from tasks.common.tables import write_text
from tests.promises.bad_names import NAMES, THINGS
from tests.promises.bad_readers import READERS
from tests.promises.bad_shards import SHARDS
from tests.promises.bad_sounds import EXACT, SOUNDS, Sound
from tests.promises.bad_texts import KALDI, LHOTSE, QUESTIONS, TABLES, YAMLS, Manifest

PAGE = Path(__file__).resolve().parents[2] / "docs/bad_input.md"
HEAD = """# Bad input: what happens

Every row is input that a test makes and reads. This page is made of the same list (`python -m tests.promises.bad_input_page`), and a test fails
where it is not.

- *Taken*: the catalog has the recording, and what comes out of it is what went in: to the bit, or, of a lossy form, as near as the decibels say.
- A code is the `reason` in `data/catalog/quarantine.parquet` ([all of them](catalog.md#reasons)); the rest of the corpus goes on.
- *Stops*: one line on standard error that says where, what and what to do, and exit status 2.

Nothing hangs, and nothing is lost: rows and refusals together are the files.

What no reader can see is a bit that flips in PCM, ADPCM, MP3 or Apple Lossless, which carry no checksum, and the loss of the end of an MP3 that does
not say how long it is. A flipped bit in FLAC (written with its MD5, as encoders do), Vorbis or Opus is found, unless it changes no sample.
"""
REFUSALS, CHECKS, LAYOUTS = (f"catalog/test_catalog_{name}.py" for name in ("refusals", "checks", "layouts"))
TEXTS, FILES = (f"promises/test_bad_input_{name}.py" for name in ("texts", "names"))
# Cases that other tests make: what, what comes of it, the file and the test.
ELSEWHERE = [
    ("FLAC, Vorbis or WAV cut off at 30, 90 and 99.9 %", "`truncated` or `unreadable`", REFUSALS + "::test_a_recording_cut_off_anywhere_is_refused"),
    ("WAV whose header leaves the length open", "taken, to the bit", REFUSALS + "::test_a_header_that_leaves_the_length_open_is_no_truncation"),
    ("clipped sound, loud sound", "`clipped`; taken", CHECKS + "::test_clipping_is_flat_not_merely_loud"),
    ("a constant under the sound", "taken, or `dc_offset`", CHECKS + "::test_a_constant_that_dwarfs_the_sound"),
    ("MP3 named .wav; the same renamed", "`wrong_extension`; taken", CHECKS + "::test_a_renamed_file_is_judged_by_its_new_name"),
    ("more than a fifth of a corpus damaged", "stops, after the tables are written", CHECKS + "::test_a_rotten_corpus_stops_the_build_and_shows_why"),
    (
        "rows of a shard: no sound, no key, a key twice, metadata that is no JSON",
        "`empty`, `bad_path`, `unreadable`",
        REFUSALS + "::test_parquet_rows_are_refused_one_by_one",
    ),
    (
        "a SOFA file that is none; a silent response",
        "`unreadable`; `silent`",
        REFUSALS + "::test_every_response_of_a_sofa_file_is_a_row_and_azimuths_stay_together",
    ),
    ("paths of a table that leave the root or name nothing", "`bad_path`", REFUSALS + "::test_a_table_names_what_is_used"),
    ("a kaldi command", "`pipe`, never run", LAYOUTS + "::test_a_kaldi_command_is_never_run"),
    ("a lhotse cut of one channel of two", "`channels`", LAYOUTS + "::test_lhotse_cuts_and_supervised_recordings"),
    (
        "an entry with unknown keys, wrong types, ranges the wrong way round",
        "stops, with the nearest known key",
        REFUSALS + "::test_a_mistake_in_an_entry_is_named",
    ),
    (
        "a question without a right option, with one option, with an option twice, without a text",
        "`bad_question`",
        "catalog/test_catalog_layouts_questions.py::test_questions_that_cannot_be_asked",
    ),
    (
        "a table, manifest, entry or params.yaml that is a FIFO, a socket, a folder or /dev/zero",
        "stops; none is waited for",
        TEXTS + "::test_what_is_no_file_is_not_waited_for",
    ),
    (
        "a recording, and a folder, that may not be read",
        "`unreadable`, and tried again by the next scan",
        FILES + "::test_what_may_not_be_read_is_refused_and_tried_again",
    ),
    (
        "one hour of sound; a file with a hole of an hour",
        "taken stretch by stretch in flat memory, or `too_long` by its header",
        FILES + "::test_an_hour_takes_no_more_memory_than_its_longest_stretch",
    ),
    ("a folder named .wav", "what lies in it is read", FILES + "::test_nothing_in_the_folder_is_lost"),
    ("a model folder with a broken file", "stops", "promises/test_bad_input_models.py::test_a_broken_model_folder_is_named"),
    (
        "a bit flipped anywhere in FLAC, Vorbis, Opus",
        "`unreadable` or `truncated`, or the samples are the same",
        "promises/test_bad_input_sounds.py::test_a_flipped_bit_is_found_where_the_form_has_checksums",
    ),
]


def page() -> str:
    """The page."""
    parts = [
        HEAD,
        _section("Sound files", [(sound.what, _sound(sound)) for sound in SOUNDS]),
        _section("Names", [(one.what, f"`{one.reason}`" if one.reason else "taken, to the bit, under its name") for one in NAMES]),
        _section("Named like a recording", [(thing.what, f"`{thing.reason}`") for thing in THINGS]),
        _section("Inside shards: Parquet, Arrow, SOFA", [(shard.what, f"`{shard.reason}`") for shard in SHARDS]),
        _section("Tables and manifests", [(one.what, _manifest(one)) for one in [*TABLES, *KALDI, *LHOTSE]]),
        _section("Questions", [(one.what, f"`bad_question`: {one.why}" if one.why else "taken") for one in QUESTIONS]),
        _section("YAML: params.yaml, profiles, entries, curricula, question templates", [(one.what, f"stops: {one.says}") for one in YAMLS]),
        _section("Checked by other tests", [(what, f"{outcome} (`{test}`)") for what, outcome, test in ELSEWHERE]),
        _fuzzed(),
    ]
    return "\n".join(parts)


def _section(title: str, rows: list[tuple[str, str]]) -> str:
    lines = [f"| {what.replace('|', '/')} | {outcome.replace('|', '/')} |" for what, outcome in rows]
    return "\n".join([f"## {title}", "| input | what happens |", "|---|---|", *lines, ""])


def _sound(sound: Sound) -> str:
    if sound.reason:
        return f"`{sound.reason}`"
    return "taken, to the bit" if sound.near_db == EXACT else f"taken, the error more than {sound.near_db:g} dB below the sound"


def _manifest(one: Manifest) -> str:
    if one.mistake:
        return f"stops: {one.mistake}"
    codes = ", ".join(f"`{reason}`" for reason in sorted(set(one.refused.values())))
    return f"{codes}; the other rows are taken" if codes else "taken"


def _fuzzed() -> str:
    names = ", ".join(reader.name for reader in READERS)
    return f"""## Spoilt at random
`tests/promises/test_fuzz.py` spoils valid input as bytes and as structure, and asks that a refusal or a `UserError` of one line comes
of it, in bounded time and memory, and that no recording is lost. Readers: {names}.
`make test` runs a few inputs each, always the same; `make soak` takes ten minutes (`FUZZ_SECONDS`, `FUZZ_SEED`).
"""


if __name__ == "__main__":
    write_text(PAGE, page())
