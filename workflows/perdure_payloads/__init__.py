"""Payloads on their way to the server and back: compression, encryption, large values by reference.

    value -> JSON -> zstd when that helps -> AES-GCM when there are keys -> a blob when it is still large -> server

Workers, clients, replay and the codec endpoint read and write with the same `data_converter(PayloadSettings())`.
"""

from __future__ import annotations

from .converter import data_converter, value_limit
from .errors import BlobMissing, BlobsUnavailable, KeyUnknown
from .settings import PayloadSettings

__all__ = ["BlobMissing", "BlobsUnavailable", "KeyUnknown", "PayloadSettings", "data_converter", "value_limit"]
