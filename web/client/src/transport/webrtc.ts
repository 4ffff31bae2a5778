/** The call over WebRTC: Pipecat's client and transport for signalling and RTVI, our own hands for media. */
import { LogLevel, PipecatClient, TransportStartError } from "@pipecat-ai/client-js";
import { SmallWebRTCTransport } from "@pipecat-ai/small-webrtc-transport";
import { address, refusal, Refused } from "../api";
import { audioContext, deviceLatencyS } from "../audio/context";
import { LevelTap } from "../audio/level";
import type { ClientFields, ClientType, ServerMessage } from "../protocol";
import type { ConnectOptions, Transport, TransportEvents } from "./types";
import { rtpHeard } from "./rtp-playout";
import { mediaOf, tame, type OfferAnswer } from "./small-webrtc";

/** Time for the connection to come up, and then for the tutor to say that it is ready. */
const CONNECT_MS = 5000;
const READY_MS = 15_000;
/** ICE often recovers by itself from a short "disconnected". */
const ICE_GRACE_MS = 1500;
/** The server sends a packet every 20 ms, silence included. ICE alone takes over 5 s to notice that nobody is there. */
const SILENT_LINE_MS = 3000;
const WATCH_MS = 500;
const REPORT_MS = 250;
/** After the first voiced sound: by then it has passed the loudspeaker, too, and its time can be told. */
const SECOND_REPORT_MS = 100;
const ONSET_POLL_MS = 20;
/** An interrupted reply goes on in the jitter buffer for this long at most after the server has stopped it... */
const LEFTOVER_MS = 1000;
/** ...and for this long where the server does not say that it has. */
const DEAF_MS = 2000;
/** The leftover is over when there was no sound for this long. */
const SILENT_MS = 60;
const VOICED_LEVEL = 0.15;

export class WebRTCTransport implements Transport {
  readonly kind = "webrtc";
  /** The answer to the offer, once there is one: it names the session even if no media ever flows. */
  answer: OfferAnswer | null = null;

  private client: PipecatClient | null = null;
  private pc: RTCPeerConnection | null = null;
  private track: MediaStreamTrack | null = null;
  private tap: LevelTap | null = null;
  private readonly audio = document.createElement("audio");
  private closed = false;
  private lost = false;
  private up = false;
  private iceTimer = 0;
  private reportTimer = 0;
  private lineTimer = 0;
  private deafTimer = 0;
  private tutorSpeaks = false;

  constructor(private readonly events: TransportEvents) {
    this.audio.autoplay = true;
    this.audio.hidden = true;
    this.audio.dataset["testid"] = "tutor-audio";
  }

  async connect(options: ConnectOptions): Promise<void> {
    this.track = options.track;
    const inner = new SmallWebRTCTransport({ mediaManager: mediaOf(() => this.track) });
    tame(inner, {
      onPeer: (pc) => this.watch(pc),
      onAnswer: (answer) => (this.answer = answer),
      onLost: (reason) => this.lose(reason),
    });
    let connected = () => {};
    const transportUp = new Promise<void>((resolve) => (connected = resolve));
    this.client = new PipecatClient({
      transport: inner,
      // The microphone is ours: the client shall neither open one nor ask for permission.
      enableMic: false,
      enableCam: false,
      callbacks: {
        onConnected: () => connected(),
        onServerMessage: (data: unknown) => this.receive(data as ServerMessage),
        onBotDisconnected: () => this.lose("the server left"),
        onDisconnected: () => this.lose("disconnected"),
      },
    });
    this.client.setLogLevel(LogLevel.NONE);
    void this.setSpeaker(options.speakerId);
    document.body.append(this.audio);

    const { level, lesson, record, resume } = options;
    const ready = this.client.connect({
      webrtcRequestParams: {
        endpoint: address("api/offer"),
        requestData: resume ? { level, lesson, resume: resume.token } : { level, lesson, record, ...options.options },
      },
      iceConfig: { iceServers: options.iceServers },
    });
    try {
      await Promise.race([transportUp, ready, timeout(CONNECT_MS, "no connection"), aborted(options.signal)]);
      await Promise.race([ready, timeout(READY_MS, "the tutor did not answer"), aborted(options.signal)]);
    } catch (e) {
      ready.catch(() => {});
      await this.close();
      if (e instanceof TransportStartError && e.cause instanceof Response) throw await refusal(e.cause);
      throw e;
    }
    if (this.closed || this.lost) throw new Error("the connection closed while it was opening");
    this.up = true;
    this.watchLine();
    const { session_id, resume_token } = this.answer ?? {};
    if (session_id) this.events.onMessage({ type: "connected", session_id, resume_token });
  }

  send<T extends ClientType>(type: T, fields: ClientFields[T]): void {
    if (this.client?.state === "ready") this.client.sendClientMessage(type, fields);
  }

  async setTrack(track: MediaStreamTrack | null): Promise<void> {
    const before = this.track;
    this.track = track;
    await this.pc?.getTransceivers()[0]?.sender.replaceTrack(track);
    before?.stop();
  }

  async setSpeaker(deviceId: string): Promise<void> {
    const sinkable = this.audio as HTMLAudioElement & { setSinkId?: (id: string) => Promise<void> };
    if (deviceId || this.audio.srcObject) await sinkable.setSinkId?.(deviceId === "default" ? "" : deviceId).catch(() => {});
  }

  flush(): void {
    if (this.tutorSpeaks) this.goDeaf(DEAF_MS);
  }

  async resumePlayback(): Promise<void> {
    await audioContext().resume();
    await this.audio.play();
  }

  level(): number {
    return this.tap?.level() ?? 0;
  }

  async close(): Promise<void> {
    if (this.closed) return;
    this.closed = true;
    clearTimeout(this.iceTimer);
    clearTimeout(this.reportTimer);
    clearInterval(this.lineTimer);
    clearInterval(this.deafTimer);
    this.tap?.close();
    this.audio.srcObject = null;
    this.audio.remove();
    this.track?.stop();
    await this.client?.disconnect().catch(() => {});
    this.pc?.close();
  }

  private receive(message: ServerMessage): void {
    if (this.closed) return;
    if (message.type === "interrupted") this.goDeaf(LEFTOVER_MS, true);
    if (message.type === "speaking" && message.who === "tutor") this.follow(message.active);
    this.events.onMessage(message);
  }

  private watch(pc: RTCPeerConnection): void {
    this.pc = pc;
    pc.addEventListener("track", ({ track, receiver }) => {
      if (track.kind !== "audio") return;
      // Lip sync is of no use here and a lower target is: play as soon as the network allows.
      if ("jitterBufferTarget" in receiver) receiver.jitterBufferTarget = 0;
      const stream = new MediaStream([track]);
      this.audio.srcObject = stream;
      this.audio.play().catch((e: unknown) => {
        if (!this.closed && e instanceof DOMException && e.name === "NotAllowedError") this.events.onPlaybackBlocked();
      });
      this.tap?.close();
      this.tap = new LevelTap(audioContext().createMediaStreamSource(stream));
    });
    pc.addEventListener("iceconnectionstatechange", () => {
      clearTimeout(this.iceTimer);
      if (pc.iceConnectionState === "failed") this.lose("ICE failed");
      if (pc.iceConnectionState === "disconnected") {
        this.iceTimer = window.setTimeout(() => this.lose("ICE disconnected"), ICE_GRACE_MS);
      }
    });
  }

  /** Mute what is left of an interrupted reply in the network and the jitter buffer, which cannot be emptied. */
  private goDeaf(longestMs: number, untilSilent = false): void {
    this.audio.muted = true;
    clearInterval(this.deafTimer);
    const since = performance.now();
    let soundAt = since;
    this.deafTimer = window.setInterval(() => {
      const now = performance.now();
      if (this.level() > VOICED_LEVEL) soundAt = now;
      if (now - since >= longestMs || (untilSilent && now - soundAt >= SILENT_MS)) this.listen();
    }, ONSET_POLL_MS);
  }

  private listen(): void {
    clearInterval(this.deafTimer);
    this.audio.muted = false;
  }

  private watchLine(): void {
    let stamp = -1;
    let quietMs = 0;
    let lookedAt = performance.now();
    this.lineTimer = window.setInterval(() => {
      const now = performance.now();
      const source = this.pc?.getReceivers()[0]?.getSynchronizationSources?.()[0];
      // Timers of a page in the background are late; a gap of theirs proves nothing.
      const sinceMs = Math.min(now - lookedAt, 2 * WATCH_MS);
      lookedAt = now;
      quietMs = source && source.rtpTimestamp !== stamp ? 0 : quietMs + sinceMs;
      stamp = source?.rtpTimestamp ?? stamp;
      if (this.pc?.sctp?.state === "closed") this.lose("the server closed the connection");
      else if (stamp !== -1 && quietMs >= SILENT_LINE_MS) this.lose("no packets");
    }, WATCH_MS);
  }

  private lose(reason: string): void {
    if (this.closed || this.lost) return;
    this.lost = true;
    if (this.up) this.events.onLost(reason);
  }

  /** Report what is heard while the tutor speaks: at the first voiced sound, soon after it, then every 250 ms. */
  private follow(speaks: boolean): void {
    if (speaks === this.tutorSpeaks) return;
    this.tutorSpeaks = speaks;
    clearTimeout(this.reportTimer);
    if (!speaks) {
      this.report();
      return;
    }
    this.listen();
    const waitForOnset = () => {
      if (this.level() > VOICED_LEVEL) {
        this.report();
        this.reportTimer = window.setTimeout(repeat, SECOND_REPORT_MS);
      } else {
        this.reportTimer = window.setTimeout(waitForOnset, ONSET_POLL_MS);
      }
    };
    const repeat = () => {
      this.report();
      this.reportTimer = window.setTimeout(repeat, REPORT_MS);
    };
    waitForOnset();
  }

  private report(): void {
    // A browser without it reports nothing, and the server reckons with the usual buffers.
    const source = this.pc?.getReceivers()[0]?.getSynchronizationSources?.()[0];
    const heard = rtpHeard(source, performance.now(), performance.timeOrigin, deviceLatencyS() * 1000);
    if (heard !== null) this.send("playout", { rtp_timestamp: heard });
  }
}

function timeout(ms: number, what: string): Promise<never> {
  return new Promise((_, reject) => setTimeout(() => reject(new Error(what)), ms));
}

function aborted(signal: AbortSignal): Promise<never> {
  return new Promise((_, reject) => {
    if (signal.aborted) reject(signal.reason as Error);
    signal.addEventListener("abort", () => reject(signal.reason as Error), { once: true });
  });
}

/** Whether a failed attempt is final: the server said no, and would say it again over the other transport. */
export const isFinal = (error: unknown): error is Refused =>
  error instanceof Refused && error.status >= 400 && error.status < 500;
