import { describe, expect, it } from "vitest";
import { loudness } from "../src/audio/level";
import { PlayoutBuffer } from "../src/audio/playout-buffer";
import { Resampler } from "../src/audio/resampler";

function sine(hz: number, rateHz: number, seconds: number, amplitude = 0.5): Float32Array {
  return Float32Array.from(
    { length: Math.round(rateHz * seconds) },
    (_, i) => amplitude * Math.sin((2 * Math.PI * hz * i) / rateHz),
  );
}

function resample(input: Float32Array, from: number, to: number, block = 128): Float32Array {
  const resampler = new Resampler(from, to);
  const out: number[] = [];
  for (let i = 0; i < input.length; i += block) out.push(...resampler.push(input.subarray(i, i + block)));
  return Float32Array.from(out);
}

/** Level of a steady tone in dB against a full-scale sine, its start and end left out. */
function toneDb(samples: Float32Array): number {
  const middle = samples.subarray(Math.floor(samples.length * 0.2), Math.floor(samples.length * 0.8));
  const power = middle.reduce((sum, x) => sum + x * x, 0) / middle.length;
  return 10 * Math.log10(2 * power + 1e-20);
}

describe("Resampler", () => {
  for (const from of [44_100, 48_000, 96_000, 16_000, 8000]) {
    it(`keeps 1 kHz within 1 dB from ${from} Hz to 16 kHz`, () => {
      const out = resample(sine(1000, from, 1), from, 16_000);
      expect(Math.abs(toneDb(out) - toneDb(sine(1000, from, 1)))).toBeLessThan(1);
    });
  }
  it("keeps speech up to 6.5 kHz and lets nothing above 8 kHz fold back", () => {
    expect(toneDb(resample(sine(6500, 48_000, 1), 48_000, 16_000))).toBeGreaterThan(-7);
    expect(toneDb(resample(sine(9000, 48_000, 1), 48_000, 16_000))).toBeLessThan(-60);
    expect(toneDb(resample(sine(15_000, 44_100, 1), 44_100, 16_000))).toBeLessThan(-60);
  });
  it("does not depend on how the input is cut into blocks", () => {
    const input = sine(440, 44_100, 0.3);
    const a = resample(input, 44_100, 16_000, 128);
    const b = resample(input, 44_100, 16_000, 1000);
    const n = Math.min(a.length, b.length);
    expect(n).toBeGreaterThan(4000);
    // Positions are sums of the same steps, rebased at different moments: equal up to rounding.
    for (let i = 0; i < n; i++) expect(Math.abs(a[i]! - b[i]!)).toBeLessThan(1e-5);
  });
  it("does not drift: ten seconds in, ten seconds out", () => {
    const out = resample(new Float32Array(441_000), 44_100, 16_000);
    expect(Math.abs(out.length - 160_000)).toBeLessThan(40);
  });
});

describe("PlayoutBuffer", () => {
  const RATE = 24_000;
  const block = () => new Float32Array(128).fill(9);
  const pull = (buffer: PlayoutBuffer, blocks = 1) => {
    let last = { sample: 0, playing: false, onset: false };
    let onsets = 0;
    const heard: number[] = [];
    for (let i = 0; i < blocks; i++) {
      const out = block();
      last = buffer.pull(out);
      if (last.onset) onsets++;
      heard.push(...out);
    }
    return { ...last, onsets, heard };
  };

  it("waits for a little sound before it starts", () => {
    const buffer = new PlayoutBuffer(RATE);
    buffer.push(new Float32Array(480).fill(0.5));
    expect(pull(buffer).playing).toBe(false);
    buffer.push(new Float32Array(480).fill(0.5));
    expect(pull(buffer)).toMatchObject({ playing: true, sample: 128, onset: true });
  });
  it("plays a short end anyway", () => {
    const buffer = new PlayoutBuffer(RATE);
    buffer.push(new Float32Array(200).fill(0.5));
    const { heard, sample } = pull(buffer, 40);
    expect(sample).toBe(200);
    expect(heard.filter((x) => x === 0.5)).toHaveLength(200);
  });
  it("reports one onset for a reply with short pauses", () => {
    const buffer = new PlayoutBuffer(RATE);
    for (const level of [0.5, 0, 0.5]) buffer.push(new Float32Array(2400).fill(level));
    expect(pull(buffer, 60).onsets).toBe(1);
    buffer.push(new Float32Array(2400).fill(0.5));
    expect(pull(buffer, 80).onsets).toBe(0);
    pull(buffer, 100);
    buffer.push(new Float32Array(2400).fill(0.5));
    expect(pull(buffer, 20).onsets).toBe(1);
  });
  it("flushes at once, and counts what it dropped", () => {
    const buffer = new PlayoutBuffer(RATE);
    buffer.push(new Float32Array(4800).fill(0.5));
    pull(buffer, 3);
    buffer.flush();
    const { heard, sample, playing } = pull(buffer, 2);
    expect(sample).toBe(4800);
    expect(playing).toBe(false);
    expect(heard[0]!).toBeLessThan(0.5);
    expect(heard.slice(120).every((x) => x === 0)).toBe(true);
    buffer.push(new Float32Array(1000).fill(0.5));
    expect(pull(buffer).sample).toBe(4928);
  });
});

describe("loudness", () => {
  it("runs from silence to loud speech", () => {
    expect(loudness(new Float32Array(100))).toBe(0);
    expect(loudness(new Float32Array(100).fill(0.5))).toBe(1);
    const quiet = loudness(new Float32Array(100).fill(0.01));
    expect(quiet).toBeGreaterThan(0.3);
    expect(quiet).toBeLessThan(0.6);
  });
});
