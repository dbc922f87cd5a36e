"""The file store: what is put in comes out, under ids that nothing can bend into a path."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from pathlib import Path

import pytest

from perdure_activities.files import FileNotStored, FileStore, default_store, describe, kind_of
from perdure_graph.values import is_file


@pytest.fixture
def store(tmp_path: Path) -> FileStore:
    return FileStore(tmp_path / "deep" / "files")


def _stored(store: FileStore) -> list[Path]:
    return [path for path in store.root.rglob("*") if path.is_file()]


def test_bytes_come_back_and_are_described(store: FileStore) -> None:
    file = store.put(b"%PDF", "Report.PDF", "application/pdf")
    related_id = hashlib.sha256(b"%PDF").hexdigest()
    assert store.read(related_id) == b"%PDF"
    assert file == {
        "dify_model_identity": "__dify__file__",
        "id": related_id,
        "type": "document",
        "transfer_method": "tool_file",
        "remote_url": None,
        "related_id": related_id,
        "filename": "Report.PDF",
        "extension": ".pdf",
        "mime_type": "application/pdf",
        "size": 4,
        "url": f"file-store:{related_id}",
    }
    assert is_file(file)


def test_a_stream_is_stored_like_its_bytes(store: FileStore) -> None:
    streamed = store.put((b"ab", b"", b"c"), "a.txt", "text/plain")
    assert streamed == store.put(b"abc", "a.txt", "text/plain")
    with store.open(str(streamed["related_id"])) as file:
        assert file.read() == b"abc"


def test_the_same_content_is_stored_once_under_any_name(store: FileStore) -> None:
    first, second = store.put(b"same", "a.txt"), store.put(b"same", "b.png")
    assert first["related_id"] == second["related_id"]
    assert (first["filename"], second["filename"]) == ("a.txt", "b.png")
    assert len(_stored(store)) == 1


def test_a_stream_that_breaks_leaves_nothing_behind(store: FileStore) -> None:
    def broken() -> Iterator[bytes]:
        yield b"half"
        raise ConnectionError("gone")

    with pytest.raises(ConnectionError):
        store.put(broken(), "a.bin")
    assert _stored(store) == []


@pytest.mark.parametrize(
    "related_id", ["../secret", "/etc/passwd", "", "..", "a" * 63, "A" * 64, "a" * 64 + "\n", "a/" + "b" * 62]
)
def test_an_id_is_a_hash_and_nothing_else(store: FileStore, tmp_path: Path, related_id: str) -> None:
    (tmp_path / "secret").write_text("hush")
    with pytest.raises(FileNotStored, match="no id of a stored file"):
        store.read(related_id)


def test_a_missing_file_says_where_it_was_looked_for(store: FileStore) -> None:
    with pytest.raises(FileNotStored, match="PERDURE_FILES_DIR"):
        store.open("a" * 64)


@pytest.mark.parametrize(
    ("filename", "mime_type", "expected"),
    [
        ("../../x/a.png", "image/png", ("a.png", ".png", "image/png", "image")),
        ("..\\..\\a.MP3", "", ("a.MP3", ".mp3", "audio/mpeg", "audio")),
        ("", "video/mp4; codecs=x", ("0123456789ab.mp4", ".mp4", "video/mp4", "video")),
        ("notes", "Text/Plain", ("notes", ".txt", "text/plain", "document")),
        ("", "", ("0123456789ab.bin", ".bin", "application/octet-stream", "custom")),
        ("..", "", ("..", ".bin", "application/octet-stream", "custom")),
    ],
)
def test_names_and_media_types_are_tidied(filename: str, mime_type: str, expected: tuple[str, str, str, str]) -> None:
    file = describe("0123456789abcdef", filename=filename, mime_type=mime_type, size=1)
    assert tuple(file[key] for key in ("filename", "extension", "mime_type", "type")) == expected


@pytest.mark.parametrize(
    ("mime_type", "kind"),
    [
        ("application/vnd.openxmlformats-officedocument.wordprocessingml.document", "document"),
        ("text/csv", "document"),
        ("application/zip", "custom"),
        ("image/svg+xml", "image"),
    ],
)
def test_kinds(mime_type: str, kind: str) -> None:
    assert kind_of(mime_type) == kind


def test_the_folder_comes_from_the_environment(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PERDURE_FILES_DIR", str(tmp_path / "here"))
    assert default_store().root == tmp_path / "here"
    monkeypatch.delenv("PERDURE_FILES_DIR")
    assert default_store().root == Path(".perdure/files")
