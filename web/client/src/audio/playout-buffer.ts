/** What the playout worklet keeps between the network and the loudspeaker. Pure. */

/** Buffered sound that must be there before playing starts, so that small jitter does not tear it. */
const PREBUFFER_S = 0.04;
/** How long less than that waits for more before it is played anyway (the end of a reply is short). */
const PATIENCE_S = 0.08;
/** |sample| above which sound is not silence: -50 dBFS. */
const VOICED = 0.00316;
const FADE_S = 0.005;

export interface Progress {
  /** Index, in the stream since the connection opened, of the next sample to play. Flushed samples count as passed. */
  sample: number;
  playing: boolean;
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

  /** Drop everything that has not been played. */
  flush(): void {
    this.chunks = [];
    this.offset = 0;
    this.buffered = 0;
    this.waited = 0;
    this.playing = false;
  }

  /** Fill `out` with the next samples, silence where there are none. */
  pull(out: Float32Array): Progress {
    if (!this.playing && this.buffered > 0) {
      this.waited += out.length;
      this.playing = this.buffered >= PREBUFFER_S * this.rateHz || this.waited >= PATIENCE_S * this.rateHz;
    }
    let n = 0;
    let onset = false;
    while (this.playing && n < out.length && this.buffered > 0) {
      const chunk = this.chunks[0]!;
      const count = Math.min(out.length - n, chunk.length - this.offset);
      for (let i = 0; i < count; i++) {
        const x = chunk[this.offset + i]!;
        out[n + i] = x;
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
    return { sample: this.received - this.buffered, playing: this.playing, onset };
  }

  /** End a sound that stops in the middle of a wave without a click. */
  private fade(out: Float32Array, from: number): void {
    const length = Math.min(out.length - from, Math.round(FADE_S * this.rateHz));
    for (let i = 0; i < length; i++) out[from + i] = this.last * (1 - (i + 1) / length);
    for (let i = from + length; i < out.length; i++) out[i] = 0;
    this.last = 0;
  }
}
