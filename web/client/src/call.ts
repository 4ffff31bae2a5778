/** One learner's call from the dial to the report: which transport, when to change it, when to give up. */
import { getReport, getSession, Refused, sendAudio } from "./api";
import { canCapture, Microphone } from "./audio/microphone";
import { wantedOptions } from "./options";
import type { PreferenceStore } from "./preferences";
import type { Level, OptionName, Report, ServerMessage } from "./protocol";
import type { Store } from "./store";
import { WebSocketTransport } from "./transport/websocket";
import type { ConnectOptions, Resume, Transport, TransportEvents } from "./transport/types";
import { callBanner, micBanner, micProblem, sentence, type MicProblem } from "./words-for";

/** Longest wait for the report after hanging up, before it is asked for by REST. */
const ANALYSIS_MS = 8000;
const RETRY_MS = [300, 1000, 2000, 3000];

export class Call {
  readonly microphone = new Microphone();
  private transport: Transport | null = null;
  private attempt: AbortController | null = null;
  private analysis: Report | null = null;
  private onAnalysis: (() => void) | null = null;

  constructor(
    private readonly store: Store,
    private readonly preferences: PreferenceStore,
  ) {
    this.microphone.onUnplugged = () => {
      this.store.dispatch({ type: "mic", status: "none" });
      void this.transport?.setTrack(null);
      this.complain("unplugged");
    };
  }

  /** Loudness of the tutor's voice now, 0..1. */
  tutorLevel(): number {
    return this.transport?.level() ?? 0;
  }

  /** Open the chosen microphone, or the default one if that is gone. Returns whether there is one now. */
  async openMicrophone(quietly = false): Promise<boolean> {
    if (this.microphone.isOpen) return true;
    if (!canCapture()) {
      // Said once; it will not change.
      const known = this.store.state.mic === "none";
      this.store.dispatch({ type: "mic", status: "none" });
      if (!quietly && !known) this.complain(window.isSecureContext ? "failed" : "insecure");
      return false;
    }
    const wanted = this.preferences.get("micId");
    try {
      await this.microphone.open(wanted || undefined).catch((e: unknown) => {
        if (wanted && micProblem(e) === "absent") return this.microphone.open();
        throw e;
      });
    } catch (e) {
      this.store.dispatch({ type: "mic", status: "none" });
      if (!quietly) this.complain(micProblem(e));
      return false;
    }
    this.store.dispatch({ type: "mic", status: "ok" });
    return true;
  }

  /** Change to another microphone, in or out of a call. */
  async chooseMicrophone(deviceId: string): Promise<void> {
    this.preferences.set("micId", deviceId);
    if (this.microphone.isOpen) this.microphone.close();
    if (await this.openMicrophone()) {
      this.store.dispatch({ type: "banner", banner: null });
      await this.transport?.setTrack(this.microphone.copy());
    }
  }

  async retryMicrophone(): Promise<void> {
    this.store.dispatch({ type: "banner", banner: null });
    if (await this.openMicrophone()) await this.transport?.setTrack(this.microphone.copy());
  }

  async chooseSpeaker(deviceId: string): Promise<void> {
    this.preferences.set("speakerId", deviceId);
    await this.transport?.setSpeaker(deviceId);
  }

  async dial(): Promise<void> {
    const { phase } = this.store.state;
    if (phase !== "start" && phase !== "report") return;
    const attempt = new AbortController();
    this.attempt = attempt;
    this.analysis = null;
    this.microphone.muted = false;
    this.store.dispatch({ type: "dialled" });
    // Without a microphone the call goes on: the learner can type and listen.
    await this.openMicrophone();
    if (attempt.signal.aborted) return;
    try {
      await this.connect(attempt, null);
    } catch (e) {
      if (attempt.signal.aborted) return;
      this.store.dispatch({ type: "failed" });
      this.store.dispatch({ type: "banner", banner: callBanner(e) });
    }
  }

  async hangUp(): Promise<void> {
    const { phase } = this.store.state;
    if (phase === "connecting") {
      this.attempt?.abort(new Error("hung up"));
      await this.drop();
      this.store.dispatch({ type: "failed" });
      return;
    }
    if (phase === "reconnecting") {
      this.attempt?.abort(new Error("hung up"));
      await this.report(null);
      return;
    }
    if (phase !== "in-call") return;
    this.store.dispatch({ type: "ending" });
    this.transport?.flush();
    this.transport?.send("end_conversation", {});
    if (!this.analysis) {
      await new Promise<void>((resolve) => {
        this.onAnalysis = resolve;
        setTimeout(resolve, ANALYSIS_MS);
      });
    }
    await this.report(null);
  }

  sendText(text: string): void {
    const said = text.trim();
    if (!said || this.store.state.phase !== "in-call") return;
    this.transport?.flush();
    this.transport?.send("text", { text: said });
    this.store.dispatch({ type: "typed", text: said });
  }

  /** Say something with an audio file. What is wrong with it is shown; what is right comes back as a transcript. */
  async sendFile(file: File): Promise<void> {
    const { phase, sessionId, config } = this.store.state;
    if (phase !== "in-call" || !sessionId) return;
    const limit = config?.upload_max_bytes ?? Infinity;
    try {
      if (file.size > limit) throw new Refused(413, `The file is larger than ${Math.round(limit / 1e6)} MB.`);
      await sendAudio(sessionId, file);
    } catch (e) {
      const body = e instanceof Refused ? sentence(e.detail) : "The server could not be reached.";
      const banner = { tone: "notice" as const, title: "The file was not taken", body, actions: ["dismiss" as const] };
      this.store.dispatch({ type: "banner", banner });
    }
  }

  interrupt(): void {
    if (this.store.state.phase !== "in-call") return;
    this.transport?.flush();
    this.transport?.send("interrupt", {});
  }

  setMuted(muted: boolean): void {
    this.microphone.muted = muted;
    this.store.dispatch({ type: "muted", muted });
  }

  chooseLevel(level: Level): void {
    this.preferences.set("level", level);
    this.store.dispatch({ type: "chose", level });
    this.transport?.send("set_level", { level });
  }

  chooseLesson(lesson: string): void {
    this.preferences.set("lesson", lesson);
    this.store.dispatch({ type: "chose", lesson });
    this.transport?.send("set_lesson", { lesson });
  }

  setOption(name: OptionName, value: number): void {
    this.preferences.set("options", { ...this.preferences.get("options"), [name]: value });
    this.transport?.send("set_options", { [name]: value });
  }

  async resumePlayback(): Promise<void> {
    await this.transport?.resumePlayback();
    this.store.dispatch({ type: "banner", banner: null });
  }

  private async connect(attempt: AbortController, resume: Resume | null): Promise<void> {
    const wanted = this.preferences.get("connection");
    const canWebRTC = typeof RTCPeerConnection !== "undefined" && window.isSecureContext;
    let next = resume;
    if (wanted === "webrtc" || (wanted === "auto" && canWebRTC)) {
      const { WebRTCTransport, isFinal } = await import("./transport/webrtc");
      const transport: InstanceType<typeof WebRTCTransport> = new WebRTCTransport(this.eventsOf(() => transport));
      try {
        await this.bring(transport, attempt, resume);
        return;
      } catch (e) {
        if (attempt.signal.aborted || isFinal(e) || wanted === "webrtc") throw e;
        // The server may have opened a session to which no media found its way: go on with that one.
        const { session_id, resume_token } = transport.answer ?? {};
        if (!next && session_id && resume_token) next = { token: resume_token, sessionId: session_id, required: false };
      }
    }
    const transport: WebSocketTransport = new WebSocketTransport(this.eventsOf(() => transport));
    await this.bring(transport, attempt, next);
  }

  private async bring(transport: Transport, attempt: AbortController, resume: Resume | null): Promise<void> {
    const { config, level, lesson } = this.store.state;
    if (!config) throw new Error("The server's settings have not arrived yet");
    await this.drop();
    this.transport = transport;
    const options: ConnectOptions = {
      level,
      lesson,
      record: this.preferences.get("record"),
      options: wantedOptions(config, this.preferences.get("options")),
      resume,
      iceServers: config.ice_servers,
      inputRateHz: config.audio.input_rate,
      outputRateHz: config.audio.output_rate,
      track: this.microphone.copy(),
      speakerId: this.preferences.get("speakerId"),
      signal: attempt.signal,
    };
    await transport.connect(options);
    if (attempt.signal.aborted) {
      await transport.close();
      throw attempt.signal.reason;
    }
    this.store.dispatch({ type: "online", transport: transport.kind, at: Date.now() });
  }

  /** Events of a transport count only while it is the current one. */
  private eventsOf(self: () => Transport): TransportEvents {
    return {
      onMessage: (message) => {
        if (this.transport === self()) this.receive(message);
      },
      onLost: () => {
        if (this.transport === self()) void this.reconnect();
      },
      onPlaybackBlocked: () => {
        const banner = {
          tone: "notice" as const,
          title: "Your browser is holding back the sound",
          body: "It waits for a click before this page may play anything.",
          actions: ["play" as const],
        };
        if (this.transport === self()) this.store.dispatch({ type: "banner", banner });
      },
    };
  }

  private receive(message: ServerMessage): void {
    if (message.type === "analysis") {
      this.analysis = message.data;
      this.onAnalysis?.();
      if (this.store.state.phase === "in-call") void this.report("The tutor ended the call. Here is the report.");
      return;
    }
    if (message.type === "recording_stopped") {
      const banner = { tone: "notice" as const, title: sentence(message.reason), body: "", actions: ["dismiss" as const] };
      this.store.dispatch({ type: "banner", banner });
    }
    if (message.type === "error" && this.store.state.phase === "in-call") {
      const banner = { tone: "notice" as const, title: sentence(message.message), body: "", actions: ["dismiss" as const] };
      this.store.dispatch({ type: "banner", banner });
    }
    this.store.dispatch({ type: "message", message });
  }

  private async reconnect(): Promise<void> {
    const { phase, config, resumeToken, sessionId } = this.store.state;
    if (phase === "ending") {
      this.onAnalysis?.();
      return;
    }
    if (phase !== "in-call") return;
    const attempt = new AbortController();
    this.attempt = attempt;
    const ended = "The call was ended; here is the report.";
    this.store.dispatch({ type: "lost" });
    await this.drop();
    const deadline = performance.now() + (config?.resume_for_s ?? 30) * 1000;
    const resume = resumeToken && sessionId ? { token: resumeToken, sessionId, required: true } : null;
    for (let n = 0; resume && performance.now() < deadline; n++) {
      await pause(RETRY_MS[Math.min(n, RETRY_MS.length - 1)]!);
      if (attempt.signal.aborted) return;
      try {
        await this.connect(attempt, resume);
        return;
      } catch (e) {
        if (attempt.signal.aborted) return;
        // The session is gone: nothing is left to return to. Anything else may pass.
        if (e instanceof Refused && [401, 403, 404, 409, 410, 422].includes(e.status)) break;
      }
    }
    await this.report(ended);
  }

  private async report(notice: string | null): Promise<void> {
    const { sessionId } = this.store.state;
    this.attempt?.abort(new Error("ended"));
    this.onAnalysis = null;
    this.store.dispatch({ type: "reporting", notice, at: Date.now() });
    await this.drop();
    this.microphone.close();
    this.store.dispatch({ type: "mic", status: "unknown" });
    const record = sessionId ? await getSession(sessionId).catch(() => null) : null;
    const data = this.analysis ?? (sessionId ? await getReport(sessionId).catch(() => null) : null);
    this.store.dispatch({ type: "reported", data, record });
  }

  private async drop(): Promise<void> {
    const transport = this.transport;
    this.transport = null;
    await transport?.close();
  }

  private complain(problem: MicProblem): void {
    this.store.dispatch({ type: "banner", banner: micBanner(problem) });
  }
}

const pause = (ms: number): Promise<void> => new Promise((resolve) => setTimeout(resolve, ms));
