// One session of @openai/agents over a WebSocket: says what it is told to, and prints what happens, a line of JSON each.
import { RealtimeAgent, RealtimeSession, tool } from '@openai/agents/realtime';
import { z } from 'zod';
import { readFileSync } from 'node:fs';

const plan = JSON.parse(process.argv[2]);
const print = (event, data) => process.stdout.write(JSON.stringify({ event, data: data ?? null }) + '\n');
const called = [];
const weather = tool({
  name: 'get_weather',
  description: 'The weather in a city.',
  parameters: z.object({ city: z.string() }),
  execute: async ({ city }) => {
    called.push(city);
    return `clear in ${city}`;
  },
});
const agent = new RealtimeAgent({ name: 'Tutor', instructions: plan.instructions ?? '', tools: plan.tools ? [weather] : [] });
const session = new RealtimeSession(agent, { transport: 'websocket' });
let audioBytes = 0;
session.on('audio', (event) => (audioBytes += event.data.byteLength));
session.on('error', (event) => print('error', String(event.error?.error?.message ?? JSON.stringify(event.error))));
session.on('audio_interrupted', () => print('interrupted'));
const over = () =>
  new Promise((resolve) => {
    const done = (event) => {
      // A response that only asks for a function is followed by another one.
      if (!event.response.output.some((item) => item.type === 'function_call')) {
        session.transport.off('turn_done', done);
        resolve();
      }
    };
    session.transport.on('turn_done', done);
  });

await session.connect({ apiKey: plan.key ?? 'none', url: plan.url });
print('connected');
for (const step of plan.steps) {
  const answered = over();
  if (step.text) session.sendMessage(step.text);
  if (step.beside) {
    session.transport.on('*', (event) => event.type === 'response.output_text.done' && print('beside', event.text));
    session.transport.sendEvent({ type: 'response.create', response: step.beside });
  }
  if (step.wav) {
    const pcm16 = readFileSync(step.wav);
    for (let at = 0; at < pcm16.length + 96_000; at += 960) {
      const piece = new Uint8Array(960);
      piece.set(pcm16.subarray(at, at + 960));
      session.sendAudio(piece.buffer);
      await new Promise((resolve) => setTimeout(resolve, 20));
    }
  }
  if (step.interruptAfterBytes) {
    const enough = audioBytes + step.interruptAfterBytes;
    while (audioBytes < enough) await new Promise((resolve) => setTimeout(resolve, 10));
    session.interrupt();
  }
  await answered;
  await new Promise((resolve) => setTimeout(resolve, 300));
  print('answered', { audioBytes });
}
print('history', session.history);
print('called', called);
session.close();
