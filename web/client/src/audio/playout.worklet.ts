/**
 * Loudspeaker's end of the WebSocket: takes pcm16 ArrayBuffers at the context's rate, a number of samples to skip, "flush",
 * "hold" or "go on".
 * Posts `{sample, start}` of `Progress` whenever the server is to be told.
 */
import { PlayoutBuffer } from "./playout-buffer";

class Playout extends AudioWorkletProcessor {
  private readonly buffer = new PlayoutBuffer(sampleRate);

  constructor(options: { processorOptions?: unknown }) {
    super(options);
    this.port.onmessage = ({ data }: MessageEvent<ArrayBuffer | number | "flush" | "hold" | "go on">) => {
      if (data === "flush") {
        this.buffer.flush();
        return;
      }
      if (data === "hold" || data === "go on") {
        this.buffer.hold(data === "hold");
        return;
      }
      if (typeof data === "number") {
        this.buffer.skip(data);
        return;
      }
      const pcm = new Int16Array(data);
      const samples = new Float32Array(pcm.length);
      for (let i = 0; i < pcm.length; i++) samples[i] = pcm[i]! / 32768;
      this.buffer.push(samples);
    };
  }

  process(_inputs: Float32Array[][], outputs: Float32Array[][]): boolean {
    const out = outputs[0]?.[0];
    if (!out) return true;
    const { sample, start, report } = this.buffer.pull(out);
    if (report) this.port.postMessage({ sample, start });
    return true;
  }
}

registerProcessor("parley-playout", Playout);
