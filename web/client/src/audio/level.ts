/** How loud a signal is now. */

const FLOOR_DB = -60;
const CEILING_DB = -12;

/** RMS level of samples in -1..1, on a scale of 0 (−60 dBFS or less) to 1 (−12 dBFS or more). */
export function loudness(samples: Float32Array): number {
  let sum = 0;
  for (const x of samples) sum += x * x;
  const db = 10 * Math.log10(sum / samples.length + 1e-12);
  return Math.max(0, Math.min(1, (db - FLOOR_DB) / (CEILING_DB - FLOOR_DB)));
}

/** Listens to one node of an audio graph without changing it. */
export class LevelTap {
  private readonly analyser: AnalyserNode;
  private readonly samples: Float32Array<ArrayBuffer>;

  constructor(private readonly source: AudioNode) {
    this.analyser = source.context.createAnalyser();
    this.analyser.fftSize = 1024;
    this.samples = new Float32Array(this.analyser.fftSize);
    source.connect(this.analyser);
  }

  /** 0..1, see `loudness`. */
  level(): number {
    this.analyser.getFloatTimeDomainData(this.samples);
    return loudness(this.samples);
  }

  close(): void {
    this.source.disconnect(this.analyser);
  }
}
