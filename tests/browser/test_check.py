"""Exhaustivity, audit and adjudication: whole pairs, and whole images, by one key."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
from playwright.sync_api import expect

from gateway.client import drawn_mask
from tests.browser.desks import Desk, Tenant
from tests.support.polling import eventually

SignIn = Callable[..., Desk]
BOXES = ((10, 10, 30, 40), (60, 30, 50, 20), (100, 90, 40, 40))


def test_one_key_accepts_or_rejects_a_whole_pair(sign_in: SignIn, tenant: Tenant) -> None:
    _audits(tenant)
    desk = _check(sign_in)
    for count, key in enumerate(("a", "r"), start=1):
        before = desk.page.locator(".place").inner_text()
        desk.press(key)
        expect(desk.page.locator(".place")).not_to_have_text(before)
        desk.saved(count)
        assert tenant.decided(desk.key) == count


def test_a_click_says_where_one_is_missing_and_the_place_is_sent(sign_in: SignIn, tenant: Tenant) -> None:
    _audits(tenant)
    desk = _check(sign_in)
    phrase = desk.phrase.inner_text()
    desk.page.mouse.click(*desk.point(0.5, 0.5))
    marks = desk.page.locator(".marks li")
    expect(marks).to_have_count(1)
    desk.page.mouse.move(*desk.point(0.4, 0.3))
    desk.press("m")
    expect(marks).to_have_count(2)
    desk.press("Control+z")
    expect(marks).to_have_count(1)
    place = marks.first.inner_text().split("at ")[1].split("\n")[0]
    desk.page.reload()
    desk.ready()
    expect(desk.phrase).to_have_text(phrase)
    expect(marks).to_have_count(1)
    body = desk.decides("a")
    assert body["comment"] == f"Missing at ({place})."
    assert body["kind"] in ("edit", "reject")
    assert not any(pair["exhaustive"] for pair in body["pairs"])
    desk.saved(1)
    assert tenant.decided(desk.key) == 1


def test_what_is_missing_is_drawn_by_the_model(sign_in: SignIn, tenant: Tenant) -> None:
    _audits(tenant)
    desk = _check(sign_in)
    before = desk.objects.locator(".number").count()
    desk.page.mouse.click(*desk.point(0.5, 0.5))
    expect(desk.page.locator(".marks li")).to_have_count(1)
    with desk.page.expect_response(lambda answer: answer.url.endswith("/segment")) as answer:
        desk.press("n")
    assert answer.value.status == 200
    expect(desk.page.locator(".marks li")).to_have_count(0)
    expect(desk.objects.locator(".number")).to_have_count(before + 1)


def test_the_second_person_reads_what_the_first_wrote_as_text(sign_in: SignIn, tenant: Tenant) -> None:
    tenant.submit("semi_automatic", exhaustivity_rate=1.0)
    first = sign_in()
    first.positive()
    expect(first.page.get_by_role("region", name="Comments")).to_have_count(0)
    text = "<b>one</b> is behind the mast<script>document.title = 'x'</script>"
    word = first.page.get_by_label("A word for whoever has it next")
    word.fill(text)
    first.page.reload()
    first.positive()
    expect(word).to_have_value(text)
    word.blur()
    phrase = first.phrase.inner_text()
    assert first.decides("a")["comment"] == text
    first.saved(1)

    second = _check(sign_in)
    expect(second.phrase).to_have_text(phrase)
    comments = second.page.get_by_role("region", name="Comments")
    expect(comments.locator("li")).to_have_count(1)
    expect(comments.locator(".said")).to_have_text(text)
    expect(comments.locator(".hint")).to_contain_text("annotator · accepted")
    assert comments.locator("b, script").count() == 0
    assert second.page.title() != "x"


def test_a_lead_takes_a_version_and_one_phrase_of_another(sign_in: SignIn, tenant: Tenant) -> None:
    image = _gold_that_disagrees(tenant)
    lead = sign_in("lead")
    lead.page.get_by_role("link", name="Adjudicate").click()
    expect(lead.page.locator(".version .canvas[aria-busy=false]")).to_have_count(3)
    first = lead.page.locator("[data-phrase]").first.get_attribute("data-phrase")
    lead.press("1")
    expect(lead.page.locator(".version[data-chosen=true]")).to_have_attribute("data-version", "1")
    lead.press("Tab", "3")
    row = lead.page.locator(f"[data-phrase='{first}']")
    expect(row.locator(".choice").nth(2)).to_have_attribute("aria-pressed", "true")
    rows = lead.page.locator("[data-phrase]")
    expect(rows).to_have_count(2)
    other = rows.nth(1)
    expect(other.locator(".choice").first).to_have_attribute("aria-pressed", "true")
    expect(lead.page.locator(".version[data-chosen=true]")).to_have_attribute("data-version", "3")
    body = lead.decides("a")
    pairs = body["pairs"]
    lead.saved(1)
    assert body["kind"] == "edit"

    def recorded() -> bool:
        found = tenant.rest(lead.key, "GET", f"/v1/images/{image}/annotations")["pairs"]
        return {pair["phrase"]: len(pair["masks"]) for pair in found} == {
            pair["phrase"]: len(pair["masks"]) for pair in pairs
        }

    assert eventually(recorded)


def _audits(tenant: Tenant) -> None:
    """A job whose every accepted pair is audited, and of which pairs are accepted."""
    tenant.submit(
        "automatic", images=2, audit_rate=1.0, thresholds={"accept_above": 0.3, "reject_below": 0.1}
    )


def _check(sign_in: SignIn) -> Desk:
    desk = sign_in("verifier")
    desk.page.get_by_role("link", name="Check").click()
    desk.ready()
    return desk


def _gold_that_disagrees(tenant: Tenant) -> str:
    """An image of which three people drew three, one and three objects; its id."""
    tenant.submit("assisted_manual", tier="gold")
    image = ""
    for masks in (3, 1, 3):
        key = tenant.key("annotator")
        leased = tenant.rest(key, "POST", "/v1/reviews/lease", {"types": ["annotate"]})["items"][0]
        image = leased["task"]["image"]["id"]
        size = (leased["task"]["image"]["height"], leased["task"]["image"]["width"])
        drawn = [drawn_mask(_rectangle(size, *box)).model_dump() for box in BOXES[:masks]]
        body: dict[str, Any] = {
            "id": f"gold-{masks}-{leased['lease_id']}",
            "lease_id": leased["lease_id"],
            "kind": "edit",
            "active_seconds": 1,
            "pairs": [
                {"phrase": "red boat", "exhaustive": True, "masks": drawn},
                {"phrase": "dog", "polarity": "negative", "hard_negative": True},
            ],
        }
        tenant.rest(key, "POST", f"/v1/reviews/{leased['task']['id']}/decision", body)
    return image


def _rectangle(size: tuple[int, int], x: int, y: int, width: int, height: int) -> np.ndarray[Any, Any]:
    mask = np.zeros(size, dtype=bool)
    mask[y : y + height, x : x + width] = True
    return mask
