// A client of the released SDK in Node: told on its standard input what to do, it writes what happens on its standard output.
// Node has no microphone and no loudspeaker, so that the transport is given (by its own option) a media manager without them.
import { createInterface } from "node:readline";

import { PipecatClient, RTVIEvent } from "@pipecat-ai/client-js";
import { WebSocketTransport } from "@pipecat-ai/websocket-transport";

globalThis.window ??= globalThis; // The SDK asks it what browser this is.
const RATE_HZ = 16_000;
const PIECE_BYTES = (RATE_HZ / 50) * 2;
const tell = (event, data = null) => process.stdout.write(`${JSON.stringify({ event, data })}\n`);
// The SDK writes its log to the console, which is the tests' own channel.
for (const level of ["debug", "info", "log", "warn", "error"]) console[level] = (...what) => process.stderr.write(`${what}\n`);

class Media {
  samples = 0;
  isMicEnabled = true;
  isCamEnabled = false;
  #said = Buffer.alloc(0);
  #timer = null;

  setUserAudioCallback(callback) {
    this.callback = callback;
  }
  setClientOptions() {}
  async initialize() {}
  async connect() {
    const began = performance.now();
    let sent = 0;
    this.#timer = setInterval(() => {
      for (; sent * 20 < performance.now() - began; sent += 1) {
        const piece = Buffer.alloc(PIECE_BYTES);
        this.#said.copy(piece, 0, 0, PIECE_BYTES);
        this.#said = this.#said.subarray(PIECE_BYTES);
        this.callback(piece.buffer.slice(piece.byteOffset, piece.byteOffset + PIECE_BYTES));
      }
    }, 20);
  }
  async disconnect() {
    clearInterval(this.#timer);
  }
  bufferBotAudio(pcm16) {
    this.samples += pcm16.length;
  }
  say(pcm16) {
    this.#said = Buffer.concat([this.#said, pcm16]);
  }
  enableMic() {}
  tracks() {
    return { local: {} };
  }
  async getAllMics() {
    return [];
  }
  async getAllCams() {
    return [];
  }
  async getAllSpeakers() {
    return [];
  }
}

const media = new Media();
const client = new PipecatClient({ transport: new WebSocketTransport({ mediaManager: media }), enableMic: true });
for (const event of Object.values(RTVIEvent)) {
  client.on(event, (data) => tell(event, event === RTVIEvent.Error ? data?.data : data));
}

const deeds = {
  connect: async ({ params }) => client.connect(params),
  start: async ({ endpoint, requestData }) => client.startBotAndConnect({ endpoint, requestData }),
  text: async ({ content, options }) => client.sendText(content, options),
  say: async ({ pcm16 }) => media.say(Buffer.from(pcm16, "base64")),
  message: async ({ t, d }) => client.sendClientMessage(t, d),
  request: async ({ t, d }) => client.sendClientRequest(t, d, 5_000),
  disconnectBot: async () => client.disconnectBot(),
  disconnect: async () => client.disconnect(),
  handle: async ({ name, result }) => client.registerFunctionCallHandler(name, async (call) => ({ ...result, given: call.arguments })),
  heard: async () => media.samples,
};

const lines = createInterface({ input: process.stdin });
lines.on("line", async (line) => {
  const { id, deed, ...fields } = JSON.parse(line);
  try {
    tell("done", { id, result: (await deeds[deed](fields)) ?? null });
  } catch (e) {
    tell("failed", { id, reason: String(e?.message ?? e?.data?.error ?? JSON.stringify(e)) });
  }
});
lines.on("close", () => process.exit(0));
