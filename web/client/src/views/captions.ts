/** The conversation as captions, both sides, as it happens. Rows are kept and mended: one turn, one element. */
import type { CorrectionItem } from "../protocol";
import type { CaptionTurn, LearnerTurn, State, TutorTurn } from "../state";
import { splitWords, wordDiff } from "../words";
import { h, icon, setText, show } from "./dom";

const NEAR_END_PX = 80;

export function captionsView() {
  const list = h("div", { class: "turns" });
  const empty = h("p", { class: "waiting" });
  const scroller = h(
    "div",
    { class: "captions", "data-testid": "captions", role: "log", "aria-live": "off", "aria-label": "Captions", tabindex: 0 },
    empty,
    list,
  );
  const latest = h(
    "button",
    { class: "button latest", type: "button", hidden: true, onclick: () => toEnd(true) },
    icon("down"),
    "Latest",
  );
  const root = h("section", { class: "captions-box", "aria-label": "Conversation" }, scroller, latest);

  const rows = new Map<number, Row>();
  let shown: CaptionTurn[] = [];
  let follow = true;
  scroller.addEventListener("scroll", () => {
    follow = scroller.scrollHeight - scroller.scrollTop - scroller.clientHeight < NEAR_END_PX;
    show(latest, !follow);
  });
  const toEnd = (force = false) => {
    if (!follow && !force) return;
    scroller.scrollTop = scroller.scrollHeight;
  };
  new ResizeObserver(() => toEnd()).observe(list);

  const update = (s: State) => {
    setText(empty, s.phase === "connecting" ? "Calling your tutor…" : "Your tutor is about to speak…");
    show(empty, s.turns.length === 0);
    if (s.turns === shown) return;
    shown = s.turns;
    const live = new Set(s.turns.map((t) => t.id));
    for (const [id, row] of rows) {
      if (live.has(id)) continue;
      row.root.remove();
      rows.delete(id);
    }
    s.turns.forEach((turn, i) => {
      let row = rows.get(turn.id);
      if (!row) rows.set(turn.id, (row = turn.who === "learner" ? learnerRow() : tutorRow()));
      row.update(turn as never);
      row.root.toggleAttribute("data-last", i === s.turns.length - 1);
      row.root.toggleAttribute("data-follows", s.turns[i - 1]?.who === turn.who);
      if (list.children[i] !== row.root) list.insertBefore(row.root, list.children[i] ?? null);
    });
    toEnd();
  };
  return { root, update };
}

type Row = { root: HTMLElement; update: (turn: never) => void };

function learnerRow(): { root: HTMLElement; update: (turn: LearnerTurn) => void } {
  const text = h("p", { class: "words" });
  const corrections = h("ul", { class: "corrections", hidden: true, "aria-label": "Corrections" });
  const notable = h("p", { class: "notable", hidden: true });
  const root = h(
    "article",
    { class: "turn learner", "data-testid": "caption-learner" },
    h("h3", { class: "who" }, "You"),
    h("div", {}, text, corrections, notable),
  );
  let items: CorrectionItem[] = [];
  const update = (turn: LearnerTurn) => {
    root.dataset["partial"] = String(turn.partial !== "");
    setText(text, turn.partial || turn.text);
    setText(notable, turn.notable.map((n) => `${n.word} (${n.level})`).join(", "));
    show(notable, turn.notable.length > 0);
    if (turn.corrections === items) return;
    items = turn.corrections;
    corrections.replaceChildren(...items.map(correction));
    show(corrections, items.length > 0);
  };
  return { root, update };
}

/** One correction as a list item: what was said with its mistake struck, what it should be, and why. */
export function correction(item: CorrectionItem): HTMLLIElement {
  const said = h("span", { class: "said" });
  const better = h("span", { class: "better" });
  for (const part of wordDiff(item.original, item.correction)) {
    if (part.kind !== "added") said.append(part.kind === "removed" ? h("del", {}, part.text) : part.text, " ");
    if (part.kind !== "removed") better.append(part.kind === "added" ? h("ins", {}, part.text) : part.text, " ");
  }
  return h(
    "li",
    { class: "correction" },
    h(
      "p",
      {},
      h("span", { class: "sr" }, "You said: "),
      said,
      h("span", { class: "arrow", "aria-hidden": "true" }, "→"),
      h("span", { class: "sr" }, " Better: "),
      better,
    ),
    item.explanation ? h("p", { class: "why" }, item.explanation) : null,
  );
}

function tutorRow(): { root: HTMLElement; update: (turn: TutorTurn) => void } {
  const text = h("p", { class: "words" });
  const cut = h("span", { class: "cut", hidden: true, title: "You interrupted here" }, "interrupted");
  const root = h("article", { class: "turn tutor", "data-testid": "caption-tutor" }, h("h3", { class: "who" }, "Tutor"), text);
  let words: HTMLSpanElement[] = [];
  const update = (turn: TutorTurn) => {
    root.dataset["cut"] = String(turn.cut);
    root.dataset["ended"] = String(turn.ended);
    const wanted = splitWords(turn.text);
    setText(cut, wanted.length > 0 ? "interrupted" : "interrupted before a word");
    // Words only grow, but for the end of a turn; spans are kept so that lighting one up can be animated.
    const same = words.length <= wanted.length && words.every((w, i) => w.textContent === wanted[i]);
    if (!same) {
      words = [];
      text.replaceChildren();
    }
    for (const word of wanted.slice(words.length)) {
      const span = h("span", { class: "word" }, word);
      words.push(span);
      text.append(span, " ");
    }
    words.forEach((span, i) => span.toggleAttribute("data-heard", i < turn.heard));
    text.append(cut);
    show(cut, turn.cut);
  };
  return { root, update };
}
