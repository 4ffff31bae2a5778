/** What the call needs of a connection, whichever way it goes. */
import type { OptionChoices } from "../options";
import type { ClientFields, ClientType, Level, ServerMessage, TransportKind } from "../protocol";

export interface Resume {
  token: string;
  sessionId: string;
  /** Another session will not do: the learner has spoken in this one. */
  required: boolean;
}

export interface ConnectOptions {
  level: Level;
  lesson: string;
  /** False: the learner does not want to be recorded. */
  record: boolean;
  /** Of a new session; one that is taken up keeps its own. */
  options: OptionChoices;
  /** The session to go on with. */
  resume: Resume | null;
  iceServers: RTCIceServer[];
  inputRateHz: number;
  outputRateHz: number;
  /** The learner's track, owned by the transport from now on; null without a microphone. */
  track: MediaStreamTrack | null;
  speakerId: string;
  /** Aborting ends the attempt at once. */
  signal: AbortSignal;
}

export interface TransportEvents {
  onMessage(message: ServerMessage): void;
  /** The connection is gone and `close` was not called. Called once. */
  onLost(reason: string): void;
  /** The browser refused to play sound before the person touches the page. */
  onPlaybackBlocked(): void;
}

export interface Transport {
  readonly kind: TransportKind;
  /** Resolves when messages and sound flow. Throws `Refused` where the server said no. */
  connect(options: ConnectOptions): Promise<void>;
  send<T extends ClientType>(type: T, fields: ClientFields[T]): void;
  /** Put another microphone in place; the transport owns the track. */
  setTrack(track: MediaStreamTrack | null): Promise<void>;
  setSpeaker(deviceId: string): Promise<void>;
  /** Stop sound that has arrived and not been played, where that is this side's to do. */
  flush(): void;
  /** Try again to play, from a click. */
  resumePlayback(): Promise<void>;
  /** Loudness of the tutor's voice now, 0..1. */
  level(): number;
  close(): Promise<void>;
}
