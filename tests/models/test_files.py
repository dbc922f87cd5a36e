"""Files of messages: read through the store or the guarded door, and refused where the model or a limit says so."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from fakes.http_server import PNG, http_server
from perdure_activities.files import FileStore
from perdure_activities.models import files as module
from perdure_activities.models.files import inline_text, inlined, key_of, load
from perdure_activities.models.protocol import LoadedFile, ModelFault
from perdure_activities.net import NetSettings
from perdure_graph.models.messages import FilePart, Message, TextPart, ToolMessage, UserMessage, user

SEES = frozenset({"vision", "document"})
OPEN = NetSettings(allow=("127.0.0.1",))


@pytest.fixture
def store(tmp_path: Path) -> FileStore:
    return FileStore(tmp_path)


def part(kind: Any, file: dict[str, Any]) -> FilePart:
    return FilePart(kind=kind, file=file)


def remote(url: str, **more: Any) -> dict[str, Any]:
    return {"id": "r1", "transfer_method": "remote_url", "remote_url": url, "filename": "r", **more}


async def refused(store: FileStore, message: Message, features: frozenset[str] = SEES, **more: Any) -> str:
    with pytest.raises(ModelFault) as caught:
        await load((message,), features, store=store, **more)
    assert caught.value.kind == "bad_request"
    return caught.value.message


async def test_stored_files_are_read_once_wherever_they_stand(store: FileStore) -> None:
    picture = part("image", store.put(PNG, "a.png"))
    result = ToolMessage(call_id="1", name="look", content=(picture,))
    found = await load((user("see", picture), result), SEES, store=store)
    assert found == {picture.file["id"]: LoadedFile("image/png", PNG, name="a.png")}


async def test_an_image_is_what_its_bytes_say(store: FileStore) -> None:
    picture = part("image", store.put(b"\xff\xd8\xff\xe0JFIF", "a.png", "image/png"))
    found = await load((user("", picture),), SEES, store=store)
    assert next(iter(found.values())).media_type == "image/jpeg"
    bitmap = part("image", store.put(b"BM....", "a.bmp", "image/bmp"))
    assert "'image/bmp'" in await refused(store, user("", bitmap))


async def test_remote_files_come_through_the_guarded_door(store: FileStore) -> None:
    async with http_server() as server:
        message = user("", part("image", remote(server.url("/picture.png"))))
        assert "not a public address" in await refused(store, message, settings=NetSettings(allow=()))
        assert not server.requests
        found = await load((message,), SEES, store=store, settings=OPEN)
        assert found["r1"].content == PNG
        gone = user("", part("image", remote(server.url("/status/404"))))
        assert "its host says 404" in await refused(store, gone, settings=OPEN)


async def test_remote_images_may_be_left_to_the_provider(store: FileStore) -> None:
    file = remote("https://x.example/a.png", mime_type="image/png")
    found = await load((user("", part("image", file)),), SEES, store=store, by_url=True)
    assert found == {"r1": LoadedFile("image/png", url="https://x.example/a.png", name="r")}


@pytest.mark.parametrize(
    ("kind", "feature"), [("image", "vision"), ("document", "document"), ("audio", "audio"), ("video", "video")]
)
async def test_what_the_model_does_not_take_is_refused_by_name(store: FileStore, kind: Any, feature: str) -> None:
    file = store.put(b"%PDF-1.7", "a.pdf", "application/pdf")
    said = await refused(store, user("", part(kind, file)), frozenset())
    assert f"feature '{feature}'" in said
    assert "'a.pdf'" in said


@pytest.mark.parametrize(
    ("content", "text"),
    [
        ("Grüße".encode(), "Grüße"),
        ("\ufeffGrüße".encode(), "Grüße"),
        ("Grüße".encode("utf-16"), "Grüße"),
        (b"a\xffb", "a\ufffdb"),
    ],
)
async def test_a_document_of_text_goes_into_the_prompt_of_any_model(
    store: FileStore, content: bytes, text: str
) -> None:
    message = user("Sum up.", part("document", store.put(content, "a.md")))
    found = await load((message,), frozenset(), store=store)
    (sent,) = inlined((message,), found)
    assert isinstance(sent, UserMessage)
    assert sent.content == (TextPart(text=f"<file name='a.md'>\n{text}\n</file>"), TextPart(text="Sum up."))


async def test_a_document_of_no_known_type_is_text_if_it_reads_as_such(store: FileStore) -> None:
    for content, readable in ((b"plain words", True), (b"\0\1\2", False)):
        message = user("", part("document", store.put(content, "notes.xyzzy")))
        (found,) = (await load((message,), SEES, store=store)).values()
        assert (inline_text(found) is not None) is readable


async def test_limits(store: FileStore, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "MAX_FILE_BYTES", 100)
    monkeypatch.setattr(module, "MAX_TOTAL_BYTES", 150)
    large = part("document", store.put(b"x" * 101, "large.txt"))
    assert "larger than 100 bytes" in await refused(store, user("", large))
    both = (part("document", store.put(letter * 80, f"{letter!r}.txt")) for letter in (b"a", b"b"))
    assert "larger than 70 bytes" in await refused(store, user("", *both))
    many = (part("image", {"id": str(n)}) for n in range(module.MAX_FILES + 1))
    assert "101 files" in await refused(store, user("", *many))


async def test_a_lost_file_is_named(store: FileStore) -> None:
    lost = part("image", {"id": "1", "related_id": "0" * 64, "filename": "cat.png"})
    assert "'cat.png'" in await refused(store, user("", lost))


def test_files_without_an_id_are_told_apart() -> None:
    assert key_of({"id": None, "remote_url": "https://x/a"}) != key_of({"id": None, "remote_url": "https://x/b"})
