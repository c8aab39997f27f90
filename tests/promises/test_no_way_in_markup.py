"""Words of others are shown as text: Markdown is parsed again, and nothing but the words comes of them. HTML and SVG are in tests/report."""

import re
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from markdown_it import MarkdownIt
from markdown_it.token import Token

from flows.command.listen import page
from tasks.common.markdown import fenced, plain, table
from tasks.common.tables import read_rows, write_parquet
from tasks.export.command import export
from tests.export import export_build

EVIL = (
    "<script>alert(1)</script>",
    "<img src=x onerror=alert(1)>",
    "[click](javascript:alert(1))",
    "![x](http://example.org/x.png)",
    "a | b | c",
    "`code` and ``more``",
    "\\| \\` \\<b>",
    "*bold* **bolder** ***",
    "&lt;b&gt; &amp; &#60;",
    "line\n\n# heading\n| x |",
    "\"quotes\" 'and' more",
    "<!-- ",
    "<a href='//example.org'>",
    "https://example.org/<b>",
)
PARSER = MarkdownIt("commonmark", {"html": True}).enable("table")
words = st.text(st.sampled_from("ab <>&\"'|`\\*[]()!#~-\n;lt"), min_size=1, max_size=12) | st.sampled_from(EVIL)


def cells(text: str) -> list[list[Token]]:
    """What each cell of a table holds, once parsed."""
    tokens = PARSER.parse(text)
    assert {token.type for token in tokens} <= {*("table_open", "table_close", "inline"), *PARTS}
    return [token.children or [] for token in tokens if token.type == "inline"]


PARTS = {f"{part}_{end}" for part in ("thead", "tbody", "tr", "th", "td") for end in ("open", "close")}


def shown(tokens: list[Token]) -> str:
    """The words of a cell; a part that is no text is a fault."""
    assert {token.type for token in tokens} <= {"text", "text_special"}, tokens
    return "".join(token.content for token in tokens)


@given(st.lists(st.tuples(words, words), min_size=1, max_size=3))
def test_a_cell_is_its_words(rows: list[tuple[str, str]]) -> None:
    found = [shown(tokens) for tokens in cells(table(["one", "two"], rows))]
    assert found == ["one", "two", *(" ".join(cell.split()) for row in rows for cell in row)]


@given(words)
def test_a_block_is_its_text(text: str) -> None:
    blocks = PARSER.parse(f"before\n\n{fenced(text)}\n\nafter")
    assert [token.type for token in blocks].count("fence") == 1 and blocks[-2].content == "after"
    (block,) = (token for token in blocks if token.type == "fence")
    assert block.content.rstrip("\n") == text.rstrip("\n")


@given(words)
def test_a_word_makes_no_heading_of_its_own(text: str) -> None:
    tokens = [token.type for token in PARSER.parse(f"# about {plain(text)}")]
    assert tokens == ["heading_open", "inline", "heading_close"]


def test_the_parser_sees_what_is_not_escaped() -> None:
    for text in ("<script>", "[click](http://example.org)", "`x`", "*x*"):
        assert plain(text) != text
        with pytest.raises(AssertionError):
            shown(cells(f"| one |\n|---|\n| {text} |")[1])


def test_the_card_of_an_export_shows_names_as_they_are(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    export_build.build(tmp_path)
    rows = read_rows(Path("data/catalog/corpora.parquet"))
    cited = [row | {"citation": "".join(EVIL), "source": "".join(EVIL), "licences": list(EVIL)} for row in rows]
    write_parquet(Path("data/catalog/corpora.parquet"), cited, export_build.CORPORA)
    for path in sorted(Path("data/curriculum").rglob("*.parquet")):
        named = [row | {"noise_type": EVIL[number % len(EVIL)], "licences": list(EVIL)} for number, row in enumerate(read_rows(path))]
        write_parquet(path, named, export_build.SCHEMA)
    export("kaldi", out=Path("out"))
    tokens = PARSER.parse(Path("out/README.md").read_text(encoding="utf-8").split("---\n", 2)[2])
    inside = [child for token in tokens for child in token.children or []]
    assert not [token for token in [*tokens, *inside] if token.type.startswith(("html", "image", "link"))]
    told = "".join(child.content for child in inside if child.type.startswith("text"))
    assert all(" ".join(evil.split()) in told for evil in EVIL), "corpora, licences and noises are named"


def test_the_listening_page_shows_names_as_they_are() -> None:
    clip = {
        **dict.fromkeys(("mixture_id", "noise_type", "corruption", "split", "text", "speaker", "recipe", "room_id", "clip_id"), "".join(EVIL)),
        **dict.fromkeys(("snr_db_measured", "level_dbfs"), 1.0),
        **{
            "snr_db": 0.0,
            "seconds": 1.0,
            "audio": "data:,",
            "picture": "data:,",
            "sources": list(EVIL),
            "corpora": list(EVIL),
            "licences": list(EVIL),
        },
    }
    text = page("snr_db < 0 or noise_type = '<b>'", 1, [clip])
    tags = set(re.findall(r"<\s*/?\s*([a-zA-Z]+)", text))
    assert not tags & {"script", "b", "a"} and "onerror=alert(1)&gt;" in text and "<img src=x" not in text and "javascript:alert(1)" in text
