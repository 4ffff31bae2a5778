/** The page's audio contexts. Browsers let them run only after the person has touched the page. */

let shared: AudioContext | null = null;

/** The context at the device's own rate: meters, the microphone's chunks, the test sound. */
export function audioContext(): AudioContext {
  if (!shared || shared.state === "closed") {
    shared = new AudioContext({ latencyHint: "interactive" });
    const wake = () => void shared?.resume();
    for (const event of ["pointerdown", "keydown"]) addEventListener(event, wake, { once: true });
  }
  return shared;
}

/** From a context's giving out a sample until it leaves the loudspeaker, in seconds, as far as the browser knows it. */
export const contextLatencyS = (context: AudioContext): number => (context.baseLatency || 0) + (context.outputLatency || 0);

/** The part of it that other sound of the page has, too: that of the device. */
export const deviceLatencyS = (): number => audioContext().outputLatency || audioContext().baseLatency || 0;

/** Chrome's `setSinkId` of contexts, where there is one. */
export async function setContextSink(context: AudioContext, deviceId: string): Promise<void> {
  const sinkable = context as AudioContext & { setSinkId?: (id: string) => Promise<void> };
  // "default" is a device of its own in Chrome's list; for a context it is the empty string.
  await sinkable.setSinkId?.(deviceId === "default" ? "" : deviceId);
}

export const canChooseSpeaker = (): boolean =>
  "setSinkId" in HTMLMediaElement.prototype || ("AudioContext" in window && "setSinkId" in AudioContext.prototype);

/** Two short notes, to find out which loudspeaker this is. */
export async function playTestSound(deviceId: string): Promise<void> {
  const context = new AudioContext();
  try {
    await setContextSink(context, deviceId);
    await context.resume();
    const start = context.currentTime + 0.05;
    [523.25, 783.99].forEach((hz, i) => {
      const at = start + i * 0.18;
      const note = new OscillatorNode(context, { frequency: hz });
      const gain = new GainNode(context, { gain: 0 });
      gain.gain.setValueAtTime(0, at);
      gain.gain.linearRampToValueAtTime(0.18, at + 0.02);
      gain.gain.exponentialRampToValueAtTime(0.001, at + 0.45);
      note.connect(gain).connect(context.destination);
      note.start(at);
      note.stop(at + 0.5);
    });
    await new Promise((resolve) => setTimeout(resolve, 900));
  } finally {
    await context.close();
  }
}
