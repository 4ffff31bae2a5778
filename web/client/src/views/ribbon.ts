/** Where the time of each answer went: the stages of a turn stacked in one bar, the latest turn in figures. */
import { quantile, scaleMs, STAGES, toRibbon, type Ribbon } from "../latency";
import type { State } from "../state";
import { h, setText, show } from "./dom";

const TURNS_SHOWN = 8;

export function ribbonView() {
  const figure = h("p", { class: "figure" });
  const caption = h("p", { class: "hint" });
  const bar = h("div", { class: "bar big" });
  const legend = h("dl", { class: "stages" });
  const history = h("ol", { class: "history", "aria-label": "Earlier answers" });
  const scale = h("p", { class: "scale" }, h("span", {}, "0"), h("span"));
  const body = h("div", { class: "ribbon-body" }, h("div", { class: "now" }, figure, caption, bar), legend, history, scale);
  const none = h("p", { class: "hint" }, "How quickly the tutor answers will show here, turn by turn.");
  const root = h(
    "aside",
    { class: "ribbon", "data-testid": "latency-ribbon", "aria-labelledby": "ribbon-title" },
    h("h2", { id: "ribbon-title" }, "Time to answer"),
    none,
    body,
  );
  let seen: State["metrics"] | null = null;
  let visible = true;

  const update = (s: State) => {
    show(root, visible);
    if (s.metrics === seen) return;
    seen = s.metrics;
    const ribbons = s.metrics.map(toRibbon).filter((r) => r.v2vMs !== null || r.bargeInMs !== null);
    show(none, ribbons.length === 0);
    show(body, ribbons.length > 0);
    const answers = ribbons.filter((r) => r.v2vMs !== null);
    const latest = answers.at(-1);
    const longest = scaleMs(answers.slice(-TURNS_SHOWN));
    figure.replaceChildren(latest ? String(Math.round(latest.v2vMs!)) : "–", h("small", {}, "ms"));
    const median = quantile(
      answers.map((r) => r.v2vMs!),
      0.5,
    );
    setText(
      caption,
      latest
        ? answers.length > 1
          ? `from your last sound to the tutor's first. Median of ${answers.length}: ${Math.round(median!)} ms`
          : "from your last sound to the tutor's first"
        : "",
    );
    fill(bar, latest, longest);
    legend.replaceChildren(...(latest ? figures(latest) : []));
    history.replaceChildren(
      ...ribbons
        .filter((r) => r !== latest)
        .slice(-TURNS_SHOWN)
        .reverse()
        .map((r) => historyRow(r, longest)),
    );
    setText(scale.lastElementChild!, longest >= 1000 ? `${longest / 1000} s` : `${longest} ms`);
  };
  return {
    root,
    update,
    setVisible: (v: boolean) => {
      visible = v;
      show(root, v);
    },
  };
}

function fill(bar: HTMLElement, ribbon: Ribbon | undefined, longestMs: number): void {
  if (!ribbon) {
    bar.replaceChildren();
    return;
  }
  const pieces: HTMLElement[] = ribbon.segments.map(({ key, label, ms }) => {
    const piece = h("i", { "data-stage": key, title: `${label}: ${Math.round(ms)} ms` });
    piece.style.width = `${(100 * ms) / longestMs}%`;
    return piece;
  });
  if (ribbon.segments.length === 0 && ribbon.v2vMs !== null) {
    const whole = h("i", { "data-stage": "eot" });
    whole.style.width = `${(100 * ribbon.v2vMs) / longestMs}%`;
    pieces.push(whole);
  }
  if (ribbon.heardAfterMs !== null) {
    const heard = h("i", {
      "data-stage": "heard",
      title: `Played here ${Math.round(ribbon.heardAfterMs)} ms after it was sent`,
    });
    heard.style.width = `${(100 * ribbon.heardAfterMs) / longestMs}%`;
    pieces.push(heard);
  }
  bar.replaceChildren(...pieces);
}

function figures(ribbon: Ribbon): HTMLElement[] {
  const row = (key: string, label: string, value: string, hint: string) =>
    h(
      "div",
      { title: hint },
      h("dt", {}, h("i", { "data-stage": key || null, "aria-hidden": "true" }), label),
      h("dd", {}, value),
    );
  const rows = STAGES.flatMap(({ key, label, hint }) => {
    const segment = ribbon.segments.find((s) => s.key === key);
    if (!segment) return [];
    // A stage that was passed before the one ahead of it cost nothing: say so instead of "0".
    return [row(key, label, segment.ms < 0.5 ? "ready" : `${Math.round(segment.ms)} ms`, hint)];
  });
  if (ribbon.heardAfterMs !== null) {
    rows.push(
      row("heard", "Played here", `+${Math.round(ribbon.heardAfterMs)} ms`, "after it was sent, by this browser's own report"),
    );
  }
  if (ribbon.heardV2vMs !== null) {
    rows.push(row("", "As you heard it", `${Math.round(ribbon.heardV2vMs)} ms`, "from your last sound to the tutor's first here"));
  }
  if (ribbon.bargeInMs !== null) {
    rows.push(
      row(
        "",
        "Fell silent for you",
        `${Math.round(ribbon.bargeInMs)} ms`,
        "from your first sound over the tutor's voice to its last",
      ),
    );
  }
  return rows;
}

function historyRow(ribbon: Ribbon, longestMs: number): HTMLElement {
  const bar = h("div", { class: "bar", "aria-hidden": "true" });
  fill(bar, ribbon, longestMs);
  const parts: string[] = [];
  if (ribbon.v2vMs !== null) parts.push(`${Math.round(ribbon.v2vMs)} ms`);
  if (ribbon.bargeInMs !== null) parts.push(`silent in ${Math.round(ribbon.bargeInMs)} ms`);
  return h(
    "li",
    { "data-barge": ribbon.bargeInMs !== null },
    ribbon.v2vMs !== null ? bar : null,
    h("span", {}, parts.join(" · ")),
  );
}
