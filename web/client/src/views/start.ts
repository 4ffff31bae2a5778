/** Before a call: what will be practised, with whom nothing stands in the way. */
import type { Call } from "../call";
import type { PreferenceStore } from "../preferences";
import type { State } from "../state";
import { h, icon, setText, show } from "./dom";
import { ornament } from "./ornament";

export function startView(call: Call, preferences: PreferenceStore) {
  const title = h("h1", { id: "lesson-title" });
  const goal = h("p", { class: "goal" });
  const practiceSlot = h("div");
  const devicesSlot = h("div");
  const button = h(
    "button",
    { class: "button primary call", type: "button", "data-testid": "call-button", onclick: () => void call.dial() },
    icon("phone"),
    h("span", {}, "Call your tutor"),
  );
  const consent = h("input", {
    type: "checkbox",
    id: "record",
    role: "switch",
    "data-testid": "record-switch",
    onchange: () => {
      preferences.set("record", consent.checked);
      if (last) update(last);
    },
  });
  consent.checked = preferences.get("record");
  const told = h("span", { "data-testid": "record-notice" });
  const label = h("label", { for: "record" }, h("b", {}, "Record this call"), told);
  const recording = h("div", { class: "consent" }, consent, label);
  const hint = h("p", { class: "hint" });
  const root = h(
    "main",
    { class: "start" },
    h(
      "section",
      { class: "lesson", "aria-labelledby": "lesson-title" },
      ornament(),
      title,
      goal,
      practiceSlot,
      recording,
      h("div", { class: "dial" }, button, hint),
    ),
    h(
      "section",
      { class: "check", "aria-labelledby": "check-title" },
      h("h2", { id: "check-title" }, "Before you call"),
      devicesSlot,
    ),
  );
  let last: State | null = null;
  const update = (s: State) => {
    last = s;
    show(root, s.phase === "start");
    const lesson = s.config?.lessons.find((l) => l.id === s.lesson);
    setText(title, lesson?.title ?? "Practise spoken English");
    setText(goal, lesson?.goal ?? "");
    show(goal, Boolean(lesson?.goal));
    button.disabled = s.config === null;
    show(recording, s.config?.recording === true);
    setText(
      told,
      consent.checked
        ? "This call is recorded: both voices are kept on this server, and you can delete them."
        : "This call is not recorded. What was said is kept as text.",
    );
    setText(hint, s.mic === "none" ? "You will type; the tutor speaks." : "Speak, interrupt, ask. Hang up for your report.");
  };
  return { root, practiceSlot, devicesSlot, update };
}
