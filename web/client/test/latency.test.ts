import { describe, expect, it } from "vitest";
import { quantile, scaleMs, toRibbon } from "../src/latency";

const row = {
  turn: 3,
  user_stop: 1000,
  eot: 1200,
  stt_final: 1220,
  llm_first_token: 1250,
  llm_first_sentence: 1290,
  tts_first_audio: 1310,
  sent: 1330,
};

describe("toRibbon", () => {
  it("stacks stages that sum to voice-to-voice", () => {
    const ribbon = toRibbon(row);
    expect(ribbon.segments.map((s) => s.ms)).toEqual([200, 20, 30, 40, 20, 20]);
    expect(ribbon.v2vMs).toBe(330);
  });
  it("gives no time to work that was done while the learner still spoke", () => {
    const ribbon = toRibbon({ ...row, llm_first_token: 1100, llm_first_sentence: 1150, tts_first_audio: 1190 });
    expect(ribbon.segments.map((s) => s.ms)).toEqual([200, 20, 0, 0, 0, 110]);
    expect(ribbon.segments.reduce((sum, s) => sum + s.ms, 0)).toBe(ribbon.v2vMs);
  });
  it("never counts a stage beyond the first packet", () => {
    const ribbon = toRibbon({ ...row, llm_first_sentence: 1500 });
    expect(ribbon.segments.reduce((sum, s) => sum + s.ms, 0)).toBe(330);
  });
  it("keeps what was heard apart from what was sent", () => {
    const ribbon = toRibbon({ ...row, heard: 1400 });
    expect(ribbon.heardAfterMs).toBe(70);
    expect(ribbon.heardV2vMs).toBe(400);
    expect(ribbon.v2vMs).toBe(330);
  });
  it("leaves out what a turn did not pass", () => {
    const ribbon = toRibbon({ ...row, stt_final: null });
    expect(ribbon.segments.map((s) => s.key)).not.toContain("stt_final");
    expect(toRibbon({ turn: 1 })).toMatchObject({ segments: [], v2vMs: null, heardV2vMs: null, bargeInMs: null });
  });
  it("measures a barge-in from onset to the last packet", () => {
    expect(toRibbon({ turn: 5, onset: 100, stopped: 340 }).bargeInMs).toBe(240);
  });
});

describe("scaleMs", () => {
  it("is a round number that holds the longest bar", () => {
    expect(scaleMs([toRibbon(row)])).toBe(500);
    expect(scaleMs([toRibbon({ ...row, sent: 2700 })])).toBe(2000);
    expect(scaleMs([toRibbon({ ...row, sent: 12_400 })])).toBe(15_000);
    expect(scaleMs([])).toBe(500);
  });
});

describe("quantile", () => {
  it("interpolates", () => {
    expect(quantile([], 0.5)).toBeNull();
    expect(quantile([4, 1, 3, 2], 0.5)).toBe(2.5);
    expect(quantile([10], 0.9)).toBe(10);
  });
});
