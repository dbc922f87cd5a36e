"""Parameters and bodies as Swagger 2 writes them."""

from __future__ import annotations

from typing import cast

from .document import Spot
from .parts import Body, Field, Media, Parameter, Place, Style

_FORM = "application/x-www-form-urlencoded"
_MULTIPART = "multipart/form-data"
_STYLES: dict[str, Style] = {"ssv": "spaceDelimited", "tsv": "tabDelimited", "pipes": "pipeDelimited"}


def split(root: Spot, operation: Spot, parameters: list[Spot]) -> tuple[list[Parameter], Body | None]:
    """Sort the parameters of an operation into those of the request line and headers, and the body."""
    kept = [_parameter(one) for one in parameters if one.text("in") not in ("body", "formData")]
    consumes = [str(one.value) for one in operation.items("consumes")]
    if operation.get("consumes") is None:
        consumes = [str(one.value) for one in root.items("consumes")]
    fields = [one for one in parameters if one.text("in") == "formData"]
    if fields:
        return kept, _form(fields, consumes)
    body = next((one for one in parameters if one.text("in") == "body"), None)
    if body is None:
        return kept, None
    if body.get("schema") is None:
        body.wrong("a parameter in the body needs a `schema`.", "Add it.")
    media = tuple(Media(name=name, schema=body.get("schema")) for name in consumes or ["application/json"])
    return kept, Body(media=media, required=body.flag("required"), description=body.words("description"))


def _form(fields: list[Spot], consumes: list[str]) -> Body:
    read = tuple(
        Field(one.needed("name"), one, one.flag("required"), file=one.text("type") == "file") for one in fields
    )
    name = _MULTIPART if any(one.file for one in read) or (_MULTIPART in consumes and _FORM not in consumes) else _FORM
    encodings = {one.name: _encoding(one.schema) for one in read}
    return Body(media=(Media(name=name, fields=read, encodings=encodings),), required=any(one.required for one in read))


def _encoding(spot: Spot) -> dict[str, object]:
    style, explode = _style(spot, "form")
    return {"style": style, "explode": explode}


def _parameter(spot: Spot) -> Parameter:
    place = cast("Place", spot.text("in"))
    style, explode = _style(spot, "form" if place == "query" else "simple")
    return Parameter(
        name=spot.needed("name"),
        place=place,
        schema=spot,
        required=place == "path" or spot.flag("required"),
        description=spot.words("description"),
        style=style,
        explode=explode,
    )


def _style(spot: Spot, plain: Style) -> tuple[Style, bool]:
    form = spot.text("collectionFormat") or "csv"
    if form == "multi":
        return plain, True
    if form != "csv" and form not in _STYLES:
        spot.at("collectionFormat").wrong(f"there is no format {form!r}.", "Write csv, ssv, tsv, pipes or multi.")
    return _STYLES.get(form, plain), False
