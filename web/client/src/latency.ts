/** A turn's latency as stacked stages. Pure. */
import type { MetricsRow } from "./protocol";

export const STAGES = [
  { key: "eot", label: "End of turn", hint: "from your last sound until Parley was sure that you had finished" },
  { key: "stt_final", label: "Your words", hint: "until your words were final" },
  { key: "llm_first_token", label: "First thought", hint: "until the tutor's answer began" },
  { key: "llm_first_sentence", label: "First phrase", hint: "until there was enough of it to say" },
  { key: "tts_first_audio", label: "Voice", hint: "until the voice produced sound" },
  { key: "sent", label: "Sent", hint: "until the first sound left the server" },
] as const;
export type StageKey = (typeof STAGES)[number]["key"];

export interface Segment {
  key: StageKey;
  label: string;
  ms: number;
}

export interface Ribbon {
  turn: number;
  /** Stages in order; a stage that was ready before the one ahead of it (work done while you still spoke) takes 0 ms. */
  segments: Segment[];
  /** Voice to voice at the server, in ms. */
  v2vMs: number | null;
  /** From `sent` to this browser's own report of playing it. A series of its own, never added to `v2vMs`. */
  heardAfterMs: number | null;
  /** Voice to voice as the learner heard it, in ms: both ends are dated by when they reached the server. Not part of `v2vMs`. */
  heardV2vMs: number | null;
  bargeInMs: number | null;
}

const isNumber = (x: unknown): x is number => typeof x === "number" && Number.isFinite(x);

export function toRibbon(row: MetricsRow): Ribbon {
  const segments: Segment[] = [];
  if (isNumber(row.user_stop) && isNumber(row.sent)) {
    let reached = row.user_stop;
    for (const { key, label } of STAGES) {
      const at = row[key];
      if (!isNumber(at)) continue;
      const until = Math.min(Math.max(at, reached), Math.max(row.sent, reached));
      segments.push({ key, label, ms: until - reached });
      reached = until;
    }
  }
  const v2v = row.v2v_ms ?? (isNumber(row.sent) && isNumber(row.user_stop) ? row.sent - row.user_stop : null);
  const barge = row.barge_in_ms ?? (isNumber(row.stopped) && isNumber(row.onset) ? row.stopped - row.onset : null);
  return {
    turn: row.turn,
    segments,
    v2vMs: isNumber(v2v) ? v2v : null,
    heardAfterMs: isNumber(row.heard) && isNumber(row.sent) ? Math.max(0, row.heard - row.sent) : null,
    heardV2vMs: isNumber(row.heard) && isNumber(row.user_stop) ? Math.max(0, row.heard - row.user_stop) : null,
    bargeInMs: isNumber(barge) ? barge : null,
  };
}

/** The scale on which bars are drawn, in ms: a round number that holds the longest, so that bars can be compared. */
export function scaleMs(ribbons: Ribbon[]): number {
  const longest = Math.max(0, ...ribbons.map((r) => (r.v2vMs ?? 0) + (r.heardAfterMs ?? 0)));
  return [500, 750, 1000, 1500, 2000, 3000, 5000].find((s) => s >= longest) ?? Math.ceil(longest / 5000) * 5000;
}

/** The q-quantile (0..1) of some values by linear interpolation, or null of none. */
export function quantile(values: number[], q: number): number | null {
  if (values.length === 0) return null;
  const sorted = [...values].sort((a, b) => a - b);
  const position = (sorted.length - 1) * q;
  const low = Math.floor(position);
  const high = Math.ceil(position);
  return sorted[low]! + (sorted[high]! - sorted[low]!) * (position - low);
}
