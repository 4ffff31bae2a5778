/** What to practise: lesson and level. On the start page; in the drawer during a call, where a change takes effect at once. */
import type { Call } from "../call";
import type { Level } from "../protocol";
import type { State } from "../state";
import { h, readable, selectField, setOptions, show } from "./dom";

export function practicePanel(call: Call) {
  const lesson = selectField("Lesson", "lesson-select", (id) => call.chooseLesson(id));
  const level = selectField("Your level", "level-select", (value) => call.chooseLevel(value as Level));
  const hint = h(
    "p",
    { class: "hint" },
    "Another lesson starts the conversation anew. Another level counts from the tutor's next turn.",
  );
  const root = h("div", { class: "practice" }, lesson.root, level.root, hint);
  const update = (s: State) => {
    const config = s.config;
    lesson.select.disabled = level.select.disabled = config === null || !["start", "in-call"].includes(s.phase);
    show(hint, s.phase !== "start");
    if (!config) return;
    setOptions(
      lesson.select,
      config.lessons.map((l) => ({ value: l.id, label: l.title, ...(l.level ? { group: readable(l.level) } : {}) })),
      s.lesson,
    );
    setOptions(
      level.select,
      config.levels.map((l) => ({ value: l, label: readable(l) })),
      s.level,
    );
  };
  return { root, update };
}
