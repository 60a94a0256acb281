"""Review: one key decides a pair, and says saved when the server has it."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import replace

from playwright.sync_api import Request, expect

from tests.browser.desks import Desk, Tenant
from tests.support.polling import eventually

SignIn = Callable[..., Desk]


def test_a_wrong_key_is_refused_and_a_right_one_stays_over_a_reload(sign_in: SignIn, tenant: Tenant) -> None:
    desk = sign_in()
    expect(desk.page.get_by_role("heading", name="All done for now")).to_be_visible()
    desk.page.reload()
    expect(desk.page.get_by_role("heading", name="All done for now")).to_be_visible()
    desk.page.get_by_role("button", name="Sign out").click()
    desk.page.get_by_label("API key").fill("tercet_wrong")
    desk.page.get_by_role("button", name="Sign in").click()
    expect(desk.page.get_by_role("alert")).to_have_text("This key is not known, or was revoked.")


def test_one_key_accepts_and_the_next_task_is_there(sign_in: SignIn, tenant: Tenant) -> None:
    tenant.submit("semi_automatic")
    desk = sign_in()
    desk.ready()
    for count, key in enumerate(("a", "Enter", "Control+Enter"), start=1):
        before = desk.phrase.inner_text()
        desk.press(key)
        expect(desk.phrase).not_to_have_text(before)
        desk.saved(count)
        assert tenant.decided(desk.key) == count


def test_one_key_rejects_the_pair_and_an_object_that_is_chosen(sign_in: SignIn, tenant: Tenant) -> None:
    tenant.submit("semi_automatic", images=2)
    desk = sign_in()
    phrase = desk.positive()
    desk.press("Tab")
    expect(desk.objects.first.get_by_role("button").first).to_have_attribute("aria-pressed", "true")
    desk.press("r")
    expect(desk.objects.first).to_have_attribute("data-dropped", "true")
    assert tenant.decided(desk.key) == 0
    desk.press("Control+z")
    expect(desk.objects.first).to_have_attribute("data-dropped", "false")
    desk.press("Control+Shift+z")
    expect(desk.objects.first).to_have_attribute("data-dropped", "true")
    desk.press("Escape", "Shift+r")
    expect(desk.phrase).not_to_have_text(phrase)
    desk.saved(1)
    second = desk.phrase.inner_text()
    desk.press("Control+Space")
    expect(desk.phrase).not_to_have_text(second)
    desk.saved(2)
    assert tenant.decided(desk.key) == 2


def test_a_decision_is_undone(sign_in: SignIn, tenant: Tenant) -> None:
    tenant.submit("semi_automatic")
    desk = sign_in()
    desk.ready()
    phrase = desk.phrase.inner_text()
    desk.press("a")
    desk.saved(1)
    with desk.page.expect_response(lambda answer: answer.url.endswith("/undo")) as undone:
        desk.press("Control+z")
    assert undone.value.status == 200
    expect(desk.phrase).to_have_text(phrase)
    expect(desk.page.locator("[data-action='review.accept']")).to_be_enabled()
    eventually(lambda: tenant.decided(desk.key) == 0)
    desk.press("r")
    desk.saved(1)
    assert tenant.decided(desk.key) == 1


def test_next_previous_phrases_by_number_and_hiding(sign_in: SignIn, tenant: Tenant) -> None:
    tenant.submit("semi_automatic")
    desk = sign_in()
    desk.ready()
    first = desk.phrase.inner_text()
    desk.press("f")
    expect(desk.phrase).not_to_have_text(first)
    desk.press("d")
    expect(desk.phrase).to_have_text(first)
    row = desk.page.locator(".phrase-row:has(kbd)").nth(1)
    number, phrase = row.locator("kbd").inner_text(), row.locator(".phrase").inner_text()
    desk.press(number)
    expect(desk.phrase).to_have_text(phrase.removeprefix("not"))
    desk.press("h")
    expect(desk.page.get_by_text("Masks are hidden")).to_be_visible()
    desk.press("h")
    expect(desk.page.get_by_text("Masks are hidden")).not_to_be_visible()
    assert tenant.decided(desk.key) == 0


def test_the_filter_gives_only_what_fits_and_the_rest_goes_back(sign_in: SignIn, tenant: Tenant) -> None:
    tenant.submit("semi_automatic", images=2)
    desk = sign_in()
    desk.ready()
    desk.positive()
    desk.press("a")
    desk.saved(1)
    place = desk.page.locator(".place")
    at, total = (int(part) for part in place.inner_text().split(" of "))
    for step in range(at, total):
        assert not desk.negative
        desk.press("f")
        expect(place).to_have_text(re.compile(rf"^{step + 1} of "))
    assert not desk.negative
    queues = {q["type"]: q for q in tenant.rest(desk.key, "GET", "/v1/reviews/queues")["queues"]}
    assert queues["review"]["leased"] > 0
    assert queues["negative"]["waiting"] > 0
    assert queues["negative"]["leased"] == 0


def test_a_decided_task_shows_what_was_decided(sign_in: SignIn, tenant: Tenant) -> None:
    tenant.submit("semi_automatic", images=2)
    desk = sign_in()
    phrase = desk.positive()
    image = desk.page.locator(".facts .muted").inner_text()
    desk.press("Tab", "r", "Control+Enter")
    desk.saved(1)
    place = desk.page.locator(".place")
    while (desk.phrase.inner_text(), desk.page.locator(".facts .muted").inner_text()) != (phrase, image):
        at = int(place.inner_text().split(" of ")[0])
        desk.press("d")
        expect(place).to_have_text(re.compile(rf"^{at - 1} of "))
    expect(desk.page.get_by_test_id("decided")).to_contain_text("saved")
    expect(desk.objects.first).to_have_attribute("data-dropped", "true")


def test_a_skipped_task_goes_to_others(sign_in: SignIn, tenant: Tenant) -> None:
    tenant.submit("semi_automatic")
    desk = sign_in()
    desk.ready()
    phrase = desk.phrase.inner_text()
    with desk.page.expect_response(lambda answer: answer.url.endswith("/skip")) as skipped:
        desk.press("Shift+s")
    assert skipped.value.status == 204
    expect(desk.phrase).not_to_have_text(phrase)


def test_keys_are_shown_and_can_be_changed(sign_in: SignIn, tenant: Tenant) -> None:
    tenant.submit("semi_automatic")
    desk = sign_in()
    desk.ready()
    desk.press("?")
    expect(desk.page.get_by_role("dialog", name="Keys")).to_be_visible()
    key = desk.page.locator("[data-key-of='review.accept']")
    key.click()
    desk.press("f")
    expect(desk.page.get_by_role("alert")).to_contain_text("“Next task” has it")
    desk.press("j")
    expect(key).to_have_text("J")
    desk.press("Escape")
    expect(desk.page.get_by_role("dialog")).not_to_be_visible()
    phrase = desk.phrase.inner_text()
    desk.page.reload()
    desk.ready()
    expect(desk.phrase).to_have_text(phrase)
    desk.press("a", "Enter")
    expect(desk.phrase).to_have_text(phrase)
    desk.press("j")
    expect(desk.phrase).not_to_have_text(phrase)
    desk.saved(1)


def test_two_people_never_get_the_same_task(sign_in: SignIn, tenant: Tenant) -> None:
    job = tenant.submit("semi_automatic")
    first, second = sign_in(), sign_in()
    decided: list[str] = []
    for desk in (first, second):
        desk.page.on("request", lambda request: _note_decision(request, decided))
    total = sum(
        q["waiting"] + q["leased"] for q in tenant.rest(first.key, "GET", "/v1/reviews/queues")["queues"]
    )
    assert total >= 4
    for desk in (first, second):
        desk.ready()
    while tenant.decided(first.key) < total:
        for desk in (first, second):
            if desk.page.locator("[data-action='review.accept']").is_visible():
                desk.press("a")
                expect(desk.page.locator(".saving")).to_contain_text("Saved")
    for desk in (first, second):
        expect(desk.page.locator(".problem", has_text="not saved")).to_have_count(0)
        expect(desk.page.locator(".notice.error")).to_have_count(0)
    assert len(set(decided)) == len(decided) == total, f"job {job}"


def test_text_from_outside_is_shown_as_text(sign_in: SignIn, tenant: Tenant) -> None:
    markup = "<img src=x onerror=document.title=1>"
    [scene] = tenant.scenes(1)
    tenant.submit("semi_automatic", uploads=[replace(scene, name=f"{markup}.png")], name=markup)
    desk = sign_in("annotator", "lead")
    desk.ready()
    expect(desk.page.locator(".facts .muted")).to_have_text(f"{markup}.png")
    desk.press("p")
    desk.page.keyboard.type(markup)
    desk.press("Enter")
    expect(desk.page.locator(".phrases .phrase", has_text=markup)).to_be_visible()
    desk.page.get_by_role("link", name="Lead", exact=True).click()
    expect(desk.page.locator(".job-name")).to_have_text(markup)
    expect(desk.page.locator("img[src=x]")).to_have_count(0)
    assert desk.page.title() == "Tercet"


def _note_decision(request: Request, tasks: list[str]) -> None:
    if request.url.endswith("/decision"):
        tasks.append(request.url.split("/")[-2])
