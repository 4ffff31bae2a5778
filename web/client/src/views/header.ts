/** The bar on top: whose page this is, how the line is, theme and settings. */
import type { State } from "../state";
import type { Theme } from "../theme";
import { clock, h, icon, mark, setText, show } from "./dom";

const PHASE_WORDS: Record<State["phase"], string> = {
  start: "Ready",
  connecting: "Connecting…",
  "in-call": "Connected",
  reconnecting: "Reconnecting…",
  ending: "Ending…",
  report: "Call ended",
};
const TRANSPORT_WORDS = { webrtc: "WebRTC", websocket: "WebSocket" };

export function header(theme: Theme, onSettings: () => void) {
  const state = h("span", { class: "line-state", "data-testid": "state", role: "status" });
  const transport = h("span", { class: "line-transport", "data-testid": "transport" });
  const timer = h("span", { class: "line-timer" });
  const line = h("div", { class: "line" }, h("span", { class: "dot", "aria-hidden": "true" }), state, transport, timer);
  const title = h("p", { class: "call-title" });
  const themeButton = h("button", {
    class: "button quiet round",
    type: "button",
    "data-testid": "theme-toggle",
    onclick: () => theme.toggle(),
  });
  const paintTheme = () => {
    const dark = theme.current === "dark";
    themeButton.replaceChildren(icon(dark ? "sun" : "moon"));
    themeButton.setAttribute("aria-label", dark ? "Use light colours" : "Use dark colours");
  };
  theme.onChange(paintTheme);
  paintTheme();
  const settings = h(
    "button",
    {
      class: "button quiet round",
      type: "button",
      "aria-label": "Settings",
      "data-testid": "settings-button",
      onclick: onSettings,
    },
    icon("settings"),
  );
  const root = h(
    "header",
    { class: "top" },
    h("div", { class: "brand" }, mark(), h("span", {}, "Parley"), title),
    line,
    h("div", { class: "top-tools" }, themeButton, settings),
  );

  let startedAt: number | null = null;
  const tick = () => {
    if (startedAt !== null) setText(timer, clock((Date.now() - startedAt) / 1000));
  };
  setInterval(tick, 500);

  const update = (s: State) => {
    const inCall = s.phase !== "start" && s.phase !== "report";
    show(line, s.phase !== "report" && (inCall || s.config !== null));
    line.dataset["phase"] = s.phase;
    setText(state, s.phase === "start" && s.config === null ? "Starting…" : PHASE_WORDS[s.phase]);
    state.dataset["state"] = s.phase;
    setText(transport, s.transport ? TRANSPORT_WORDS[s.transport] : "");
    transport.dataset["transport"] = s.transport ?? "";
    startedAt = inCall ? s.startedAt : null;
    show(timer, startedAt !== null);
    tick();
    const lesson = s.config?.lessons.find((l) => l.id === s.lesson);
    setText(title, inCall && lesson ? lesson.title : "");
  };
  return { root, update };
}
