import { describe, expect, it } from "vitest";
import { hashOf, lengthOf, lineAt, placeOf, routeOf } from "../src/history";
import { initialState, reduce } from "../src/state";

describe("the address", () => {
  it("says what is shown", () => {
    expect(routeOf("")).toBeNull();
    expect(routeOf("#other")).toBeNull();
    expect(routeOf("#historyx")).toBeNull();
    expect(routeOf("#history")).toEqual({ view: "list" });
    expect(routeOf("#history/")).toEqual({ view: "list" });
    expect(routeOf("#history/ab12")).toEqual({ view: "session", id: "ab12" });
    expect(routeOf(hashOf("a b/c"))).toEqual({ view: "session", id: "a b/c" });
    expect(routeOf("#history/%")).toEqual({ view: "list" });
  });
});

describe("places in a recording", () => {
  it("are a turn's own time less the recording's", () => {
    const began = "2026-05-01T10:00:00.000Z";
    expect(placeOf({ started_at: "2026-05-01T10:00:02.500Z" }, began)).toBe(2.5);
    expect(placeOf({ started_at: "2026-05-01T09:59:59.000Z" }, began)).toBe(0);
    expect(placeOf({ started_at: "nonsense" }, began)).toBeNull();
    expect(placeOf({ started_at: began }, null)).toBeNull();
  });

  it("name the line that is playing", () => {
    const places = [0, 2.5, null, 7];
    expect(lineAt(places, 0)).toBe(0);
    expect(lineAt(places, 2.48)).toBe(1);
    expect(lineAt(places, 6.9)).toBe(1);
    expect(lineAt(places, 99)).toBe(3);
    expect(lineAt([1], 0.5)).toBe(-1);
  });
});

it("knows how long a session was", () => {
  expect(lengthOf({ started_at: "2026-05-01T10:00:00.000Z", ended_at: "2026-05-01T10:01:30.000Z" })).toBe(90);
  expect(lengthOf({ started_at: "2026-05-01T10:00:00.000Z", ended_at: null })).toBeNull();
});

describe("the notice of a recording", () => {
  const connected = { type: "message", message: { type: "connected", session_id: "a", recording: true } } as const;
  it("stands from the server's word on, until it stops or the next call", () => {
    const told = reduce(initialState, connected);
    expect(told.recording).toBe(true);
    // The WebRTC answer says hello a second time, without it.
    expect(reduce(told, { type: "message", message: { type: "connected", session_id: "a" } }).recording).toBe(true);
    expect(reduce(told, { type: "message", message: { type: "recording_stopped", reason: "full" } }).recording).toBe(false);
    expect(reduce(told, { type: "dialled" }).recording).toBe(false);
  });
});
