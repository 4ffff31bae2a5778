"""The report on the page: figures and plots after the call, the same among earlier calls, and a page to print."""

from __future__ import annotations

import pytest
from playwright.async_api import expect

SAID = ("My name is Anna.", "I am come from Spain", "I am teacher", "I like football and I play with my friends every weekend.")
PLOTS = "[...document.querySelectorAll('main:not([hidden]) [data-testid=report-plots]:not([hidden]) svg.plot > title')]"
FILL = "getComputedStyle(document.querySelector('main:not([hidden]) .plot .plot-bar')).fill"
HEIGHTS = """[...document.querySelectorAll('main:not([hidden]) .plot rect')].map(bar => {
  const plot = bar.ownerSVGElement.getBoundingClientRect(), box = bar.ownerSVGElement.viewBox.baseVal;
  return [bar.getAttribute('height') / box.height, bar.getBoundingClientRect().height / plot.height];
})"""
ACCENT = "getComputedStyle(document.documentElement).getPropertyValue('--accent').trim()"


async def as_rgb(browser, colour: str) -> str:
    script = "(c) => { const e = document.createElement('i'); e.style.color = c; document.body.append(e);"
    return await browser.page.evaluate(f"{script} const rgb = getComputedStyle(e).color; e.remove(); return rgb; }}", colour)


async def test_the_report_after_a_call_and_among_earlier_ones(server, browse):
    browser = await browse(server.url)
    await browser.call()
    await browser.see("caption-tutor", "name")
    for n, text in enumerate(SAID, 2):
        await browser.at("text-input").fill(text)
        await browser.at("send-text").click()
        await browser.wait(f"document.querySelectorAll('[data-testid=caption-tutor]').length >= {n}")
    await browser.at("hangup-button").click()
    await browser.page.wait_for_selector("[data-testid=report]:visible", timeout=30_000)
    await browser.see("report", "your pace between pauses")
    await browser.see("report", "your turn 2 · 0:")
    await browser.wait(f"{PLOTS}.some(t => t.textContent.startsWith('Levels of your words'))")
    await browser.see("report-plots", "this is a profile of the words used, not your level")

    # The page's own styles leave the plots as they were drawn.
    for drawn, shown in await browser.page.evaluate(HEIGHTS):
        assert shown == pytest.approx(drawn, abs=0.01)

    # The plots have the page's colours, whichever theme is chosen.
    seen = set()
    for theme in ("light", "dark"):
        await browser.page.evaluate("(theme) => document.documentElement.dataset.theme = theme", theme)
        fill = await browser.page.evaluate(FILL)
        assert fill == await as_rgb(browser, await browser.page.evaluate(ACCENT))
        seen.add(fill)
    assert len(seen) == 2

    async with browser.context.expect_page() as opened:
        await browser.at("report-page").click()
    page = await opened.value
    await expect(page.get_by_role("heading", name="To work on")).to_be_visible()
    await expect(page.locator("svg.plot").first).to_be_visible()
    await expect(page.locator("body")).to_contain_text("I like football and I play with my friends every weekend.")
    assert await page.locator("script").count() == 0
    await page.close()

    await browser.at("history-button").click()
    await browser.at("history-item").first.click()
    await browser.see("history-report", "your pace between pauses")
    await browser.wait(f"{PLOTS}.some(t => t.textContent.startsWith('Levels of your words'))")
    assert "report?format=html" in (await browser.at("history-report-page").get_attribute("href") or "")
    assert browser.errors == []
