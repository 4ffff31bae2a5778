import { describe, expect, it } from "vitest";
import { optionText, snapped, stepOf, valueOf, wantedOptions } from "../src/options";
import type { ClientConfig, OptionInfo } from "../src/protocol";

const rate: OptionInfo = { name: "speech_rate", min: 0.72, max: 1.5, default: 1, whole: false, used: true };
const tokens: OptionInfo = { name: "max_tokens", min: 20, max: 500, default: 200, whole: true, used: true };
const temperature: OptionInfo = { name: "temperature", min: 0, max: 1.5, default: 0.7, whole: false, used: false };
const config = { options: [rate, tokens, temperature] } as ClientConfig;

describe("the options of a call", () => {
  it("are the server's defaults until something is chosen", () => {
    expect(valueOf(rate, {})).toBe(1);
    expect(valueOf(rate, { speech_rate: 1.2 })).toBe(1.2);
    expect(valueOf(rate, { speech_rate: NaN })).toBe(1);
    expect(valueOf(rate, { speech_rate: "fast" as unknown as number })).toBe(1);
  });

  it("stay within a range that the operator has changed since they were chosen", () => {
    expect(valueOf(rate, { speech_rate: 3 })).toBe(1.5);
    expect(valueOf(rate, { speech_rate: 0.1 })).toBe(0.72);
    expect(valueOf(tokens, { max_tokens: 99.6 })).toBe(100);
  });

  it("are asked for only where they were chosen and are used", () => {
    expect(wantedOptions(config, {})).toEqual({});
    expect(wantedOptions(config, { speech_rate: 9, temperature: 0.2 })).toEqual({ speech_rate: 1.5 });
    expect(wantedOptions({} as ClientConfig, { speech_rate: 1.2 })).toEqual({});
    expect(wantedOptions(null, { speech_rate: 1.2 })).toEqual({});
  });

  it("move in steps that reach both ends of the range", () => {
    expect(stepOf(rate)).toBe(0.05);
    expect(snapped(rate, 1.024)).toBe(1);
    expect(snapped(rate, 1.026)).toBe(1.05);
    expect(snapped(rate, 0.7)).toBe(0.72);
    expect(snapped(tokens, 123)).toBe(120);
    expect(snapped(tokens, 1000)).toBe(500);
  });

  it("are told with their unit", () => {
    expect(optionText("speech_rate", 0.85)).toBe("0.85 ×");
    expect(optionText("speech_rate", 1)).toBe("1 ×");
    expect(optionText("temperature", 0.7000001)).toBe("0.7");
    expect(optionText("max_tokens", 200)).toBe("200 tokens");
  });
});
