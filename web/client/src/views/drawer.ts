/** Settings, in a drawer. A native modal dialog: focus stays inside and Escape closes it. */
import type { PreferenceStore, Preferences } from "../preferences";
import type { State } from "../state";
import { h, icon, show } from "./dom";

const SHORTCUTS: [string, string][] = [
  ["C", "Call your tutor"],
  ["M", "Mute or unmute"],
  ["Esc", "Interrupt the tutor"],
  ["T", "Type"],
  ["S", "Settings and shortcuts"],
];

export function drawer(preferences: PreferenceStore, options: HTMLElement) {
  const soundSlot = h("div");
  const practiceSlot = h("div");
  const sound = section("Sound", soundSlot);
  const practice = section("Practice", practiceSlot);
  const tutor = section("Tutor", options);
  const choices: (() => void)[] = [];

  const choice = <K extends "theme" | "connection" | "captionSize">(
    key: K,
    label: string,
    options: [Preferences[K], string][],
  ) => {
    const buttons = options.map(([value, text]) => {
      const id = `${key}-${value}`;
      const input = h("input", { type: "radio", name: key, id, onchange: () => preferences.set(key, value) });
      choices.push(() => (input.checked = preferences.get(key) === value));
      return h("div", {}, input, h("label", { for: id }, text));
    });
    return h("fieldset", { class: "segmented" }, h("legend", {}, label), h("div", { class: "segments" }, ...buttons));
  };
  const latency = h("input", {
    type: "checkbox",
    id: "show-latency",
    onchange: () => preferences.set("latency", latency.checked),
  });
  choices.push(() => (latency.checked = preferences.get("latency")));

  const root = h(
    "dialog",
    { class: "drawer", "aria-labelledby": "drawer-title", "data-testid": "settings" },
    h(
      "div",
      { class: "drawer-head" },
      h("h2", { id: "drawer-title" }, "Settings"),
      h(
        "button",
        { class: "button quiet round", type: "button", "aria-label": "Close settings", onclick: () => root.close() },
        icon("close"),
      ),
    ),
    h(
      "div",
      { class: "drawer-body" },
      sound,
      practice,
      tutor,
      section(
        "Appearance",
        choice("theme", "Colours", [
          ["system", "System"],
          ["light", "Light"],
          ["dark", "Dark"],
        ]),
        choice("captionSize", "Captions", [
          ["normal", "Normal"],
          ["large", "Large"],
        ]),
        h("div", { class: "check-row" }, latency, h("label", { for: "show-latency" }, "Show how quickly the tutor answers")),
      ),
      section(
        "Connection",
        choice("connection", "Used from the next call on", [
          ["auto", "Automatic"],
          ["webrtc", "WebRTC"],
          ["websocket", "WebSocket"],
        ]),
        h("p", { class: "hint" }, "Automatic tries WebRTC first and changes to a WebSocket where a network blocks it."),
      ),
      section(
        "Keyboard",
        h(
          "dl",
          { class: "shortcuts" },
          ...SHORTCUTS.map(([key, what]) => h("div", {}, h("dt", {}, h("kbd", {}, key)), h("dd", {}, what))),
        ),
      ),
    ),
  );
  // A click on the backdrop is a click on the dialog outside of its content.
  root.addEventListener("click", (e) => {
    if (e.target !== root) return;
    const box = root.getBoundingClientRect();
    if (e.clientX < box.left || e.clientX > box.right || e.clientY < box.top || e.clientY > box.bottom) root.close();
  });
  const refresh = () => choices.forEach((c) => c());
  preferences.onChange(refresh);
  refresh();
  const update = (s: State) => {
    show(tutor, Boolean(s.config?.options?.length));
    const inCall = s.phase !== "start";
    show(sound, inCall && s.phase !== "report");
    show(practice, inCall && s.phase !== "report");
  };
  return { root, soundSlot, practiceSlot, update, open: () => root.showModal() };
}

function section(title: string, ...children: HTMLElement[]): HTMLElement {
  return h("section", {}, h("h3", {}, title), ...children);
}
