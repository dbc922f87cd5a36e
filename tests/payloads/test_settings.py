"""What the settings of payloads accept, and that none of them ever shows a key."""

from __future__ import annotations

import base64
import os
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from perdure_graph.errors import PlatformError
from perdure_payloads.keys import KeyRing
from perdure_payloads.place import FolderPlace, S3Place, quoted, read_place, unquoted
from perdure_payloads.settings import PayloadSettings, read_settings
from perdure_worker.settings import WorkerSettings

KEY = base64.b64encode(b"k" * 32).decode()
OTHER = base64.b64encode(b"o" * 32).decode()


def test_the_first_key_encrypts_and_all_decrypt(tmp_path: Path) -> None:
    file = tmp_path / "keys"
    file.write_text(f"# rotated in May\nold:{OTHER}\n")
    ring = PayloadSettings(keys=f"new:{KEY}", keys_file=file).key_ring()  # type: ignore[arg-type]
    assert (ring.first, ring.ids) == ("new", ("new", "old"))


@pytest.mark.parametrize(
    "text", [KEY, f"a b:{KEY}", f"a:{KEY},a:{OTHER}", f"a:{KEY[:-8]}", "a:!!!", f":{KEY}", f"a:{KEY}x,b:{OTHER}"]
)
def test_a_malformed_ring_is_refused_without_showing_it(text: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PERDURE_KEYS", text)
    secrets = [part.partition(":")[2] or part for part in text.split(",") if len(part) > 20]
    for build in (PayloadSettings, WorkerSettings, read_settings):
        with pytest.raises((ValidationError, PlatformError)) as caught:
            build()
        assert "key" in str(caught.value).lower()
        assert not any(secret in str(caught.value) or secret in repr(caught.value) for secret in secrets)


def test_keys_are_in_no_representation() -> None:
    settings = WorkerSettings(keys=f"a:{KEY}", address=None)  # type: ignore[arg-type]
    for shown in (repr(settings), str(settings), settings.model_dump_json(), repr(settings.key_ring())):
        assert KEY not in shown and "kkkk" not in shown
    assert settings.to_env()["PERDURE_KEYS"] == f"a:{KEY}", "a worker process needs it"


def test_a_key_file_that_is_missing_is_named(tmp_path: Path) -> None:
    with pytest.raises(PlatformError, match=r"PERDURE_KEYS_FILE.*gone"):
        read_settings(keys_file=tmp_path / "gone")


def test_a_worker_process_gets_the_same_settings(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    told = WorkerSettings(
        address=None,
        blobs=str(tmp_path),
        blobs_create=False,
        blob_threshold=4096,
        keys=f"a:{KEY}",  # type: ignore[arg-type]
    )
    for name, value in told.to_env().items():
        monkeypatch.setenv(name, value)
    assert WorkerSettings() == told


def test_places() -> None:
    assert read_place("off") is None
    assert read_place("/var/blobs") == FolderPlace(Path("/var/blobs"))
    told = "s3://bucket/a/b/?endpoint_url=http://127.0.0.1:9&region=eu-west-1"
    assert read_place(told) == S3Place("bucket", "a/b/", "http://127.0.0.1:9", "eu-west-1")
    assert read_place("s3://bucket") == S3Place("bucket")
    for wrong in ("", "s3://", "s3:///x", "ftp://x", "s3://key:secret@bucket", "s3://b?endpoint=x"):
        with pytest.raises(ValueError):
            read_place(wrong)


@given(st.text(max_size=1000))
def test_any_id_becomes_a_path_inside_its_folder_and_back(name: str) -> None:
    path = quoted(name)
    assert unquoted(path) == name
    assert not path.is_absolute()
    for part in path.parts:
        assert part not in ("", ".", "..") and len(part.encode()) <= 255
        assert part == part.lower(), "some file systems fold case"
    assert os.path.normpath(Path("/root") / path) == str(Path("/root") / path)


@pytest.mark.parametrize(
    "name", ["..", "../../etc/passwd", "/etc/passwd", "a/../b", ".", "", "~", "a\0b", "A", "%2e%2e"]
)
def test_ids_that_try_to_climb(name: str) -> None:
    assert unquoted(quoted(name)) == name
    assert ".." not in quoted(name).parts and len(quoted(name).parts) == 1


@given(st.lists(st.text(max_size=300), min_size=2, max_size=2, unique=True))
def test_two_ids_never_share_a_folder(names: list[str]) -> None:
    first, second = (str(quoted(name)) for name in names)
    assert first != second
    assert not first.startswith(second + "/") or "~" in first, "a long id's parts lie in folders of their own"


def test_an_empty_ring_is_none() -> None:
    assert not KeyRing.read("") and not KeyRing.read("\n# none\n,")
