/**
 * Loudspeaker's end of the WebSocket: takes pcm16 ArrayBuffers at the context's rate, or "flush".
 * Posts `{sample, onset}` every 250 ms while it plays, and at once with the first voiced sample after silence.
 */
import { PlayoutBuffer } from "./playout-buffer";

const REPORT_S = 0.25;

class Playout extends AudioWorkletProcessor {
  private readonly buffer = new PlayoutBuffer(sampleRate);
  private sinceReport = 0;
  private wasPlaying = false;

  constructor(options: { processorOptions?: unknown }) {
    super(options);
    this.port.onmessage = ({ data }: MessageEvent<ArrayBuffer | "flush">) => {
      if (data === "flush") {
        this.buffer.flush();
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
    const { sample, playing, onset } = this.buffer.pull(out);
    this.sinceReport += out.length;
    const due = playing && this.sinceReport >= REPORT_S * sampleRate;
    if (onset || due || (this.wasPlaying && !playing)) {
      this.port.postMessage({ sample, onset });
      this.sinceReport = 0;
    }
    this.wasPlaying = playing;
    return true;
  }
}

registerProcessor("parley-playout", Playout);
