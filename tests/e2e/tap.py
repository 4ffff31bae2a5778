"""What the page really plays: a tap in front of its loudspeaker, dated by the browser's own clock."""

from __future__ import annotations

TAP = """
(() => {
  const PROCESSOR = `registerProcessor("test-tap", class extends AudioWorkletProcessor {
    process([input]) {
      let peak = 0;
      for (const x of input[0] ?? []) peak = Math.max(peak, Math.abs(x));
      this.port.postMessage([currentFrame / sampleRate, peak]);
      return true;
    }
  });`;
  const connect = AudioNode.prototype.connect;
  /** [when it leaves the loudspeaker (performance.now() in ms), peak of 128 samples] */
  window.__played = [];
  const tap = async (node) => {
    const { context } = node;
    await context.audioWorklet.addModule(URL.createObjectURL(new Blob([PROCESSOR], { type: "text/javascript" })));
    const tapped = new AudioWorkletNode(context, "test-tap");
    tapped.port.onmessage = ({ data: [at, peak] }) => {
      const { contextTime, performanceTime } = context.getOutputTimestamp();
      window.__played.push([performanceTime + (at - contextTime) * 1000, peak]);
    };
    connect.call(node, tapped);
    // A node that leads nowhere is not run everywhere.
    connect.call(connect.call(tapped, new GainNode(context, { gain: 0 })), context.destination);
  };
  AudioNode.prototype.connect = function (to, ...rest) {
    if (this instanceof AudioWorkletNode && to === this.context.destination) tap(this);
    return connect.call(this, to, ...rest);
  };
  // Over WebRTC the sound goes through an audio element.
  const seen = new WeakSet();
  setInterval(() => {
    const stream = document.querySelector("[data-testid=tutor-audio]")?.srcObject;
    if (!stream || seen.has(stream)) return;
    seen.add(stream);
    const context = new AudioContext({ latencyHint: "interactive" });
    tap(context.createMediaStreamSource(stream));
  }, 5);
  const pause = (ms) => new Promise((resolve) => setTimeout(resolve, ms));
  const VOICED = 0.001; // what the server takes for voiced over WebRTC: -60 dBFS
  /** When the first voiced sample after `after` was played. */
  window.__onset = (after = 0) => window.__played.find(([at, peak]) => at > after && peak > VOICED)?.[0];
  window.__lastVoiced = () => window.__played.findLast(([, peak]) => peak > VOICED)?.[0];
  /** Do `act` when the tutor, silent until `after`, has been heard for `ms`; returns the times of its onset and of the act. */
  window.__interrupt = async (after, ms, act) => {
    while (window.__onset(after) === undefined) await pause(5);
    const onset = window.__onset(after);
    while (performance.now() < onset + ms) await pause(1);
    const at = performance.now();
    act();
    return { onset, at };
  };
})();
"""
