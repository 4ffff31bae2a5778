/** After the call: what was measured, said honestly, and what to do next. Made to be read, and to be printed. */
import { quantile, toRibbon } from "../latency";
import type { Report, ReportMistake } from "../protocol";
import type { State } from "../state";
import { sentence } from "../words-for";
import { correction } from "./captions";
import { clock, duration, h, icon, readable, setText, show } from "./dom";

export interface ReportActions {
  again(): void;
  change(): void;
}

export function reportView(actions: ReportActions) {
  const title = h("h1", { tabindex: -1 });
  const facts = h("p", { class: "facts" });
  const notice = h("p", { class: "notice", role: "status" });
  const body = h("div", { class: "report-body" });
  const again = h(
    "button",
    { class: "button primary", type: "button", "data-testid": "again-button", onclick: () => actions.again() },
    icon("again"),
    "Practise again",
  );
  const other = h("button", { class: "button", type: "button", onclick: () => actions.change() }, "Change lesson");
  const print = h("button", { class: "button", type: "button", onclick: () => window.print() }, icon("print"), "Print");
  const root = h(
    "main",
    { class: "report", "data-testid": "report" },
    h("header", { class: "report-head" }, notice, title, facts, h("div", { class: "report-actions" }, again, other, print)),
    body,
  );
  let drawn: State["report"] = null;

  const update = (s: State) => {
    show(root, s.phase === "report");
    const report = s.report;
    if (report === drawn) return;
    const opened = drawn === null;
    drawn = report;
    if (!report) return;
    const lesson = s.config?.lessons.find((l) => l.id === s.lesson);
    setText(title, lesson?.title ?? "Your call");
    const turns = s.turns.filter((t) => t.who === "learner").length;
    setText(
      facts,
      [
        new Date(s.startedAt ?? Date.now()).toLocaleDateString(undefined, { dateStyle: "long" }),
        report.durationS !== null ? duration(report.durationS) : "",
        `${turns} ${turns === 1 ? "turn" : "turns"} of yours`,
        readable(s.level),
      ]
        .filter(Boolean)
        .join(" · "),
    );
    setText(notice, report.notice ?? "");
    show(notice, report.notice !== null);
    root.dataset["status"] = report.status;
    body.replaceChildren(...sections(s));
    if (opened) title.focus({ preventScroll: true });
  };
  return { root, update };
}

function sections(s: State): HTMLElement[] {
  const report = s.report!;
  if (report.status === "loading") return [h("p", { class: "loading", role: "status" }, "Preparing your report…")];
  const data = report.data;
  const parts: (HTMLElement | null)[] = data
    ? [
        scores(data),
        mistakes(data.mistakes ?? [], typeof data.grammar_score === "number"),
        h("div", { class: "pair" }, bullets("What went well", data.strengths), bullets("Try next", data.suggestions)),
        measures(data.measures ?? {}),
      ]
    : [
        h(
          "p",
          { class: "verdict" },
          s.turns.some((t) => t.who === "learner")
            ? "The server has no report for this call."
            : "Nobody spoke, so there is nothing to report.",
        ),
      ];
  parts.push(transcript(s), latency(s));
  return parts.filter((p): p is HTMLElement => p !== null);
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

function mistakes(items: ReportMistake[], judged: boolean): HTMLElement {
  const list = items.map((m) => {
    const row = correction(m);
    if (typeof m.time_s === "number") row.prepend(h("span", { class: "at" }, clock(m.time_s)));
    return row;
  });
  return h(
    "section",
    {},
    h("h2", {}, "To work on", items.length > 0 ? h("small", {}, String(items.length)) : null),
    items.length > 0
      ? h("ul", { class: "corrections" }, ...list)
      : h("p", {}, judged ? "No mistakes were noted in this call." : "Too little was heard to look for mistakes."),
  );
}

function bullets(title: string, items: string[] | undefined): HTMLElement | null {
  if (!items?.length) return null;
  return h("section", {}, h("h2", {}, title), h("ul", { class: "bullets" }, ...items.map((text) => h("li", {}, text))));
}

function measures(values: Record<string, unknown>): HTMLElement | null {
  const rows = Object.entries(values).flatMap(([key, value]) => measure(key, value));
  if (rows.length === 0) return null;
  return h("section", {}, h("h2", {}, "Measured"), h("dl", { class: "measures" }, ...rows));
}

const MEASURE_NAMES: Record<string, string> = {
  talk_ratio: "Your share of the talk",
  learner_words: "Words you said",
  learner_turns: "Your turns",
  tutor_turns: "The tutor's turns",
  words_per_minute: "Your pace",
  response_time_s: "Your time to answer",
  vocabulary_size: "Your vocabulary",
};

/** Measures are an open set: a plain value, or an object with `value` and what explains it. */
function measure(key: string, raw: unknown): HTMLElement[] {
  const row = (value: string, unit: string, source: string) =>
    h(
      "div",
      {},
      h("dt", {}, MEASURE_NAMES[key] ?? readable(key)),
      h("dd", {}, value, unit ? h("small", {}, ` ${unit}`) : null),
      source ? h("dd", { class: "source" }, source) : null,
    );
  if (raw !== null && typeof raw === "object" && !Array.isArray(raw)) {
    const object = raw as Record<string, unknown>;
    if ("value" in object) {
      const value = object["value"];
      const unit = typeof object["unit"] === "string" ? object["unit"] : "";
      const source = [object["source"], object["method"], object["note"]].find((x) => typeof x === "string") as
        | string
        | undefined;
      // A share is read as a percentage.
      const share = typeof value === "number" && /^share\b/.test(unit);
      const text = share ? `${Math.round(100 * value)} %` : formatted(value);
      return [row(text, value === null ? "" : counted(unit, value), source ?? "")];
    }
    return Object.entries(object).flatMap(([k, v]) => measure(`${key} ${k}`, v));
  }
  // A unit at the key's end, as the house names its values.
  const unit = /_(s|ms|hz|wpm)$/.exec(key)?.[1] ?? "";
  if (unit) key = key.slice(0, -unit.length - 1);
  return [row(formatted(raw), raw === null ? "" : unit, "")];
}

/** "share of talking time" → "of talking time"; "turns" of one → "turn". */
function counted(unit: string, value: unknown): string {
  const plain = unit.replace(/^share /, "");
  return value === 1 ? plain.replace(/\b(turn|word)s$/, "$1") : plain;
}

function formatted(value: unknown): string {
  if (value === null || value === undefined) return "not measured";
  if (typeof value === "number") return Number.isInteger(value) ? String(value) : value.toFixed(Math.abs(value) < 10 ? 2 : 1);
  if (typeof value === "boolean") return value ? "yes" : "no";
  if (Array.isArray(value)) return value.length > 0 ? value.map(formatted).join(", ") : "none";
  return String(value);
}

function transcript(s: State): HTMLElement | null {
  const recorded = s.report?.record?.turns;
  const turns =
    recorded && recorded.length > 0
      ? recorded.map((t) => ({ who: t.role, text: t.text, cut: t.interrupted ?? false }))
      : s.turns.map((t) => ({ who: t.who, text: t.text, cut: t.who === "tutor" && t.cut }));
  const rows = turns.filter((t) => t.text !== "");
  if (rows.length === 0) return null;
  return h(
    "section",
    { class: "transcript" },
    h("h2", {}, "What was said"),
    ...rows.map((t) =>
      h(
        "article",
        { class: `turn ${t.who}` },
        h("h3", { class: "who" }, t.who === "tutor" ? "Tutor" : "You"),
        h("p", { class: "words" }, t.text, t.cut && " ", t.cut ? h("span", { class: "cut" }, "interrupted") : null),
      ),
    ),
  );
}

/** A ninth decile of a handful of answers would say nothing. */
function span(n: number, p90Ms: number): string {
  if (n === 1) return "one answer";
  return n < 10 ? `median of ${n} answers` : `median of ${n} answers; nine of ten within ${Math.round(p90Ms)} ms`;
}

function latency(s: State): HTMLElement | null {
  const given = s.report?.data?.latency;
  const own = s.metrics.map(toRibbon).flatMap((r) => (r.v2vMs === null ? [] : [r.v2vMs]));
  const p50 = given?.v2v_p50_ms ?? quantile(own, 0.5);
  const p90 = given?.v2v_p90_ms ?? quantile(own, 0.9);
  const n = given?.n ?? own.length;
  if (p50 === null || p90 === null || n === 0) return null;
  return h(
    "section",
    { class: "latency-summary" },
    h("h2", {}, "The line"),
    h("p", {}, `The tutor began to answer ${Math.round(p50)} ms after your last sound (${span(n, p90)}).`),
  );
}
