/** Microphone to pcm16: converts from the context's rate and posts chunks of 20 ms as transferred ArrayBuffers. */
import { Resampler } from "./resampler";

const CHUNK_S = 0.02;

class Capture extends AudioWorkletProcessor {
  private readonly resampler: Resampler;
  private chunk: Int16Array;
  private filled = 0;

  constructor(options: { processorOptions?: unknown }) {
    super(options);
    const { rateHz } = options.processorOptions as { rateHz: number };
    this.resampler = new Resampler(sampleRate, rateHz);
    this.chunk = new Int16Array(Math.round(rateHz * CHUNK_S));
  }

  process(inputs: Float32Array[][]): boolean {
    const channel = inputs[0]?.[0];
    // A microphone that has not started yet sends nothing; silence keeps the server's clock going.
    const samples = this.resampler.push(channel ?? new Float32Array(128));
    for (const x of samples) {
      this.chunk[this.filled++] = Math.max(-32768, Math.min(32767, Math.round(x * 32767)));
      if (this.filled === this.chunk.length) {
        const full = this.chunk;
        this.chunk = new Int16Array(full.length);
        this.filled = 0;
        this.port.postMessage(full.buffer, [full.buffer]);
      }
    }
    return true;
  }
}

registerProcessor("parley-capture", Capture);
