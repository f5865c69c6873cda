/** A name whose answers change between the check and the connection, asked of a real name server and called by the real sender. */
import { expect, test } from 'vitest';
import { useSender } from '../webhook/sender-fixture.ts';
import { judgeRebound } from './rebound-name.ts';

const { serveHttp, makeSender } = useSender();

/** @param answers to one question after the other; the last one stands. */
async function set(allow: string, answers: string[]) {
  const { dns, policy } = await judgeRebound(allow, answers);
  const served = await serveHttp((_request, response) => void response.writeHead(204, { connection: 'close' }).end());
  const sender = makeSender({ resolve: policy.resolveWebhook, timeoutMs: 5_000 });
  const url = `http://rebind.example:${served.port}/hook`;
  return { dns, policy, served, post: () => sender.post(url, {}, Buffer.from('{}')), url };
}

test('is not followed to this machine, whatever it was when it was checked', async () => {
  const { dns, policy, served, post } = await set('8.8.8.8/32:*', ['8.8.8.8', '127.0.0.1']);
  expect(await policy.resolveWebhook('rebind.example', 443)).toEqual([{ address: '8.8.8.8', family: 4 }]);
  const answer = await post();
  expect(answer.status).toBeNull();
  expect(answer.detail).toContain('POPBRIDGE_EGRESS_ALLOW');
  expect(answer.detail).not.toContain('127.0.0.1');
  expect(served.sockets).toHaveLength(0);
  expect(dns.asked).toEqual(['A rebind.example', 'A rebind.example']);
});

test('leads to the address that was checked, as no second question is asked on the way to the connection', async () => {
  const { dns, served, post } = await set('127.0.0.1/32:*', ['127.0.0.1', '10.0.0.1']);
  expect((await post()).status).toBe(204);
  expect(served.sockets).toHaveLength(1);
  expect(dns.asked).toEqual(['A rebind.example']);
  // And is judged anew for the next one.
  expect((await post()).status).toBeNull();
  expect(dns.asked).toEqual(['A rebind.example', 'A rebind.example']);
  expect(served.sockets).toHaveLength(1);
});

test('to the metadata of a cloud is refused even where the name is allowed', async () => {
  const { served, post } = await set('rebind.example:*', ['169.254.169.254']);
  expect((await post()).status).toBeNull();
  expect(served.sockets).toHaveLength(0);
});

test('a name that leads inside is answered the same whether something listens there or not, and is not connected to', async () => {
  // A rule by CIDR: on any port it takes the name server to tell.
  const { dns, served, policy, post } = await set('8.8.8.8/32:*', ['127.0.0.1']);
  const { port: closed, close } = await serveHttp(() => {});
  await close();
  const sender = makeSender({ resolve: policy.resolveWebhook, timeoutMs: 5_000 });
  const at = async (port: number) => {
    const { phases, ...answer } = await sender.post(`https://rebind.example:${port}/`, {}, Buffer.from('{}'));
    expect(phases).toMatchObject({ dnsMs: null, connectMs: null, tlsMs: null, firstByteMs: null });
    return JSON.parse(JSON.stringify(answer).replaceAll(String(port), 'PORT')) as object;
  };
  const open = await at(served.port);
  expect(open).toMatchObject({ status: null, remoteAddress: null });
  expect(await at(closed)).toEqual(open);
  expect(JSON.stringify(open)).not.toContain('127.0.0.1');
  expect((await post()).remoteAddress).toBeNull();
  expect(dns.asked).toHaveLength(3);
  expect(served.sockets).toHaveLength(0);
});
