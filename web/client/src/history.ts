/** Earlier sessions: addresses, times, places in a recording. Pure. */
import type { HistoryItem, HistoryTurn } from "./protocol";

export type HistoryRoute = { view: "list" } | { view: "session"; id: string };

/** `#history` and `#history/<id>`; anything else is not the history. */
export function routeOf(hash: string): HistoryRoute | null {
  const [, rest] = /^#history(?:\/(.*))?$/.exec(hash) ?? [null, null];
  if (rest === null) return null;
  try {
    return rest ? { view: "session", id: decodeURIComponent(rest) } : { view: "list" };
  } catch {
    return { view: "list" };
  }
}

export const hashOf = (id?: string): string => (id ? `#history/${encodeURIComponent(id)}` : "#history");

/** Seconds from the recording's first sample to a turn's beginning; null without a recording. */
export function placeOf(turn: Pick<HistoryTurn, "started_at">, recordingStartedAt: string | null | undefined): number | null {
  if (!recordingStartedAt) return null;
  const seconds = (Date.parse(turn.started_at) - Date.parse(recordingStartedAt)) / 1000;
  return Number.isFinite(seconds) ? Math.max(0, seconds) : null;
}

/** Which line is being played at `seconds`: the last that has begun; -1 before the first. */
export function lineAt(places: (number | null)[], seconds: number): number {
  return places.findLastIndex((place) => place !== null && place <= seconds + 0.05);
}

/** Length of a session in seconds, or null while it runs. */
export function lengthOf(item: Pick<HistoryItem, "started_at" | "ended_at">): number | null {
  if (!item.ended_at) return null;
  const seconds = (Date.parse(item.ended_at) - Date.parse(item.started_at)) / 1000;
  return Number.isFinite(seconds) && seconds >= 0 ? seconds : null;
}
