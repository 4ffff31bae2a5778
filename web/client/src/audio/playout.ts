/** Playing pcm16 from the network: a worklet where the browser has them, scheduled buffers where it does not. */
import workletUrl from "./playout.worklet?worker&url";
import { contextLatencyS, setContextSink } from "./context";
import { LevelTap } from "./level";
import { PlayoutBuffer, type Progress } from "./playout-buffer";

export interface PlayoutEvents {
  /** A sample index of the stream since the connection opened that is leaving the loudspeaker about now. */
  onReport(sample: number): void;
  onBlocked(): void;
}

export interface Playout {
  push(pcm: ArrayBuffer): void;
  /** Pass over samples of the stream that are not to be played. Only after `flush`, and before the next `push`. */
  skip(samples: number): void;
  flush(): void;
  /** Stop in front of the next sample, or go on with it. */
  hold(held: boolean): void;
  level(): number;
  resume(): Promise<void>;
  setSpeaker(deviceId: string): Promise<void>;
  close(): Promise<void>;
}

/** Open a playout whose context runs at the stream's own rate, so that the browser converts and samples can be counted. */
export async function openPlayout(rateHz: number, events: PlayoutEvents): Promise<Playout> {
  const context = new AudioContext({ sampleRate: rateHz, latencyHint: "interactive" });
  void context.resume();
  setTimeout(() => {
    if (context.state === "suspended") events.onBlocked();
  }, 1000);
  const report = ({ sample, start }: Place) => {
    events.onReport(Math.max(start, Math.round(sample - contextLatencyS(context) * rateHz)));
  };
  // Worklets need a secure context; a page on a plain http address still lets the tutor be heard.
  const engine = context.audioWorklet ? await workletEngine(context, report) : scriptEngine(context, report);
  const tap = new LevelTap(engine.node);
  engine.node.connect(context.destination);
  return {
    push: engine.push,
    skip: engine.skip,
    flush: engine.flush,
    hold: engine.hold,
    level: () => tap.level(),
    resume: () => context.resume(),
    setSpeaker: (deviceId) => (deviceId ? setContextSink(context, deviceId).catch(() => {}) : Promise.resolve()),
    close: () => (context.state === "closed" ? Promise.resolve() : context.close()),
  };
}

type Place = Pick<Progress, "sample" | "start">;

interface Engine {
  node: AudioNode;
  push(pcm: ArrayBuffer): void;
  skip(samples: number): void;
  flush(): void;
  hold(held: boolean): void;
}

async function workletEngine(context: AudioContext, report: (place: Place) => void): Promise<Engine> {
  await context.audioWorklet.addModule(workletUrl);
  const node = new AudioWorkletNode(context, "parley-playout", { numberOfInputs: 0, outputChannelCount: [1] });
  node.port.onmessage = ({ data }: MessageEvent<Place>) => report(data);
  return {
    node,
    push: (pcm) => node.port.postMessage(pcm, [pcm]),
    skip: (samples) => node.port.postMessage(samples),
    flush: () => node.port.postMessage("flush"),
    hold: (held) => node.port.postMessage(held ? "hold" : "go on"),
  };
}

/** The same buffer pulled by the old ScriptProcessorNode, which insecure pages have too. */
function scriptEngine(context: AudioContext, report: (place: Place) => void): Engine {
  const buffer = new PlayoutBuffer(context.sampleRate);
  const node = context.createScriptProcessor(1024, 1, 1);
  node.onaudioprocess = ({ outputBuffer }) => {
    const progress = buffer.pull(outputBuffer.getChannelData(0));
    if (progress.report) report(progress);
  };
  return {
    node,
    push: (pcm) => buffer.push(Float32Array.from(new Int16Array(pcm), (x) => x / 32768)),
    skip: (samples) => buffer.skip(samples),
    flush: () => buffer.flush(),
    hold: (held) => buffer.hold(held),
  };
}
