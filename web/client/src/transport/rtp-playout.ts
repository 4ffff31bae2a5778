/** Which RTP timestamp is leaving the loudspeaker now. Pure. */

/** Opus in RTP counts 48 kHz samples, whatever it is played at (RFC 7587). */
const CLOCK_PER_MS = 48;
/** The longest that one packet may sound: beyond it the receiver had nothing to play. */
const PACKET_MS = 60;

/** What `RTCRtpReceiver.getSynchronizationSources` gives; some browsers leave the timestamp out. */
export interface Source {
  rtpTimestamp?: number;
  /** When the packet's first sample was handed on by the jitter buffer, in ms since 1970 or, in some browsers, since the page began. */
  timestamp: number;
}

/**
 * The 32-bit timestamp of the sample being heard, or null where the browser does not say.
 *
 * `nowMs` is `performance.now()`, `originMs` `performance.timeOrigin`, `latencyMs` that of the loudspeaker.
 */
export function rtpHeard(source: Source | undefined, nowMs: number, originMs: number, latencyMs: number): number | null {
  if (typeof source?.rtpTimestamp !== "number") return null;
  const sinceMs = source.timestamp > originMs / 2 ? source.timestamp - originMs : source.timestamp;
  const ageMs = Math.max(0, Math.min(PACKET_MS, nowMs - sinceMs));
  return (source.rtpTimestamp + Math.round((ageMs - latencyMs) * CLOCK_PER_MS)) >>> 0;
}
