/** After the call: what was measured, said honestly, and what to do next. Made to be read, and to be printed. */
import { reportPageAddress } from "../api";
import { quantile, toRibbon } from "../latency";
import type { Report } from "../protocol";
import type { State } from "../state";
import { duration, h, icon, readable, setText, show } from "./dom";
import { latencySection, reportSections } from "./report-sections";

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
  const page = printable("report-page");
  const root = h(
    "main",
    { class: "report", "data-testid": "report" },
    h("header", { class: "report-head" }, notice, title, facts, h("div", { class: "report-actions" }, again, other, print, page)),
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
    show(page, report.data !== null && s.sessionId !== null);
    if (s.sessionId) page.href = reportPageAddress(s.sessionId);
    body.replaceChildren(...sections(s));
    if (opened) title.focus({ preventScroll: true });
  };
  return { root, update };
}

/** A link to the server's own page of a report, which can be printed and kept. */
export function printable(testId: string): HTMLAnchorElement {
  return h("a", { class: "button", target: "_blank", rel: "noopener", "data-testid": testId }, "Printable report");
}

function sections(s: State): HTMLElement[] {
  const report = s.report!;
  if (report.status === "loading") return [h("p", { class: "loading", role: "status" }, "Preparing your report…")];
  const data = report.data;
  const parts: (HTMLElement | null)[] = data
    ? reportSections({ ...data, latency: data.latency ?? ownLatency(s) }, s.sessionId)
    : [
        h(
          "p",
          { class: "verdict" },
          s.turns.some((t) => t.who === "learner")
            ? "The server has no report for this call."
            : "Nobody spoke, so there is nothing to report.",
        ),
        latencySection(ownLatency(s)),
      ];
  parts.push(transcript(s));
  return parts.filter((p): p is HTMLElement => p !== null);
}

/** What this page measured itself, for a call whose report does not say. */
function ownLatency(s: State): Report["latency"] {
  const own = s.metrics.map(toRibbon).flatMap((r) => (r.v2vMs === null ? [] : [r.v2vMs]));
  return { v2v_p50_ms: quantile(own, 0.5), v2v_p90_ms: quantile(own, 0.9), n: own.length };
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
