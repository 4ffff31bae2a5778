/** The parts of a report that stand the same after a call and among earlier calls. */
import { getPlots } from "../api";
import type { Report } from "../protocol";
import { latencyLine, measureRows, placeOfMistake, turnNumbers, unmeasured } from "../report";
import { sentence } from "../words-for";
import { correction } from "./captions";
import { h, show } from "./dom";

/** `id` is the session's; without it there are no plots. */
export function reportSections(data: Report, id: string | null): HTMLElement[] {
  const parts = [
    scores(data),
    mistakes(data),
    pair(bullets("What went well", data.strengths), bullets("Try next", data.suggestions)),
    id === null ? null : plots(data, id),
    measures(data.measures ?? {}),
    latencySection(data.latency),
  ];
  return parts.filter((part): part is HTMLElement => part !== null);
}

export function latencySection(summary: Report["latency"]): HTMLElement | null {
  const line = latencyLine(summary);
  return line === null ? null : h("section", { class: "latency-summary" }, h("h2", {}, "The tutor's time to answer"), h("p", {}, line));
}

function scores(data: Report): HTMLElement {
  // The server's verdict ("not enough speech") is the headline where there is no number.
  const verdict = (data.notes ?? []).find((n) => /^not (enough|heard)/i.test(n));
  const notes = (data.notes ?? []).filter((n) => n !== verdict).map((n) => h("li", {}, sentence(n)));
  const entries: [string, number | null | undefined][] = [
    ["Overall", data.final_score],
    ["Grammar", data.grammar_score],
  ];
  const known = entries.filter((e): e is [string, number] => typeof e[1] === "number");
  const missing = entries.filter((e) => typeof e[1] !== "number");
  const figures = known.map(([label, value]) => {
    const fill = h("i");
    fill.style.width = `${Math.max(0, Math.min(100, value))}%`;
    return h(
      "div",
      { class: "score-item" },
      h("p", { class: "score-label" }, label),
      h("p", { class: "score-value" }, String(value), h("small", {}, "/ 100")),
      h("div", { class: "score-bar", "aria-hidden": "true" }, fill),
    );
  });
  if (known.length === 0) {
    const lead = h("p", { class: "verdict" }, verdict ? `No score: ${verdict.replace(/\.$/, "")}` : "No score this time");
    return h(
      "section",
      { class: "scores", "aria-label": "Scores" },
      lead,
      notes.length > 0 ? h("ul", { class: "notes" }, ...notes) : null,
    );
  }
  return h(
    "section",
    { class: "scores", "aria-label": "Scores" },
    h(
      "div",
      { class: "score-row" },
      ...figures,
      ...missing.map(([label]) =>
        h(
          "div",
          { class: "score-item" },
          h("p", { class: "score-label" }, label),
          h("p", { class: "score-none" }, "Not judged"),
        ),
      ),
    ),
    verdict || notes.length > 0 ? h("ul", { class: "notes" }, verdict ? h("li", {}, sentence(verdict)) : null, ...notes) : null,
  );
}

function mistakes(data: Report): HTMLElement {
  const items = data.mistakes ?? [];
  const numbers = turnNumbers(data);
  const list = items.map((item) => {
    const row = correction(item);
    const place = placeOfMistake(item, numbers);
    if (place) row.prepend(h("p", { class: "at" }, place));
    return row;
  });
  const judged = typeof data.grammar_score === "number";
  return h(
    "section",
    {},
    h("h2", {}, "To work on", items.length > 0 ? h("small", {}, String(items.length)) : null),
    items.length > 0
      ? h("ul", { class: "corrections" }, ...list)
      : h("p", {}, judged ? "No mistakes were noted in this call." : "Too little was heard to look for mistakes."),
  );
}

function pair(...columns: (HTMLElement | null)[]): HTMLElement | null {
  return columns.some((column) => column !== null) ? h("div", { class: "pair" }, ...columns) : null;
}

function bullets(title: string, items: string[] | undefined): HTMLElement | null {
  if (!items?.length) return null;
  return h("section", {}, h("h2", {}, title), h("ul", { class: "bullets" }, ...items.map((text) => h("li", {}, text))));
}

/** Drawn by the server, so that they look the same here and on its page to print; inline, so that they follow the theme. */
function plots(data: Report, id: string): HTMLElement {
  const grid = h("div", { class: "plots" });
  const note = data.levels?.note ?? "";
  const section = h("section", { class: "pictures", "data-testid": "report-plots", hidden: true }, h("h2", {}, "In pictures"), grid);
  void getPlots(id)
    .then((drawn) => {
      const svgs = Object.values(drawn).flatMap(svgOf);
      grid.replaceChildren(...svgs);
      if (note && "levels" in drawn) section.append(h("p", { class: "notes" }, note));
      show(section, svgs.length > 0);
    })
    // The figures stand below all the same.
    .catch(() => section.remove());
  return section;
}

function svgOf(text: string): Element[] {
  const root = new DOMParser().parseFromString(text, "image/svg+xml").documentElement;
  return root.nodeName === "svg" ? [document.importNode(root, true)] : [];
}

function measures(values: Record<string, unknown>): HTMLElement | null {
  const all = measureRows(values);
  const rows = all.filter(({ value }) => value !== null).map(({ name, value, unit, source }) =>
    h(
      "div",
      {},
      h("dt", {}, name),
      h("dd", {}, value, unit ? h("small", {}, ` ${unit}`) : null),
      source ? h("dd", { class: "source" }, source) : null,
    ),
  );
  const missing = unmeasured(all.filter(({ value }) => value === null)).map((line) => h("li", {}, line));
  if (all.length === 0) return null;
  return h(
    "section",
    {},
    h("h2", {}, "Measured"),
    rows.length > 0 ? h("dl", { class: "measures" }, ...rows) : null,
    missing.length > 0
      ? h("div", { class: "unmeasured" }, h("h3", {}, "Not measured"), h("ul", { class: "notes" }, ...missing))
      : null,
  );
}
