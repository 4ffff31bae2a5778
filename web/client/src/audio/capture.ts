/** The microphone's track as pcm16 chunks. */
import workletUrl from "./capture.worklet?worker&url";
import { audioContext } from "./context";

const loaded = new WeakMap<AudioContext, Promise<void>>();

export class Capture {
  private constructor(
    private readonly track: MediaStreamTrack,
    private readonly source: MediaStreamAudioSourceNode,
    private readonly node: AudioWorkletNode,
  ) {}

  /** @param onChunk called with 20 ms of little-endian pcm16, mono, at `rateHz`. The track is stopped with the capture. */
  static async open(track: MediaStreamTrack, rateHz: number, onChunk: (pcm: ArrayBuffer) => void): Promise<Capture> {
    const context = audioContext();
    let module = loaded.get(context);
    if (!module) loaded.set(context, (module = context.audioWorklet.addModule(workletUrl)));
    await module;
    const source = context.createMediaStreamSource(new MediaStream([track]));
    const node = new AudioWorkletNode(context, "parley-capture", {
      numberOfOutputs: 0,
      channelCount: 1,
      channelCountMode: "explicit",
      processorOptions: { rateHz },
    });
    node.port.onmessage = ({ data }: MessageEvent<ArrayBuffer>) => onChunk(data);
    source.connect(node);
    return new Capture(track, source, node);
  }

  close(): void {
    this.node.port.onmessage = null;
    this.source.disconnect();
    this.track.stop();
  }
}
