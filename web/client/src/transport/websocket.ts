/** The call over one WebSocket: JSON both ways, pcm16 up from a capture worklet, pcm16 down into a playout. */
import { address, getReady, Refused, Unreachable } from "../api";
import { Capture } from "../audio/capture";
import { openPlayout, type Playout } from "../audio/playout";
import type { ClientFields, ClientType, ServerMessage } from "../protocol";
import type { ConnectOptions, Transport, TransportEvents } from "./types";

const CONNECT_MS = 10_000;
const PING_MS = 2000;
/** After the learner interrupted, what arrives is of no use until the server has noticed; but not for longer than this. */
const DEAF_MS = 2000;
/** Without any message for this long the line is dead, whatever the browser believes. */
const SILENCE_MS = 5000;

/** Close codes that mean a refusal, and the HTTP status that means the same. */
const REFUSALS: Record<number, number> = { 1008: 403, 1013: 429, 4401: 401, 4403: 403, 4404: 404, 4410: 410, 4429: 429 };

export class WebSocketTransport implements Transport {
  readonly kind = "websocket";
  private socket: WebSocket | null = null;
  private capture: Capture | null = null;
  private playout: Playout | null = null;
  private inputRateHz = 16_000;
  private closed = false;
  private up = false;
  private said = "";
  private lastHeardAt = 0;
  /** Until this time (`performance.now()`) the tutor's audio is dropped as it arrives. */
  private deafUntil = 0;
  private pingTimer = 0;

  constructor(private readonly events: TransportEvents) {}

  async connect(options: ConnectOptions): Promise<void> {
    this.inputRateHz = options.inputRateHz;
    options.signal.addEventListener("abort", () => void this.close(), { once: true });
    try {
      this.playout = await openPlayout(options.outputRateHz, {
        onReport: (sample) => this.send("playout", { sample }),
        onBlocked: () => this.events.onPlaybackBlocked(),
      });
      await this.playout.setSpeaker(options.speakerId);
      await this.open(options);
      await this.setTrack(options.track);
    } catch (e) {
      options.track?.stop();
      await this.close();
      throw e;
    }
    if (this.closed) throw new Error("the connection closed while it was opening");
    this.up = true;
    this.pingTimer = window.setInterval(() => this.ping(), PING_MS);
  }

  send<T extends ClientType>(type: T, fields: ClientFields[T]): void {
    if (this.socket?.readyState === WebSocket.OPEN) this.socket.send(JSON.stringify({ type, ...fields }));
  }

  async setTrack(track: MediaStreamTrack | null): Promise<void> {
    this.capture?.close();
    this.capture = null;
    if (!track) return;
    if (this.closed) {
      track.stop();
      return;
    }
    this.capture = await Capture.open(track, this.inputRateHz, (pcm) => {
      // Behind by a second: the network is too slow for more, and old sound is of no use.
      const behind = (this.socket?.bufferedAmount ?? 0) > this.inputRateHz * 2;
      if (this.socket?.readyState === WebSocket.OPEN && !behind) this.socket.send(pcm);
    });
  }

  async setSpeaker(deviceId: string): Promise<void> {
    await this.playout?.setSpeaker(deviceId);
  }

  flush(): void {
    this.playout?.flush();
    this.deafUntil = performance.now() + DEAF_MS;
  }

  async resumePlayback(): Promise<void> {
    await this.playout?.resume();
  }

  level(): number {
    return this.playout?.level() ?? 0;
  }

  async close(): Promise<void> {
    if (this.closed) return;
    this.closed = true;
    clearInterval(this.pingTimer);
    this.capture?.close();
    this.socket?.close(1000);
    await this.playout?.close();
  }

  private open(options: ConnectOptions): Promise<void> {
    const url = new URL(address("ws/conversation"));
    url.protocol = url.protocol === "https:" ? "wss:" : "ws:";
    url.searchParams.set("extras", "1");
    url.searchParams.set("level", options.level);
    if (!options.record) url.searchParams.set("record", "0");
    for (const [name, value] of Object.entries(options.options)) url.searchParams.set(name, String(value));
    if (options.lesson) url.searchParams.set("lesson", options.lesson);
    const socket = new WebSocket(url);
    this.socket = socket;
    socket.binaryType = "arraybuffer";
    return new Promise((resolve, reject) => {
      const timer = setTimeout(() => reject(new Unreachable("no answer over the WebSocket")), CONNECT_MS);
      const { resume } = options;
      socket.onopen = () => {
        if (resume) socket.send(JSON.stringify({ type: "resume", token: resume.token }));
      };
      socket.onmessage = ({ data }: MessageEvent<string | ArrayBuffer>) => {
        this.lastHeardAt = performance.now();
        if (typeof data !== "string") {
          if (this.lastHeardAt < this.deafUntil) this.playout?.skip(data.byteLength / 2);
          else this.playout?.push(data);
          return;
        }
        const message = JSON.parse(data) as ServerMessage;
        if (message.type === "connected") {
          clearTimeout(timer);
          // A session that is taken up comes after a new one, which may have begun to speak.
          this.playout?.flush();
          if (resume?.required && message.session_id !== resume.sessionId) {
            // The server has begun another conversation instead, which nobody asked for.
            this.send("end_conversation", {});
            reject(new Refused(410, "the session has ended"));
            return;
          }
          resolve();
        }
        if (message.type === "error") this.said = message.message;
        if (message.type === "interrupted") this.playout?.flush();
        if (message.type === "hold" || message.type === "go_on") this.playout?.hold(message.type === "hold");
        // Nothing of the old reply follows the one, and the other begins a new one.
        if (message.type === "interrupted" || message.type === "ai_audio_start") this.deafUntil = 0;
        if (!this.closed) this.events.onMessage(message);
      };
      socket.onclose = ({ code, reason }) => {
        clearTimeout(timer);
        clearInterval(this.pingTimer);
        if (this.closed) reject(new Error("closed"));
        else if (this.up) this.events.onLost(reason || `closed with code ${code}`);
        else void this.explain(code, reason).then(reject);
      };
    });
  }

  /** Browsers hide why a WebSocket was refused, so ask the server how it is. */
  private async explain(code: number, reason: string): Promise<Error> {
    const words = reason || this.said;
    const status = REFUSALS[code];
    // "Try again later" may mean that there is no room, or that the server has nothing to answer with; only one of them passes.
    if (status && status !== 429) return new Refused(status, words);
    try {
      await getReady();
    } catch (e) {
      return e as Error;
    }
    if (status) return new Refused(status, words);
    return new Error(words || "The server closed the connection before the call began");
  }

  private ping(): void {
    if (performance.now() - this.lastHeardAt > SILENCE_MS) {
      // `onclose` of a dead line may take a minute.
      const socket = this.socket;
      if (socket) socket.onclose = null;
      socket?.close();
      clearInterval(this.pingTimer);
      if (!this.closed) this.events.onLost("no answer to pings");
      return;
    }
    if (this.socket?.readyState === WebSocket.OPEN) this.socket.send(JSON.stringify({ type: "ping" }));
  }
}
