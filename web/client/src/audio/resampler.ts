/** A streaming sample rate converter. Pure. */

/** Zero crossings of the sinc on each side: more is a steeper filter and a longer delay. */
const CROSSINGS = 16;
/** Cut-off below the lower Nyquist frequency, so that the transition band ends there. */
const ROLLOFF = 0.92;
/** Points of the tabulated kernel per input sample; between them it is interpolated linearly. */
const OVERSAMPLING = 256;

/**
 * Windowed-sinc interpolation (Blackman window) between any two rates, fed in blocks of any size.
 *
 * Each output sample is the inner product of the input around its position with a low-pass kernel whose cut-off lies under
 * the lower of both Nyquist frequencies, so nothing aliases. Delay: `CROSSINGS` samples of the lower rate (1 ms at 16 kHz).
 */
export class Resampler {
  private readonly step: number;
  private readonly kernel: Float32Array;
  private readonly half: number;
  private history = new Float32Array(0);
  /** Position of the next output sample, in input samples from the start of `history`. */
  private position: number;

  /** @param fromHz rate of the input. @param toHz rate of the output. */
  constructor(fromHz: number, toHz: number) {
    this.step = fromHz / toHz;
    const cutoff = ROLLOFF * Math.min(1, toHz / fromHz);
    this.half = Math.ceil(CROSSINGS / cutoff);
    this.kernel = tabulate(cutoff, this.half);
    this.history = new Float32Array(this.half);
    this.position = this.half;
  }

  /** Convert a block of samples in -1..1; what it cannot yet finish waits for the next block. */
  push(input: Float32Array): Float32Array {
    const data = new Float32Array(this.history.length + input.length);
    data.set(this.history);
    data.set(input, this.history.length);
    const out: number[] = [];
    while (this.position + this.half < data.length) {
      out.push(this.at(data, this.position));
      this.position += this.step;
    }
    const drop = Math.max(0, Math.floor(this.position) - this.half);
    this.history = data.slice(drop);
    this.position -= drop;
    return Float32Array.from(out);
  }

  private at(data: Float32Array, position: number): number {
    const first = Math.max(0, Math.ceil(position - this.half));
    const last = Math.min(data.length - 1, Math.floor(position + this.half));
    let sum = 0;
    for (let i = first; i <= last; i++) {
      const t = Math.abs(i - position) * OVERSAMPLING;
      const k = Math.floor(t);
      const low = this.kernel[k]!;
      sum += data[i]! * (low + (this.kernel[k + 1]! - low) * (t - k));
    }
    return sum;
  }
}

/** Half of the symmetric kernel, from its centre, at `OVERSAMPLING` points per input sample. */
function tabulate(cutoff: number, half: number): Float32Array {
  const table = new Float32Array(half * OVERSAMPLING + 2);
  for (let k = 0; k <= half * OVERSAMPLING; k++) {
    const x = k / OVERSAMPLING;
    const arg = Math.PI * x * cutoff;
    const sinc = k === 0 ? 1 : Math.sin(arg) / arg;
    const w = x / half;
    table[k] = cutoff * sinc * (0.42 + 0.5 * Math.cos(Math.PI * w) + 0.08 * Math.cos(2 * Math.PI * w));
  }
  return table;
}
