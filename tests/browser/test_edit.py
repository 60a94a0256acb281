"""Edit: every tool draws, by mouse and by keyboard alone, and nothing drawn is lost: by a reload in mid-draw,
a lease that others take, or a line that is cut.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from playwright.sync_api import Locator, expect

from tests.browser.desks import Desk, Tenant
from tests.support.polling import eventually

SignIn = Callable[..., Desk]
SIZE = 256
DRAWN = re.compile(r"(drawn|corrected), ([\d,]+) px")


def test_every_tool_draws_and_each_step_is_undone(sign_in: SignIn, tenant: Tenant) -> None:
    desk = _editing(sign_in, tenant)
    before = desk.objects.count()
    x, y, width, height = _first_box(desk)
    desk.press("n")
    expect(desk.objects).to_have_count(before + 1)
    expect(_chosen(desk)).to_contain_text("draw it")

    desk.press("b")
    ring = desk.page.get_by_role("slider")
    small = float(ring.input_value())
    desk.press("]", "]")
    expect(ring).not_to_have_value(f"{small:g}")
    assert float(ring.input_value()) > small
    desk.press("[")
    desk.stroke((0.3, 0.3), (0.6, 0.3))
    brushed = _area(desk)
    desk.press("e")
    desk.stroke((0.5, 0.3), (0.6, 0.3))
    erased = _area(desk, other_than=brushed)
    assert 0 < erased < brushed
    desk.press("Control+z")
    assert _area(desk, other_than=erased) == brushed
    desk.press("Control+Shift+z")
    assert _area(desk, other_than=brushed) == erased

    desk.press("g")
    for corner in ((0.3, 0.5), (0.5, 0.5), (0.5, 0.7), (0.3, 0.7)):
        desk.page.mouse.click(*desk.point(*corner))
    desk.press("Enter")
    assert _area(desk, other_than=erased) > erased

    desk.press("n", "x")
    expect(desk.objects).to_have_count(before + 2)
    with _segmented(desk):
        desk.page.mouse.move(*desk.pixel(x, y, SIZE))
        desk.page.mouse.down()
        desk.page.mouse.move(*desk.pixel(x + width, y + height, SIZE), steps=6)
        desk.page.mouse.up()
    boxed = _area(desk)
    desk.press("c")
    with _segmented(desk):
        desk.page.mouse.click(*desk.pixel(x + width / 2, y + height / 2, SIZE))
    with _segmented(desk):
        desk.page.mouse.click(*desk.point(0.8, 0.8), button="right")
    expect(desk.page.get_by_text("Asking the model…")).to_have_count(0)
    desk.press("Control+z", "Control+z")
    assert _area(desk) == boxed

    desk.press("Delete")
    expect(desk.objects).to_have_count(before + 1)
    desk.press("Enter")
    expect(desk.page.get_by_role("toolbar", name="Tools")).to_have_count(0)
    body = desk.decides("Control+Enter")
    assert body["kind"] == "edit"
    assert len(body["pairs"][0]["masks"]) == before + 1
    desk.saved(1)


def test_the_keyboard_alone_draws(sign_in: SignIn, tenant: Tenant) -> None:
    desk = _editing(sign_in, tenant)
    before = desk.objects.count()
    desk.press("n", "b", "Space", *["ArrowRight"] * 6, "Space")
    brushed = _area(desk)
    corners = ("Shift+ArrowLeft", "Shift+ArrowDown", "Shift+ArrowRight")
    desk.press("g", *(key for corner in corners for key in (corner, "Space")), "Enter")
    assert _area(desk, other_than=brushed) > brushed
    desk.press("n", "c")
    with _segmented(desk):
        desk.press("Space")
    desk.press("Escape")
    expect(desk.objects).to_have_count(before + 2)


def test_a_reload_in_mid_draw_keeps_what_was_drawn(sign_in: SignIn, tenant: Tenant) -> None:
    desk = _editing(sign_in, tenant)
    before, phrase = desk.objects.count(), desk.phrase.inner_text()
    desk.press("n", "b")
    desk.stroke((0.3, 0.3), (0.4, 0.3))
    first = _area(desk)
    desk.stroke((0.4, 0.5), (0.6, 0.5), hold=True)
    desk.page.reload()
    desk.ready()
    expect(desk.phrase).to_have_text(phrase)
    expect(desk.objects).to_have_count(before + 1)
    # The stroke that was cut off ends where it was cut.
    assert _area(desk, of=desk.objects.last) > first
    assert len(desk.decides("Control+Enter")["pairs"][0]["masks"]) == before + 1
    desk.saved(1)


def test_a_lease_lost_in_mid_edit_loses_nothing(sign_in: SignIn, tenant: Tenant) -> None:
    desk = _editing(sign_in, tenant)
    before = desk.objects.count()
    phrase = desk.phrase.inner_text()
    desk.press("n", "b")
    desk.stroke((0.3, 0.3), (0.5, 0.5))
    drawn = _area(desk)

    other = tenant.key("annotator")
    desk.page.context.set_offline(True)
    asked = {"types": ["review"], "phrase": phrase, "max_tasks": 10}
    taken = eventually(lambda: tenant.rest(other, "POST", "/v1/reviews/lease", asked)["items"], timeout=60)
    desk.page.context.set_offline(False)
    lost = desk.page.get_by_test_id("lease-lost")
    expect(lost).to_contain_text("This task is no longer yours.")
    expect(lost).to_contain_text("What you have drawn is kept.")
    assert _area(desk, of=desk.objects.last) == drawn

    for held in taken:
        back = {"lease_id": held["lease_id"]}
        tenant.rest(other, "POST", f"/v1/reviews/{held['task']['id']}/release", back)
    desk.page.get_by_role("button", name="Take it back").click()
    expect(lost).to_have_count(0)
    assert _area(desk, of=desk.objects.last) == drawn
    assert len(desk.decides("Control+Enter")["pairs"][0]["masks"]) == before + 1
    desk.saved(1)


def test_what_is_decided_offline_is_sent_once_online(sign_in: SignIn, tenant: Tenant) -> None:
    tenant.submit("semi_automatic", images=2)
    desk = sign_in()
    phrase = desk.positive()
    desk.page.context.set_offline(True)
    desk.press("a")
    expect(desk.phrase).not_to_have_text(phrase)
    expect(desk.page.locator(".saving")).to_contain_text("Offline: 1 decision is kept here")
    assert tenant.decided(desk.key) == 0
    desk.page.context.set_offline(False)
    desk.saved(1)
    assert tenant.decided(desk.key) == 1


def _editing(sign_in: SignIn, tenant: Tenant) -> Desk:
    """The tools are out on a pair with masks."""
    tenant.submit("semi_automatic", images=2)
    desk = sign_in()
    desk.positive()
    desk.press("e")
    expect(desk.page.get_by_role("toolbar", name="Tools")).to_be_visible()
    return desk


def _first_box(desk: Desk) -> tuple[float, float, float, float]:
    """Left, top, width and height of the pair's first mask, as the lead's gallery has it."""
    lead = desk.tenant.key("lead")
    (job,) = desk.tenant.rest(lead, "GET", "/v1/jobs")["items"]
    asked = f"/v1/jobs/{job['id']}/pairs?limit=100&phrase={desk.phrase.inner_text()}"
    shown = desk.page.locator(".facts").inner_text()
    items = desk.tenant.rest(lead, "GET", asked)["items"]
    (found,) = [item for item in items if item["image"]["name"] in shown and item["pair"]["masks"]]
    x, y, width, height = found["pair"]["masks"][0]["box"]
    return x, y, width, height


def _chosen(desk: Desk) -> Locator:
    return desk.objects.filter(has=desk.page.locator("[aria-pressed=true]"))


def _area(desk: Desk, *, of: Locator | None = None, other_than: int | None = None) -> int:
    """Pixels of the chosen object, once it is drawn and, where that is told, has changed."""

    def drawn() -> int | None:
        found = DRAWN.search((of or _chosen(desk)).inner_text())
        area = int(found[2].replace(",", "")) if found else None
        return None if area == other_than else area

    area = eventually(drawn, timeout=20)
    assert area is not None
    return area


@contextmanager
def _segmented(desk: Desk) -> Iterator[None]:
    """The model is asked within, and answers."""
    with desk.page.expect_response(lambda answer: answer.url.endswith("/segment")) as answer:
        yield
    assert answer.value.status == 200
