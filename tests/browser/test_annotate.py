"""Stage 1: proposals get labels, what is missing is added, negatives are confirmed, an image is submitted."""

from __future__ import annotations

import io
import re
from collections.abc import Callable
from typing import Any

from PIL import Image, ImageDraw
from playwright.sync_api import Locator, expect

from gateway.client import Upload
from tests.browser.desks import Desk, Tenant
from tests.support.polling import eventually

SignIn = Callable[..., Desk]
SIZE = 256
RADIUS = 16
RED, BLUE, YELLOW = (60, 60), (190, 90), (110, 190)
"""Centres of discs on a plain ground: each of them is proposed, whatever the model was trained on last."""
COLOURS = {RED: (220, 40, 40), BLUE: (40, 60, 220), YELLOW: (240, 200, 40)}
MARKUP = '<img src=x onerror="document.title=1">'


def test_an_image_is_labelled_completed_and_arrives(sign_in: SignIn, tenant: Tenant) -> None:
    job = _submit_discs(tenant)
    desk = _annotate(sign_in)
    for place, phrase in ((RED, "red cup"), (BLUE, "Blue Cup")):
        desk.page.mouse.click(*desk.pixel(*place, SIZE))
        expect(_chosen(desk)).to_contain_text("no label")
        _label(desk, phrase)
    expect(_rows(desk)).to_have_text(["red cup", "blue cup"])
    for _ in range(_without_label(desk)):
        _drop_first_without_label(desk)
    expect(desk.page.get_by_text("0 regions without a label")).to_be_visible()

    desk.press("n")
    expect(desk.page.get_by_role("toolbar", name="Tools")).to_be_visible()
    with desk.page.expect_response(lambda answer: answer.url.endswith("/segment")) as clicked:
        desk.page.mouse.click(*desk.pixel(*YELLOW, SIZE))
    assert clicked.value.status == 200
    expect(_chosen(desk)).not_to_contain_text("no mask yet")
    desk.press("Enter", "1")
    expect(_rows(desk)).to_have_text(["red cup", "blue cup"])
    expect(desk.page.locator(".annotated .state").first).to_have_text("2")

    desk.press("w")
    expect(_suggestion(desk)).to_be_visible()
    absent = _suggestion(desk).locator("strong").inner_text()
    expect(_suggestion(desk).locator(".hint")).not_to_be_empty()
    desk.press("y")
    expect(desk.page.locator(".negatives .phrase")).to_have_text([f"not{absent}"])
    expect(_suggestion(desk).locator("strong")).not_to_have_text(absent)
    refused = _suggestion(desk).locator("strong").inner_text()
    desk.press("x")
    expect(desk.page.get_by_text(f"Is {refused} absent?")).to_have_count(0)
    expect(desk.page.locator(".negatives li")).to_have_count(1)

    desk.press("Control+Enter")
    asked = desk.page.get_by_test_id("asked")
    expect(asked).to_contain_text("red cup")
    assert tenant.decided(desk.key) == 0
    desk.press("y")
    expect(asked).to_contain_text("blue cup")
    body = desk.decides("n")
    assert [(pair["phrase"], pair["exhaustive"]) for pair in body["pairs"]] == [
        ("red cup", True),
        ("blue cup", False),
        (absent, False),
    ]
    desk.saved(1)
    assert tenant.decided(desk.key) == 1

    found = eventually(lambda: _pairs(tenant, job, 3), timeout=30) or {}
    assert set(found) == {"red cup", "blue cup", absent}
    red, blue, negative = found["red cup"], found["blue cup"], found[absent]
    assert [len(pair["masks"]) for pair in (red, blue, negative)] == [2, 1, 0]
    assert (red["polarity"], blue["polarity"]) == ("positive", "positive")
    assert (negative["polarity"], negative["hard_negative"]) == ("negative", True)


def test_what_is_typed_and_labelled_survives_a_reload(sign_in: SignIn, tenant: Tenant) -> None:
    _submit_discs(tenant)
    desk = _annotate(sign_in)
    desk.press("Tab")
    _label(desk, "red cup")
    desk.press("Enter")
    desk.page.keyboard.type("red ca")
    desk.page.reload()
    desk.ready()
    expect(_rows(desk)).to_have_text(["red cup"])
    expect(_field(desk)).to_have_value("red ca")
    expect(_field(desk)).to_be_focused()
    # What is half typed is not submitted past.
    desk.press("Control+Enter")
    expect(desk.page.get_by_text("A label is being typed")).to_be_visible()
    assert tenant.decided(desk.key) == 0
    desk.press("End")
    desk.page.keyboard.type("r")
    desk.press("Enter")
    expect(_rows(desk)).to_have_text(["red cup", "red car"])
    desk.press("Control+z")
    expect(_rows(desk)).to_have_text(["red cup"])
    desk.press("Control+Shift+z")
    expect(_rows(desk)).to_have_text(["red cup", "red car"])


def test_a_phrase_is_completed_and_shared_by_several_objects(sign_in: SignIn, tenant: Tenant) -> None:
    _submit_discs(tenant)
    desk = _annotate(sign_in)
    desk.press("Tab", "Enter")
    desk.page.keyboard.type("bo")
    options = desk.page.get_by_role("option")
    expect(options.first).to_contain_text("ontology")
    word = options.first.locator("span").first
    expect(word).to_have_text(re.compile("^bo"))  # what is typed narrows the list a moment later
    first = word.inner_text()
    desk.press("ArrowDown")
    expect(options.first).to_have_attribute("aria-selected", "true")
    desk.press("Enter")
    expect(_rows(desk)).to_have_text([first])
    desk.press("1")  # the next region without a label is chosen, and gets the phrase
    expect(desk.page.locator(".annotated .state")).to_have_text(["2"])
    before = _without_label(desk)
    desk.press("Delete")
    expect(desk.page.get_by_text(f"{before} region")).to_have_count(0)
    desk.press("Control+z")
    expect(desk.page.get_by_text(f"{before} region")).to_be_visible()


def test_a_drawn_region_without_a_label_is_not_lost(sign_in: SignIn, tenant: Tenant) -> None:
    tenant.submit("assisted_manual")
    desk = _annotate(sign_in)
    desk.press("n", "b")
    desk.stroke((0.3, 0.3), (0.4, 0.4))
    desk.press("Control+Enter")
    expect(desk.page.get_by_text("gave it no label")).to_be_visible()
    assert tenant.decided(desk.key) == 0
    desk.page.keyboard.type("dog")
    desk.press("Enter")
    expect(_rows(desk)).to_have_text(["dog"])
    desk.press("m")
    expect(desk.page.get_by_role("checkbox")).to_be_checked()
    body = desk.decides("Control+Enter")
    assert body["kind"] == "edit"
    assert [(pair["phrase"], pair["exhaustive"]) for pair in body["pairs"]] == [("dog", True)]
    desk.saved(1)
    with desk.page.expect_response(lambda answer: answer.url.endswith("/undo")) as undone:
        desk.press("Control+z")
    assert undone.value.status == 200
    expect(_rows(desk)).to_have_text(["dog"])
    eventually(lambda: tenant.decided(desk.key) == 0)
    expect(desk.page.get_by_role("checkbox")).to_be_checked()
    assert desk.decides("Control+Enter")["pairs"][0]["exhaustive"] is True
    desk.saved(1)


def test_nothing_to_annotate_is_a_rejection(sign_in: SignIn, tenant: Tenant) -> None:
    tenant.submit("assisted_manual")
    desk = _annotate(sign_in)
    body = desk.decides("Control+Enter")
    assert (body["kind"], body["pairs"]) == ("reject", [])
    desk.saved(1)
    assert tenant.decided(desk.key) == 1


def test_a_label_with_markup_is_shown_as_text(sign_in: SignIn, tenant: Tenant) -> None:
    tenant.submit("assisted_manual")
    desk = _annotate(sign_in)
    desk.press("n", "b")
    desk.stroke((0.3, 0.3), (0.4, 0.4))
    desk.press("Enter")
    _label(desk, MARKUP)
    expect(_rows(desk)).to_have_text([MARKUP])
    desk.press("Escape", "Shift+Tab")  # those with a label come last
    expect(_chosen(desk)).to_contain_text(MARKUP)
    desk.press("Control+Enter")
    expect(desk.page.get_by_test_id("asked")).to_contain_text(MARKUP)
    expect(desk.page.locator("img[src=x]")).to_have_count(0)
    assert desk.page.title() == "Tercet"


def _submit_discs(tenant: Tenant) -> str:
    """A job of one image with three discs; its id."""
    picture = Image.new("RGB", (SIZE, SIZE), (120, 140, 110))
    draw = ImageDraw.Draw(picture)
    for (x, y), colour in COLOURS.items():
        draw.ellipse((x - RADIUS, y - RADIUS, x + RADIUS, y + RADIUS), fill=colour)
    encoded = io.BytesIO()
    picture.save(encoded, "PNG")
    content = encoded.getvalue()
    return tenant.submit("assisted_manual", uploads=[Upload("discs.png", content, len(content))])


def _annotate(sign_in: SignIn) -> Desk:
    desk = sign_in(path="#/annotate")
    expect(desk.canvas).to_be_visible(timeout=20_000)
    desk.ready()
    return desk


def _label(desk: Desk, phrase: str) -> None:
    desk.press("Enter")
    expect(_field(desk)).to_be_focused()
    desk.page.keyboard.type(phrase)
    desk.press("Enter")
    expect(_field(desk)).to_have_count(0)


def _drop_first_without_label(desk: Desk) -> None:
    left = _without_label(desk)
    desk.press("Escape", "Tab")  # those without a label come first
    expect(_chosen(desk)).to_contain_text("no label")
    while "dropped" in _chosen(desk).inner_text():
        before = _chosen(desk).inner_text()
        desk.press("Tab")
        expect(_chosen(desk)).not_to_have_text(before)
    desk.press("Delete")
    expect(desk.page.get_by_text(f"{left} region")).to_have_count(0)


def _without_label(desk: Desk) -> int:
    return int(desk.page.get_by_text("without a label").inner_text().split()[0])


def _chosen(desk: Desk) -> Locator:
    return desk.page.get_by_test_id("chosen")


def _field(desk: Desk) -> Locator:
    return desk.page.get_by_role("combobox", name="What is it?")


def _rows(desk: Desk) -> Locator:
    return desk.page.locator(".annotated .phrase")


def _suggestion(desk: Desk) -> Locator:
    return desk.page.get_by_test_id("suggestion")


def _pairs(tenant: Tenant, job: str, count: int) -> dict[str, Any] | None:
    """The job's pairs by phrase, once there are so many, as the lead's gallery has them."""
    items = tenant.rest(tenant.key("lead"), "GET", f"/v1/jobs/{job}/pairs?limit=100")["items"]
    return {item["pair"]["phrase"]: item["pair"] for item in items} if len(items) == count else None
