/** The report's figures as they are read. Pure. */
import type { Report, ReportMistake } from "./protocol";
import { clock, readable } from "./views/dom";

export interface MeasureRow {
  name: string;
  /** As it is read; null where it was not measured. */
  value: string | null;
  unit: string;
  source: string;
}

/** In the order in which they are shown; others follow. */
const MEASURE_NAMES: Record<string, string> = {
  talk_ratio: "Your share of the talk",
  learner_words: "Words you said",
  learner_turns: "Your turns",
  tutor_turns: "The tutor's turns",
  words_per_minute: "Your pace, pauses included",
  articulation_rate: "Your pace between pauses",
  pauses_per_minute: "Your pauses",
  pause_length_s: "Length of a pause",
  pause_share: "Share of your pauses",
  mean_length_of_run: "What you said between pauses",
  response_time_s: "Your time to answer",
  vocabulary_size: "Your vocabulary",
  interruptions: "Interruptions",
};

/** Which of the learner's turns, counted from 1, stands at which index of the record. */
export function turnNumbers(report: Report): Map<number, number> {
  return new Map((report.turns ?? []).map((turn, i) => [turn.turn, i + 1]));
}

/** "Your turn 3 · 0:42", as far as it is known. */
export function placeOfMistake(mistake: ReportMistake, numbers: Map<number, number>): string {
  const number = typeof mistake.turn === "number" ? numbers.get(mistake.turn) : undefined;
  return [
    number === undefined ? "" : `Your turn ${number}`,
    typeof mistake.time_s === "number" ? clock(mistake.time_s) : "",
  ]
    .filter(Boolean)
    .join(" · ");
}

/**
 * What could not be measured, one line for each reason: "Less than 5 s of speech: your pauses, length of a pause". A grid of
 * "not measured" would hide the few figures of a short call.
 */
export function unmeasured(rows: MeasureRow[]): string[] {
  const names = new Map<string, string[]>();
  for (const { name, source } of rows) names.set(source, [...(names.get(source) ?? []), name]);
  return [...names].map(([source, of]) => `${source.replace(/\.$/, "") || "Not measured"}: ${of.map(uncapitalised).join(", ")}.`);
}

const uncapitalised = (name: string): string => name.charAt(0).toLowerCase() + name.slice(1);

/** Measures are an open set: a plain value, or an object with `value` and what explains it. */
export function measureRows(values: Record<string, unknown>): MeasureRow[] {
  const keys = [...Object.keys(MEASURE_NAMES).filter((key) => key in values), ...Object.keys(values).filter((key) => !(key in MEASURE_NAMES))];
  return keys.flatMap((key) => rowsOf(key, values[key]));
}

function rowsOf(key: string, raw: unknown): MeasureRow[] {
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
      return [{ name: nameOf(key), value: value === null ? null : text, unit: value === null ? "" : counted(unit, value), source: source ?? "" }];
    }
    return Object.entries(object).flatMap(([k, v]) => rowsOf(`${key} ${k}`, v));
  }
  // A unit at the key's end, as the house names its values.
  const unit = /_(s|ms|hz|wpm)$/.exec(key)?.[1] ?? "";
  if (unit) key = key.slice(0, -unit.length - 1);
  return [{ name: nameOf(key), value: raw === null ? null : formatted(raw), unit: raw === null ? "" : unit, source: "" }];
}

const nameOf = (key: string): string => MEASURE_NAMES[key] ?? readable(key);

/** "share of talking time" → "of talking time"; "turns" of one → "turn". */
function counted(unit: string, value: unknown): string {
  const plain = unit.replace(/^share /, "");
  return value === 1 ? plain.replace(/\b(turn|word|pause|syllable)s\b/, "$1") : plain;
}

function formatted(value: unknown): string {
  if (value === null || value === undefined) return "not measured";
  if (typeof value === "number") return Number.isInteger(value) ? String(value) : String(Number(value.toFixed(Math.abs(value) < 10 ? 2 : 1)));
  if (typeof value === "boolean") return value ? "yes" : "no";
  if (Array.isArray(value)) return value.length > 0 ? value.map(formatted).join(", ") : "none";
  return String(value);
}

/** How quickly the tutor answered; null where no answer was measured. A ninth decile of a handful would say nothing. */
export function latencyLine(summary: Report["latency"]): string | null {
  const { v2v_p50_ms: p50, v2v_p90_ms: p90, n } = summary ?? {};
  if (typeof p50 !== "number" || typeof p90 !== "number" || !n) return null;
  const answers = n === 1 ? "one answer" : `median of ${n} answers`;
  const most = n < 10 ? "" : `; nine of ten within ${Math.round(p90)} ms`;
  return `The tutor began to answer ${Math.round(p50)} ms after your last sound (${answers}${most}).`;
}
