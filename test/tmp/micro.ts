import { Agent, request } from 'undici';
import { createSender } from '../../src/webhook/sender.ts';
import { startProgram, hear } from '../bench/webhooks/stage.ts';
const receiver = startProgram('receiver.ts');
const { port } = await hear<any>(receiver);
const url = `http://127.0.0.1:${port}/x`;
const body = 'x'.repeat(1500);
const agent = new Agent({ connections: 20, pipelining: 1 });
const sender = createSender({
  resolve: async () => [{ address: '127.0.0.1', family: 4 }] as any,
  proxy: undefined as any,
  userAgent: 'popbridge/1',
});
const headers = {
  'webhook-id': 'evt_0123456789',
  'webhook-timestamp': '1234567890',
  'webhook-signature': 'v1,' + 'a'.repeat(44),
};
const all: Record<string, () => Promise<unknown>> = {
  async bare() {
    const a = await request(url, {
      method: 'POST',
      dispatcher: agent,
      headers: { 'content-type': 'application/json', 'user-agent': 'popbridge/1', ...headers },
      body: Buffer.from(body),
    });
    await a.body.dump();
  },
  async bareSignal() {
    const a = await request(url, {
      method: 'POST',
      dispatcher: agent,
      headers: { 'content-type': 'application/json', 'user-agent': 'popbridge/1', ...headers },
      body: Buffer.from(body),
      signal: AbortSignal.timeout(15000),
    });
    await a.body.dump();
  },
  async bareText() {
    const a = await request(url, {
      method: 'POST',
      dispatcher: agent,
      headers: { 'content-type': 'application/json', 'user-agent': 'popbridge/1', ...headers },
      body: Buffer.from(body),
    });
    await a.body.text();
  },
  async sender() {
    const r = await sender.post(url, headers, Buffer.from(body), 15000);
    if (r.status !== 200) throw new Error(r.detail);
  },
};
const took: Record<string, number[]> = {};
for (let round = 0; round < 8; round++)
  for (const [name, one] of Object.entries(all)) {
    const before = process.cpuUsage();
    let left = 2000;
    await Promise.all(
      Array.from({ length: 20 }, async () => {
        while (left-- > 0) await one();
      }),
    );
    const { user, system } = process.cpuUsage(before);
    if (round > 1) (took[name] ??= []).push((user + system) / 2000);
  }
for (const [name, t] of Object.entries(took)) console.log(name, t.sort((a, b) => a - b)[3]!.toFixed(0));
process.exit();
