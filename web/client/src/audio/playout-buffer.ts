/** What the playout worklet keeps between the network and the loudspeaker. Pure. */

/** Buffered sound that must be there before playing starts, so that small jitter does not tear it. */
const PREBUFFER_S = 0.04;
/** How long less than that waits for more before it is played anyway (the end of a reply is short). */
const PATIENCE_S = 0.08;
/** |sample| above which sound is not silence: -50 dBFS. */
const VOICED = 0.00316;
const FADE_S = 0.005;
/** How often the place is reported while there is sound, and how soon again after the first voiced sample has left the buffer:
 * the loudspeaker is later by its latency, and what counts is what was heard. */
const REPORT_S = 0.25;
const ONSET_REPORT_S = 0.1;

export interface Progress {
  /** Index, in the stream since the connection opened, of the next sample to play. Flushed samples count as passed. */
  sample: number;
  /** Index of the first sample since playing last began: what a loudspeaker's latency ago was played before it is unknown. */
  start: number;
  playing: boolean;
  /** The server is to be told: 4 times a second while it plays, at the first voiced sample after silence, and at the end. */
  report: boolean;
  /** The first voiced sample after silence was just played. */
  onset: boolean;
}

export class PlayoutBuffer {
  private chunks: Float32Array[] = [];
  private offset = 0;
  private buffered = 0;
  private received = 0;
  private waited = 0;
  private playing = false;
  private held = false;
  private rising = 0;
  private start = 0;
  private sinceReport = 0;
  private quietFor = Infinity;
  private last = 0;

  constructor(private readonly rateHz: number) {}

  /** Samples in -1..1, in stream order. */
  push(samples: Float32Array): void {
    if (samples.length === 0) return;
    this.chunks.push(samples);
    this.buffered += samples.length;
    this.received += samples.length;
  }

  /** Pass over samples of the stream that are not to be played, after `flush`. */
  skip(samples: number): void {
    this.received += samples;
  }

  /** Drop everything that has not been played. Nothing is reported until there is something new to play. */
  flush(): void {
    this.chunks = [];
    this.offset = 0;
    this.buffered = 0;
    this.waited = 0;
    this.playing = false;
    this.held = false;
  }

  /** Stop in front of the next sample and keep what has not been played, or go on with that very sample. */
  hold(held: boolean): void {
    if (this.held && !held) {
      this.waited = Infinity;
      this.rising = Math.round(FADE_S * this.rateHz);
    }
    this.held = held;
  }

  /** Fill `out` with the next samples, silence where there are none. */
  pull(out: Float32Array): Progress {
    const wasPlaying = this.playing;
    if (this.held) {
      this.playing = false;
    } else if (!this.playing && this.buffered > 0) {
      this.waited += out.length;
      this.playing = this.buffered >= PREBUFFER_S * this.rateHz || this.waited >= PATIENCE_S * this.rateHz;
      if (this.playing) this.start = this.received - this.buffered;
    }
    let n = 0;
    let onset = false;
    while (this.playing && n < out.length && this.buffered > 0) {
      const chunk = this.chunks[0]!;
      const count = Math.min(out.length - n, chunk.length - this.offset);
      for (let i = 0; i < count; i++) {
        const x = chunk[this.offset + i]!;
        out[n + i] = this.rising > 0 ? x * (1 - this.rising-- / (FADE_S * this.rateHz)) : x;
        if (Math.abs(x) > VOICED) {
          if (this.quietFor > 0.3 * this.rateHz) onset = true;
          this.quietFor = 0;
        } else {
          this.quietFor++;
        }
      }
      n += count;
      this.offset += count;
      this.buffered -= count;
      if (this.offset === chunk.length) {
        this.chunks.shift();
        this.offset = 0;
      }
    }
    if (n > 0) this.last = out[n - 1]!;
    if (n < out.length) {
      this.fade(out, n);
      this.quietFor += out.length - n;
      if (this.buffered === 0) {
        this.playing = false;
        this.waited = 0;
      }
    }
    this.sinceReport += out.length;
    const due = this.playing && this.sinceReport >= REPORT_S * this.rateHz;
    const report = onset || due || (wasPlaying && !this.playing);
    if (report) this.sinceReport = onset ? (REPORT_S - ONSET_REPORT_S) * this.rateHz : 0;
    return { sample: this.received - this.buffered, start: this.start, playing: this.playing, onset, report };
  }

  /** End a sound that stops in the middle of a wave without a click. */
  private fade(out: Float32Array, from: number): void {
    const length = Math.min(out.length - from, Math.round(FADE_S * this.rateHz));
    for (let i = 0; i < length; i++) out[from + i] = this.last * (1 - (i + 1) / length);
    for (let i = from + length; i < out.length; i++) out[i] = 0;
    this.last = 0;
  }
}
