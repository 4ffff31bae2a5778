import { describe, expect, it } from "vitest";
import { findGap, normalise, splitWords, wordDiff } from "../src/words";

describe("wordDiff", () => {
  it("marks the words that change", () => {
    expect(wordDiff("yesterday I goed there", "yesterday I went there")).toEqual([
      { kind: "same", text: "yesterday I" },
      { kind: "removed", text: "goed" },
      { kind: "added", text: "went" },
      { kind: "same", text: "there" },
    ]);
  });
  it("does not care for case and punctuation", () => {
    expect(wordDiff("i like it", "I like it.").every((p) => p.kind === "same")).toBe(true);
  });
  it("handles an empty side", () => {
    expect(wordDiff("", "a cat")).toEqual([{ kind: "added", text: "a cat" }]);
    expect(wordDiff("a cat", "")).toEqual([{ kind: "removed", text: "a cat" }]);
    expect(wordDiff("", "")).toEqual([]);
  });
  it("keeps every word of both sides", () => {
    const before = "I am go to the school by foot every days";
    const after = "I go to school on foot every day";
    const parts = wordDiff(before, after);
    const said = parts.filter((p) => p.kind !== "added").flatMap((p) => splitWords(p.text));
    const better = parts.filter((p) => p.kind !== "removed").flatMap((p) => splitWords(p.text));
    expect(said).toEqual(splitWords(before));
    expect(better).toEqual(splitWords(after));
  });
});

describe("normalise", () => {
  it("keeps letters of other scripts and apostrophes", () => {
    expect(normalise("  Don’t — say “Café”, 2 times! ")).toBe("don t say café 2 times");
    expect(normalise("Don't")).toBe("don't");
  });
});

describe("findGap", () => {
  it("finds where a frame is open", () => {
    expect(findGap("I come from …")).toEqual({ before: "I come from ", after: "" });
    expect(findGap("I'm from ...")).toEqual({ before: "I'm from ", after: "" });
    expect(findGap("My ___ is red.")).toEqual({ before: "My ", after: " is red." });
    expect(findGap("I like ….")).toEqual({ before: "I like ", after: "." });
  });
  it("leaves whole sentences alone", () => {
    expect(findGap("Yes. No.")).toBeNull();
  });
});
