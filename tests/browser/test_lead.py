"""The lead's page: jobs, figures, the histogram, and the gallery of a job's pairs."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from playwright.sync_api import Locator, expect

from tests.browser.desks import Desk, Tenant
from tests.support.polling import eventually

SignIn = Callable[..., Desk]


def test_without_jobs_the_page_says_what_to_do_and_shows_the_first_job_by_itself(
    sign_in: SignIn, tenant: Tenant
) -> None:
    lead = sign_in("submitter")
    expect(lead.page.get_by_role("heading", name="No jobs yet")).to_be_visible()
    expect(lead.page.locator("code", has_text="tercet submit")).to_be_visible()
    tenant.submit("semi_automatic", name="harbour")
    expect(lead.page.locator(".job", has_text="harbour")).to_be_visible()


def test_figures_follow_what_people_decide(sign_in: SignIn, tenant: Tenant) -> None:
    job = tenant.submit("semi_automatic", name="<b>street</b>")
    lead = _lead(sign_in)
    entry = lead.page.locator(f".job[data-job='{job}']")
    # Markup in a name is text.
    expect(entry.locator(".job-name")).to_have_text("<b>street</b>")
    expect(entry.locator(".status")).to_have_text("Waiting for people")
    entry.click()
    expect(lead.page.get_by_role("heading", name="<b>street</b>")).to_be_visible()
    expect(lead.page.get_by_text("Nobody has decided anything")).to_be_visible()
    expect(_queue(lead, "Review").locator("td").nth(2)).to_have_text("0")

    annotator = sign_in()
    annotator.ready()
    queue = "Confirm absent" if annotator.negative else "Review"
    annotator.press("a")
    annotator.saved(1)

    people = lead.page.get_by_role("region", name="People").locator("tbody tr")
    expect(people).to_have_count(1)
    expect(people.locator("td").first).to_have_text("1")
    expect(people.locator("td").nth(1)).to_have_text("1")  # images
    (person,) = tenant.rest(lead.key, "GET", f"/v1/statistics?job_id={job}")["people"]
    assert person["images_per_hour"] == person["pairs_per_hour"] > 0
    shown = people.locator("td").nth(4).inner_text().replace(",", "")
    assert float(shown) == pytest.approx(person["images_per_hour"], rel=0.01), "images an hour of the person"
    expect(_queue(lead, queue).locator("td").nth(2)).to_have_text("1")
    expect(lead.page.locator(".summary dd").first).to_have_text("1")


def test_a_bar_of_the_histogram_opens_its_pairs(sign_in: SignIn, tenant: Tenant) -> None:
    job = tenant.submit("automatic", images=2)
    lead = _lead(sign_in)
    lead.page.locator(f".job[data-job='{job}']").click()
    expect(lead.page.locator(".threshold text")).to_have_text(["review from 0.70", "accept above 0.90"])
    scores = tenant.rest(lead.key, "GET", f"/v1/statistics?job_id={job}")["scores"]
    counts = [sum(pair) for pair in zip(scores["positive"], scores["negative"], strict=True)]
    fullest = counts.index(max(counts))
    bars = lead.page.locator(".bin")
    expect(bars).to_have_count(20)
    bars.last.focus()
    lead.press(*["ArrowLeft"] * (19 - fullest))
    expect(bars.nth(fullest)).to_be_focused()
    lead.press("Enter")
    expect(lead.page.get_by_role("tab", name="Gallery")).to_have_attribute("aria-selected", "true")
    expect(lead.page.get_by_label("Least score")).to_have_value(f"{fullest / 20:.2f}")
    listed = f"/v1/jobs/{job}/pairs?limit=200&min_score={fullest / 20}&max_score={(fullest + 1) / 20}"
    expect(_cards(lead)).to_have_count(len(tenant.rest(lead.key, "GET", listed)["items"]))
    assert _cards(lead).count() >= max(counts)


def test_the_gallery_is_filtered_and_shows_a_pair_at_full_size(sign_in: SignIn, tenant: Tenant) -> None:
    job = tenant.submit("automatic", images=3)
    lead = _lead(sign_in)
    everything = tenant.rest(lead.key, "GET", f"/v1/jobs/{job}/pairs?limit=200")["items"]
    positives = [item for item in everything if item["pair"]["polarity"] == "positive"]
    assert 0 < len(positives) < len(everything) <= 60, "the scenes give both, and one page of them"
    lead.page.locator(f".job[data-job='{job}']").click()
    fetched: list[str] = []
    lead.page.on("request", lambda request: fetched.append(request.url))
    lead.page.get_by_role("tab", name="Gallery").click()
    expect(_cards(lead)).to_have_count(len(everything))
    lead.page.get_by_label("Polarity").select_option("positive")
    expect(_cards(lead)).to_have_count(len(positives))
    expect(lead.page.locator(".thumbnail[data-state=drawn]").first).to_be_visible()
    first = positives[0]
    count = len(first["pair"]["masks"])
    words = f"{first['image']['name']}: {first['pair']['phrase']}, {count} object{'' if count == 1 else 's'}"
    expect(lead.page.get_by_role("img", name=words).first).to_be_attached()
    pictures = [url for url in fetched if "/v1/images/" in url]
    assert pictures
    assert len(set(pictures)) == len(pictures) <= 3, "a picture is fetched once for all its pairs"
    assert all(url.endswith("/thumbnail?side=512") for url in pictures), "and no picture in full"

    phrase = positives[0]["pair"]["phrase"]
    lead.page.get_by_label("Phrase").fill(phrase)
    same = [item for item in positives if item["pair"]["phrase"] == phrase]
    expect(_cards(lead)).to_have_count(len(same))
    _cards(lead).first.focus()
    lead.press("Enter")
    dialog = lead.page.get_by_role("dialog", name=phrase)
    expect(dialog.locator(".canvas[aria-busy=false]")).to_be_visible()
    expect(dialog.locator(".facts-list div", has_text="Masks by")).to_contain_text("sam-")
    lead.press("Escape")
    expect(dialog).to_have_count(0)

    lead.page.get_by_label("Phrase").fill("purple zebra")
    expect(lead.page.get_by_text("No pair fits every filter")).to_be_visible()
    lead.page.get_by_role("button", name="Clear").click()
    expect(_cards(lead)).to_have_count(len(everything))


def test_lag_is_shown_by_topic(sign_in: SignIn, tenant: Tenant) -> None:
    tenant.submit("semi_automatic")
    lead = _lead(sign_in)
    row = lead.page.locator(".lag tr", has_text="images.submitted").filter(has_text="proposer")
    expect(row.locator(".state")).to_have_text("up to date")
    assert eventually(lambda: lead.page.locator(".lag tbody tr").count() >= 8)


def test_a_lead_only_page_is_not_offered_to_an_annotator(sign_in: SignIn) -> None:
    annotator = sign_in()
    expect(annotator.page.get_by_role("link", name="Review")).to_be_visible()
    expect(annotator.page.get_by_role("link", name="Lead")).to_have_count(0)
    expect(annotator.page.get_by_role("link", name="Adjudicate")).to_have_count(0)


def _lead(sign_in: SignIn) -> Desk:
    lead = sign_in("lead")
    lead.page.get_by_role("link", name="Lead", exact=True).click()
    return lead


def _queue(lead: Desk, name: str) -> Locator:
    return lead.page.get_by_role("region", name="Queues").locator("tbody tr", has_text=name)


def _cards(lead: Desk) -> Locator:
    return lead.page.locator(".card")
