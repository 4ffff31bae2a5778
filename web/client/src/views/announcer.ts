/** Captions for screen readers: only what is final, politely, and the tutor's words once they have been spoken. */
import type { State } from "../state";
import { h } from "./dom";

const KEEP = 6;

export function announcer() {
  const root = h("div", { class: "sr", role: "status", "aria-live": "polite", "aria-label": "Latest captions" });
  const said = new Set<string>();
  const say = (key: string, text: string) => {
    if (said.has(key) || text === "") return;
    said.add(key);
    root.append(h("p", {}, text));
    while (root.childElementCount > KEEP) root.firstElementChild?.remove();
  };
  const update = (s: State, before: State) => {
    if (s.phase === "connecting" && before.phase !== "connecting") {
      said.clear();
      root.replaceChildren();
    }
    if (s.phase === "report" && before.phase !== "report") say("ended", "The call has ended.");
    if (s.turns === before.turns) return;
    for (const turn of s.turns) {
      if (turn.who === "learner") {
        if (turn.text && !turn.partial) say(`l${turn.id}`, `You: ${turn.text}`);
        for (const c of turn.corrections)
          say(`c${turn.id}${c.original}`, `Correction: not “${c.original}”, but “${c.correction}”. ${c.explanation}`);
      } else if (turn.ended) {
        say(`t${turn.id}`, `Tutor: ${turn.text}${turn.cut ? " (interrupted)" : ""}`);
      }
    }
  };
  return { root, update };
}
