// The SDK's own transports in a browser, with its media manager that needs nothing from elsewhere.
import { PipecatClient, RTVIEvent } from "@pipecat-ai/client-js";
import { SmallWebRTCTransport, WavMediaManager as RtcMedia } from "@pipecat-ai/small-webrtc-transport";
import { WavMediaManager, WebSocketTransport } from "@pipecat-ai/websocket-transport";

window.told = [];
window.begin = async (kind, endpoint, requestData) => {
  const transport =
    kind === "webrtc"
      ? new SmallWebRTCTransport({ mediaManager: new RtcMedia() })
      : new WebSocketTransport({ mediaManager: new WavMediaManager(512, 16_000) });
  window.client = new PipecatClient({ transport, enableMic: true, enableCam: false });
  for (const event of Object.values(RTVIEvent)) window.client.on(event, (data) => {
    if (!event.toLowerCase().includes("track")) window.told.push([event, data ?? null]);
  });
  const ready = await window.client.startBotAndConnect({ endpoint, requestData });
  return ready.version;
};
