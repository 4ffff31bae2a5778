/** The learner's microphone: one open stream for the page, a level, and copies of its track for transports. */
import { audioContext } from "./context";
import { LevelTap } from "./level";

export const canCapture = (): boolean => window.isSecureContext && navigator.mediaDevices?.getUserMedia !== undefined;

export class Microphone {
  private stream: MediaStream | null = null;
  private tap: LevelTap | null = null;
  private source: MediaStreamAudioSourceNode | null = null;
  private isMuted = false;
  private copies = new Set<MediaStreamTrack>();
  /** Called when the device goes away while it is in use. */
  onUnplugged: (() => void) | null = null;

  get isOpen(): boolean {
    return this.stream !== null;
  }

  /** The device in use, as `enumerateDevices` names it. */
  get deviceId(): string | undefined {
    return this.stream?.getAudioTracks()[0]?.getSettings().deviceId;
  }

  /** Open a device, the browser's choice if none is named. Throws what `getUserMedia` throws. */
  async open(deviceId?: string): Promise<void> {
    const audio: MediaTrackConstraints = {
      echoCancellation: true,
      noiseSuppression: true,
      autoGainControl: true,
      channelCount: 1,
    };
    // "exact", since without it another device would be opened silently; the caller falls back where that is wanted.
    if (deviceId) audio.deviceId = { exact: deviceId };
    const stream = await navigator.mediaDevices.getUserMedia({ audio });
    this.close();
    this.stream = stream;
    const track = stream.getAudioTracks()[0]!;
    track.addEventListener("ended", () => {
      if (this.stream !== stream) return;
      this.close();
      this.onUnplugged?.();
    });
    const context = audioContext();
    void context.resume();
    this.source = context.createMediaStreamSource(stream);
    this.tap = new LevelTap(this.source);
  }

  /** A copy of the track that its holder may stop; muted and unmuted with the microphone. */
  copy(): MediaStreamTrack | null {
    const track = this.stream?.getAudioTracks()[0]?.clone() ?? null;
    if (track) {
      track.enabled = !this.isMuted;
      this.copies.add(track);
    }
    return track;
  }

  /** Muted, the transports send silence: the server's clock goes on and a pending turn ends. */
  set muted(muted: boolean) {
    this.isMuted = muted;
    for (const track of this.copies) {
      if (track.readyState === "ended") this.copies.delete(track);
      else track.enabled = !muted;
    }
  }

  /** 0..1; what the microphone hears, muted or not, so that a meter can show that it works. */
  level(): number {
    return this.tap?.level() ?? 0;
  }

  close(): void {
    this.tap?.close();
    this.source?.disconnect();
    this.stream?.getTracks().forEach((t) => t.stop());
    this.tap = null;
    this.source = null;
    this.stream = null;
  }
}
