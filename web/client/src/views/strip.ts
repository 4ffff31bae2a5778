/**
 * The two voices over the last seconds, as a score: the tutor above the line, the learner below it, now at the right edge.
 * What a call is made of can be seen in it: turns, the pause before an answer (with its length), speaking over each other.
 */
import type { State } from "../state";
import { floor } from "../state";
import { h, setText } from "./dom";

const STEP_S = 0.05;
const BAR_PX = 3;
const GAP_PX = 2;
const KEEP = 800;
/** Where the names of the voices stand, which bars that do not move would run into. */
const NAMES_PX = 48;
/** A turn's figures arrive about when its answer begins. */
const RECENT_COLUMNS = 40;

interface Column {
  learner: number;
  tutor: number;
  /** The tutor's answer begins here; its latency in ms once it is known. */
  onset?: { label: string };
}

const STATUS: Record<ReturnType<typeof floor>, string> = {
  tutor: "Tutor is speaking",
  learner: "You are speaking",
  thinking: "Tutor is thinking",
  listening: "Listening to you",
};

export function strip(levels: { learner(): number; tutor(): number }) {
  const canvas = h("canvas", { "aria-hidden": "true" });
  const status = h("p", { class: "status", "data-testid": "speaking" });
  const recorded = h("p", { class: "recorded", role: "status", "data-testid": "recorded" });
  const root = h(
    "section",
    { class: "strip", "aria-label": "Who is speaking" },
    h("div", { class: "strip-head" }, status, recorded),
    h(
      "div",
      { class: "score" },
      h("span", { class: "voice-name tutor", "aria-hidden": "true" }, "Tutor"),
      h("span", { class: "voice-name you", "aria-hidden": "true" }, "You"),
      canvas,
    ),
  );
  const calm = matchMedia("(prefers-reduced-motion: reduce)");
  const columns: Column[] = [];
  let colours = { tutor: "", learner: "", line: "", text: "", font: "" };
  let running = false;
  let last = 0;
  let pending: Column["onset"] | undefined;
  let wasTutor = false;
  const labelled = new Set<number>();
  /** A latency that was known before its answer could be heard. */
  let early = "";

  const readColours = () => {
    const style = getComputedStyle(root);
    const of = (name: string) => style.getPropertyValue(name).trim();
    colours = {
      tutor: of("--accent"),
      learner: of("--voice-you"),
      line: of("--line-strong"),
      text: of("--ink-2"),
      font: `500 13px ${style.fontFamily}`,
    };
  };
  new MutationObserver(readColours).observe(document.documentElement, { attributeFilter: ["data-theme"] });

  const frame = (now: number) => {
    if (!running) return;
    requestAnimationFrame(frame);
    // A tab that was hidden starts with a fresh column instead of catching up.
    if (now - last > 1000) last = now - STEP_S * 1000;
    let added = false;
    while (now - last >= STEP_S * 1000) {
      last += STEP_S * 1000;
      columns.push({ learner: levels.learner(), tutor: levels.tutor(), onset: pending });
      pending = undefined;
      added = true;
    }
    if (columns.length > KEEP) columns.splice(0, columns.length - KEEP);
    if (added) draw();
  };

  const draw = () => {
    const ratio = window.devicePixelRatio || 1;
    const width = canvas.clientWidth;
    const height = canvas.clientHeight;
    if (width === 0) return;
    if (canvas.width !== Math.round(width * ratio) || canvas.height !== Math.round(height * ratio)) {
      canvas.width = Math.round(width * ratio);
      canvas.height = Math.round(height * ratio);
    }
    const g = canvas.getContext("2d")!;
    g.setTransform(ratio, 0, 0, ratio, 0, 0);
    g.clearRect(0, 0, width, height);
    const middle = height / 2;
    g.fillStyle = colours.line;
    g.fillRect(0, middle - 0.5, width, 1);
    const half = middle - 4;
    if (calm.matches) {
      // Without motion: two level bars at the edge instead of a moving score.
      const now = columns.at(-1);
      if (!now) return;
      g.fillStyle = colours.tutor;
      g.fillRect(NAMES_PX, middle - 12, (width - NAMES_PX) * now.tutor, 8);
      g.fillStyle = colours.learner;
      g.fillRect(NAMES_PX, middle + 4, (width - NAMES_PX) * now.learner, 8);
      return;
    }
    let x = width - BAR_PX;
    for (let i = columns.length - 1; i >= 0 && x > -60; i--, x -= BAR_PX + GAP_PX) {
      const column = columns[i]!;
      // The older, the fainter; what is now is at full strength.
      g.globalAlpha = Math.max(0.15, Math.min(1, x / (width * 0.75)));
      bar(g, x, middle - 1.5, -Math.max(1, tall(column.tutor) * half), colours.tutor);
      bar(g, x, middle + 1.5, Math.max(1, tall(column.learner) * half), colours.learner);
      g.globalAlpha = 1;
      if (column.onset?.label) {
        g.fillStyle = colours.text;
        g.font = colours.font;
        g.textAlign = "right";
        g.textBaseline = "bottom";
        g.fillText(column.onset.label, x - 6, middle - 5);
      }
    }
  };

  const update = (s: State) => {
    const live = s.phase === "in-call";
    root.dataset["floor"] = live ? floor(s) : "none";
    setText(status, statusOf(s));
    setText(recorded, s.recording && s.phase !== "report" ? "This call is recorded" : "");
    if (s.speaking.tutor && !wasTutor) {
      pending = { label: early };
      early = "";
    }
    wasTutor = s.speaking.tutor;
    for (const { turn, v2v_ms } of s.metrics) {
      if (typeof v2v_ms !== "number" || labelled.has(turn)) continue;
      labelled.add(turn);
      const onset = pending ?? columns.slice(-RECENT_COLUMNS).findLast((c) => c.onset)?.onset;
      const label = `${Math.round(v2v_ms)} ms`;
      if (onset && onset.label === "") onset.label = label;
      else early = label;
    }
    const shouldRun = !["start", "report"].includes(s.phase);
    if (shouldRun && !running) {
      columns.length = 0;
      labelled.clear();
      early = "";
      running = true;
      readColours();
      last = performance.now();
      requestAnimationFrame(frame);
    }
    running = shouldRun;
  };
  return { root, update };
}

/** Levels are even steps of loudness; squared, quiet and loud are further apart to the eye. */
const tall = (level: number): number => level * level;

function statusOf(s: State): string {
  if (s.phase === "reconnecting") return "Reconnecting…";
  if (s.phase === "ending") return "Preparing your report…";
  if (s.phase !== "in-call") return "Calling…";
  const who = floor(s);
  if (who !== "listening") return STATUS[who];
  if (s.mic !== "ok") return "Your turn to type";
  return s.muted ? "You are muted" : STATUS.listening;
}

function bar(g: CanvasRenderingContext2D, x: number, from: number, length: number, colour: string): void {
  g.fillStyle = colour;
  g.beginPath();
  g.roundRect(x, Math.min(from, from + length), BAR_PX, Math.abs(length), BAR_PX / 2);
  g.fill();
}
