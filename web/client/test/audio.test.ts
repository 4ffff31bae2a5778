import { describe, expect, it } from "vitest";
import { loudness } from "../src/audio/level";
import { PlayoutBuffer } from "../src/audio/playout-buffer";
import { Resampler } from "../src/audio/resampler";
import { rtpHeard } from "../src/transport/rtp-playout";

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
    let last = { sample: 0, start: 0, playing: false, onset: false, report: false };
    let onsets = 0;
    const reports: number[] = [];
    const heard: number[] = [];
    for (let i = 0; i < blocks; i++) {
      const out = block();
      last = buffer.pull(out);
      if (last.onset) onsets++;
      if (last.report) reports.push(last.sample);
      heard.push(...out);
    }
    return { ...last, onsets, reports, heard };
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
    expect(pull(buffer)).toMatchObject({ sample: 4928, start: 4800 });
  });
  it("reports at the first sound, soon after it, four times a second, and at the end", () => {
    const buffer = new PlayoutBuffer(RATE);
    buffer.push(new Float32Array(RATE).fill(0.5));
    const { reports } = pull(buffer, 200);
    expect(reports).toHaveLength(6);
    const seconds = reports.map((sample) => sample / RATE);
    [0, 0.1, 0.35, 0.6, 0.85, 1].forEach((at, i) => expect(Math.abs(seconds[i]! - at)).toBeLessThan(0.01));
  });
  it("does not report what was flushed as played", () => {
    const buffer = new PlayoutBuffer(RATE);
    buffer.push(new Float32Array(4800).fill(0.5));
    pull(buffer, 3);
    buffer.flush();
    expect(pull(buffer, 200).reports).toEqual([]);
  });
  it("stands still at the very sample, says so once, and goes on with it", () => {
    const buffer = new PlayoutBuffer(RATE);
    const ramp = Float32Array.from({ length: 4800 }, (_, i) => (i + 1) / 5000);
    buffer.push(ramp);
    expect(pull(buffer, 10).sample).toBe(1280);
    buffer.hold(true);
    const held = pull(buffer, 100);
    expect(held).toMatchObject({ sample: 1280, playing: false, reports: [1280] });
    expect(held.heard.slice(120).every((x) => x === 0)).toBe(true);
    buffer.hold(false);
    const { heard, start } = pull(buffer, 40);
    expect(start).toBe(1280);
    expect(heard[0]).toBe(0);
    expect(heard.slice(120, 3520)).toEqual([...ramp.slice(1400)]);
  });
  it("goes on with a rest that is too short to start with", () => {
    const buffer = new PlayoutBuffer(RATE);
    buffer.push(new Float32Array(1280 + 300).fill(0.5));
    pull(buffer, 10);
    buffer.hold(true);
    pull(buffer, 10);
    buffer.hold(false);
    expect(pull(buffer)).toMatchObject({ sample: 1408, playing: true });
  });
  it("forgets that it is held when it is flushed", () => {
    const buffer = new PlayoutBuffer(RATE);
    buffer.hold(true);
    buffer.flush();
    buffer.push(new Float32Array(1280).fill(0.5));
    expect(pull(buffer).playing).toBe(true);
  });
  it("counts what it is told to skip", () => {
    const buffer = new PlayoutBuffer(RATE);
    buffer.push(new Float32Array(4800).fill(0.5));
    pull(buffer, 3);
    buffer.flush();
    buffer.skip(2400);
    buffer.push(new Float32Array(1000).fill(0.5));
    expect(pull(buffer)).toMatchObject({ sample: 7328, start: 7200 });
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

describe("rtpHeard", () => {
  const ORIGIN = 1_700_000_000_000;
  const at = (rtpTimestamp: number | undefined, timestamp: number) => ({ rtpTimestamp, timestamp }) as { timestamp: number };

  it("goes on from the packet's first sample and comes back by the loudspeaker's latency", () => {
    expect(rtpHeard(at(100_000, ORIGIN + 1000), 1010, ORIGIN, 30)).toBe(100_000 + (10 - 30) * 48);
  });
  it("takes times since 1970 and since the page began", () => {
    expect(rtpHeard(at(100_000, 1000), 1010, ORIGIN, 0)).toBe(rtpHeard(at(100_000, ORIGIN + 1000), 1010, ORIGIN, 0));
  });
  it("wraps at 32 bits both ways", () => {
    expect(rtpHeard(at(2 ** 32 - 48, ORIGIN), 2, ORIGIN, 0)).toBe(48);
    expect(rtpHeard(at(0, ORIGIN), 0, ORIGIN, 1)).toBe(2 ** 32 - 48);
  });
  it("does not go on when no packet follows", () => {
    expect(rtpHeard(at(0, ORIGIN), 5000, ORIGIN, 0)).toBe(60 * 48);
  });
  it("says nothing where the browser says nothing", () => {
    expect(rtpHeard(undefined, 0, ORIGIN, 0)).toBeNull();
    expect(rtpHeard(at(undefined, ORIGIN), 0, ORIGIN, 0)).toBeNull();
  });
});
