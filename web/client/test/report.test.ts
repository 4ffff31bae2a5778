import { describe, expect, it } from "vitest";
import { latencyLine, measureRows, placeOfMistake, turnNumbers, unmeasured } from "../src/report";

const mistake = { original: "I am teacher", correction: "I am a teacher", explanation: "" };

describe("the place of a mistake", () => {
  const numbers = turnNumbers({ turns: [{ turn: 1 }, { turn: 4 }, { turn: 7 }] });

  it("is the learner's own turn and its time", () => {
    expect(placeOfMistake({ ...mistake, turn: 4, time_s: 83.9 }, numbers)).toBe("Your turn 2 · 1:23");
  });

  it("is told as far as it is known", () => {
    expect(placeOfMistake({ ...mistake, turn: 0, time_s: 5 }, numbers)).toBe("0:05");
    expect(placeOfMistake({ ...mistake, turn: 7 }, numbers)).toBe("Your turn 3");
    expect(placeOfMistake({ ...mistake, turn: null, time_s: null }, turnNumbers({}))).toBe("");
  });
});

describe("measures", () => {
  it("are named, in their order, with others after them", () => {
    const rows = measureRows({
      unheard_of_s: 2.5,
      pause_share: { value: 0.254, unit: "share of speaking time", source: "12 pauses." },
      talk_ratio: { value: null, unit: "share of talking time", source: "Nobody spoke." },
      learner_turns: { value: 1, unit: "turns", source: "" },
      articulation_rate: { value: 3.2, unit: "syllables a second", source: "" },
    });
    expect(rows).toEqual([
      { name: "Your share of the talk", value: null, unit: "", source: "Nobody spoke." },
      { name: "Your turns", value: "1", unit: "turn", source: "" },
      { name: "Your pace between pauses", value: "3.2", unit: "syllables a second", source: "" },
      { name: "Share of your pauses", value: "25 %", unit: "of speaking time", source: "12 pauses." },
      { name: "Unheard of", value: "2.5", unit: "s", source: "" },
    ]);
  });
});

describe("what was not measured", () => {
  it("is told by its reason", () => {
    const few = "Less than 5 s of speech.";
    const rows = measureRows({
      talk_ratio: { value: null, unit: "", source: "Nobody spoke." },
      pauses_per_minute: { value: null, unit: "", source: few },
      pause_share: { value: null, unit: "", source: few },
      other_s: null,
    });
    expect(unmeasured(rows)).toEqual([
      "Nobody spoke: your share of the talk.",
      "Less than 5 s of speech: your pauses, share of your pauses.",
      "Not measured: other.",
    ]);
    expect(unmeasured([])).toEqual([]);
  });
});

describe("the tutor's latency", () => {
  it("is one line", () => {
    expect(latencyLine({ v2v_p50_ms: 700.4, v2v_p90_ms: 900, n: 1 })).toBe(
      "The tutor began to answer 700 ms after your last sound (one answer).",
    );
    expect(latencyLine({ v2v_p50_ms: 700, v2v_p90_ms: 900.6, n: 12 })).toContain("median of 12 answers; nine of ten within 901 ms");
  });

  it("is silent without answers", () => {
    expect(latencyLine({ v2v_p50_ms: null, v2v_p90_ms: null, n: 0 })).toBeNull();
    expect(latencyLine(undefined)).toBeNull();
  });
});
