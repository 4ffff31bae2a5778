/**
 * The one place that touches private parts of `@pipecat-ai/small-webrtc-transport` (pinned in package.json).
 *
 * Out of the box it opens a microphone through Daily's SDK, and answers a lost connection or a 5xx with retries of its own.
 * The page opens the microphone itself, and a lost call is resumed as a new connection of the same session.
 */
import type { SmallWebRTCTransport, SmallWebRTCTransportConstructorOptions } from "@pipecat-ai/small-webrtc-transport";

type MediaManager = NonNullable<SmallWebRTCTransportConstructorOptions["mediaManager"]>;

export interface OfferAnswer {
  session_id?: string;
  resume_token?: string;
}

/** A media manager that gives out a track and does nothing else. */
export function mediaOf(track: () => MediaStreamTrack | null): MediaManager {
  const nothing = () => Promise.resolve();
  const manager = {
    initialize: nothing,
    connect: nothing,
    disconnect: nothing,
    setClientOptions: () => {},
    setUserAudioCallback: () => {},
    userStartedSpeaking: nothing,
    bufferBotAudio: () => undefined,
    getAllMics: () => Promise.resolve([]),
    getAllCams: () => Promise.resolve([]),
    getAllSpeakers: () => Promise.resolve([]),
    updateMic: () => {},
    updateCam: () => {},
    updateSpeaker: () => {},
    selectedMic: {},
    selectedCam: {},
    selectedSpeaker: {},
    enableMic: () => {},
    enableCam: () => {},
    enableScreenShare: () => {},
    isCamEnabled: false,
    // True even without a microphone: the server then finds a silent track instead of a closed one.
    isMicEnabled: true,
    isSharingScreen: false,
    supportsScreenShare: false,
    tracks: () => {
      const audio = track();
      return { local: audio ? { audio } : {} };
    },
  };
  return manager as unknown as MediaManager;
}

interface Internals {
  createPeerConnection(): RTCPeerConnection;
  negotiate(recreate?: boolean): Promise<void>;
  attemptReconnection(recreate?: boolean): Promise<void>;
  stop(error?: unknown): Promise<void>;
  buildTransportStartError(): unknown;
  pc: RTCPeerConnection | null;
  _lastNegotiationError: unknown;
}

export interface Hooks {
  /** Called with each peer connection before anything happens on it. */
  onPeer(pc: RTCPeerConnection): void;
  onAnswer(answer: OfferAnswer): void;
  onLost(reason: string): void;
}

/** Take the retries out of a transport, and let its peer connection and the server's answer be seen. */
export function tame(transport: SmallWebRTCTransport, hooks: Hooks): void {
  const inner = transport as unknown as Internals;
  const create = inner.createPeerConnection.bind(inner);
  const negotiate = inner.negotiate.bind(inner);
  const attempt = inner.attemptReconnection.bind(inner);

  inner.createPeerConnection = () => {
    const pc = create();
    const setRemote = pc.setRemoteDescription.bind(pc);
    pc.setRemoteDescription = async (answer: RTCSessionDescriptionInit) => {
      hooks.onAnswer(answer as OfferAnswer);
      await setRemote(answer);
    };
    hooks.onPeer(pc);
    return pc;
  };
  inner.negotiate = async (recreate?: boolean) => {
    await negotiate(recreate);
    // A 4xx has stopped it already; anything else would be tried again in 2 s.
    if (inner._lastNegotiationError && inner.pc) await inner.stop(inner.buildTransportStartError());
  };
  inner.attemptReconnection = async (recreate?: boolean) => {
    if (recreate) hooks.onLost("ICE failed");
    else await attempt(false);
  };
}
