import { describe, expect, it } from "vitest";
import { Refused, Unreachable } from "../src/api";
import { callBanner, micBanner, micProblem, sentence } from "../src/words-for";

const named = (name: string) => Object.assign(new Error("x"), { name });

describe("microphone problems", () => {
  it.each([
    ["NotAllowedError", "denied"],
    ["NotFoundError", "absent"],
    ["OverconstrainedError", "absent"],
    ["NotReadableError", "taken"],
    ["TypeError", "failed"],
  ])("%s is %s", (name, problem) => {
    expect(micProblem(named(name))).toBe(problem);
  });
  it("names the way out of an insecure address", () => {
    const banner = micBanner("insecure");
    expect(banner.body).toContain("--https");
    expect(banner.actions).not.toContain("retry-mic");
  });
});

describe("call problems", () => {
  it("says for how long the line is busy, in the server's words", () => {
    const banner = callBanner(new Refused(429, "all 8 places are taken", 12.2));
    expect(banner).toMatchObject({ retryInS: 13, body: "All 8 places are taken." });
  });
  it("says plainly that a late server takes no further call", () => {
    const banner = callBanner(new Refused(429, "the server is too busy for another call just now", 10, "at-capacity"));
    expect(banner).toMatchObject({ title: "All lines are busy", retryInS: 10 });
    expect(banner.body).toBe("The server is too busy for another call just now.");
  });
  it("tells apart not ready, not reachable and not logged in", () => {
    const titles = [new Refused(503, ""), new Unreachable("x"), new Refused(401, "")].map((e) => callBanner(e).title);
    expect(new Set(titles).size).toBe(3);
  });
  it("does not call a line busy that nobody can answer", () => {
    for (const status of [429, 503]) {
      const banner = callBanner(new Refused(status, "stt is unloaded; POST /models/load loads it", 30, "unloaded"));
      expect(banner).toMatchObject({ title: "The tutor is away", retryInS: 30 });
      expect(banner.body).not.toContain("POST");
    }
  });
  it("does not call a line busy on which nobody is yet", () => {
    const banner = callBanner(new Refused(429, "the engines are still loading", 2, "at-capacity"));
    expect(banner).toMatchObject({ title: "The tutor is not ready yet", body: "The engines are still loading." });
  });
  it("never leaves the text empty", () => {
    for (const e of [new Refused(500, ""), new Error(""), "odd", undefined]) expect(callBanner(e).body).not.toBe("");
  });
});

describe("sentence", () => {
  it("is closed once", () => {
    expect(sentence("all is taken")).toBe("All is taken.");
    expect(sentence("Really?")).toBe("Really?");
  });
});
