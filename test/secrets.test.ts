/** The canary: planted secrets must come out nowhere, whatever the service is told and whoever answers it. */
import { randomBytes } from 'node:crypto';
import { readdir, readFile } from 'node:fs/promises';
import { join } from 'node:path';
import { Redis } from 'ioredis';
import { afterAll, beforeAll, expect, it } from 'vitest';
import { startWebhookReceiver, type WebhookReceiver } from '../src/sandbox/webhook-receiver.ts';
import { createContractChecker } from './support/contract.ts';
import { startFakePop3, type FakePop3 } from './support/fake-pop3.ts';
import { startProxy, type TestProxy } from './support/proxy.ts';
import { startService, type ApiOptions, type ApiResponse, type Service } from './support/service.ts';

const canary = (): string => `canary${randomBytes(15).toString('hex')}`;
const operatorKey = canary();
const password = canary();
/** In characters that an encoding may change on their way out and back. */
const wrongPassword = `${canary()}-äß€-${canary()}`;
const masterKey = randomBytes(32);
const gatewayToken = canary();
const webhookKey = randomBytes(32);
const proxyPassword = canary();
const SECRETS: Readonly<Record<string, readonly Buffer[]>> = {
  'operator key': [Buffer.from(operatorKey)],
  'master key': [masterKey, Buffer.from(masterKey.toString('base64'))],
  password: [Buffer.from(password)],
  'extra header': [Buffer.from(gatewayToken)],
  'wrong password': wrongPassword.split('-äß€-').map((half) => Buffer.from(half)),
  'password of the egress proxy': [Buffer.from(proxyPassword)],
  'webhook secret': [webhookKey, Buffer.from(webhookKey.toString('base64'))],
};

let service: Service;
let pop3: FakePop3;
let receiver: WebhookReceiver;
let proxy: TestProxy;
/** Everything that came out, by where. */
const seen = new Map<string, Buffer>();
let calls = 0;

beforeAll(async () => {
  receiver = await startWebhookReceiver();
  // It repeats what it is told, at every step, as a real server's error texts do.
  let heard = '';
  pop3 = await startFakePop3({
    mails: ['Subject: one\r\n\r\n1\r\n', 'Subject: two\r\n\r\n2\r\n'],
    on: {
      PASS: (args, session) => {
        heard = args;
        if (args !== password) return `-ERR [AUTH] "PASS ${args}" is not right`;
        session.logIn();
        return `+OK welcome, you said PASS ${args}`;
      },
      STAT: () => `+OK 2 30 ${heard}`,
      'RETR 2': () => `-ERR not to you who said ${heard}`,
      QUIT: () => ({ bytes: `+OK goodbye, ${heard}`, after: 'close' }),
    },
  });
  // Its first refusals repeat the login that it was shown.
  let asked = 0;
  proxy = await startProxy({
    kind: 'http',
    account: { user: 'ann', password: proxyPassword },
    refuse: () => [407, 502, 400][asked++],
  });
  service = await startService({
    env: {
      POPBRIDGE_EGRESS_PROXY: `http://ann:${proxyPassword}@127.0.0.1:${proxy.port}`,
      POPBRIDGE_OPERATOR_KEY: operatorKey,
      POPBRIDGE_MASTER_KEYS: `k1:${masterKey.toString('base64')}`,
      POPBRIDGE_LOG_LEVEL: 'trace',
    },
  });
});

afterAll(async () => {
  await service?.close();
  await pop3?.close();
  await receiver?.close();
  await proxy?.close();
});

it('planted secrets appear in no output, answer, webhook, Redis key or file', async () => {
  const fetchWith = (secret: string) => ({
    source: { host: pop3.host, port: pop3.port, tls: 'none', username: 'ann', password: secret },
    webhook: { url: receiver.url, secret: `whsec_${webhookKey.toString('base64')}` },
  });

  // While it runs: the credentials are sealed in Redis, and the job holds ids only.
  const hold = pop3.hold('RETR 1');
  const { id } = (await call('POST', '/v1/fetches', { body: fetchWith(password) })).asFetch();
  await hold.reached;
  const sealed = await dumpRedis('during');
  expect(sealed).toContain(`pb:{default/${id}}:credentials`);
  expect(sealed).toContain(`{"tenant":"default","id":"${id}"}`);
  hold.release();
  const right = (await call('GET', `/v1/fetches/${id}`, { headers: { prefer: 'wait=30' } })).asFetch();
  expect(right).toMatchObject({ state: 'succeeded', counts: { retrieved: 1, failed: 1 } });
  const [message] = (await call('GET', `/v1/fetches/${id}/messages`)).asPage().items;
  const links = await call('POST', `/v1/messages/${message!.id}/links`, { body: {} });
  await call('GET', (links.json() as { raw: string }).raw, { key: null });

  const wait = { prefer: 'wait=30' };
  const wrong = (await call('POST', '/v1/fetches', { body: fetchWith(wrongPassword), headers: wait })).asFetch();
  expect(wrong).toMatchObject({ state: 'failed', error: { code: 'upstream_auth_failed' } });
  // What the server says is worth quoting, without the secret.
  expect(wrong.error?.detail).toContain('is not right');

  // Stored, changed, fetched, and shown.
  const source = { host: pop3.host, port: pop3.port, tls: 'none', username: 'bob', password };
  const made = await call('POST', '/v1/mailboxes', { body: { source, schedule: { every: '1h' } } });
  const { id: mailbox } = made.json() as { id: string };
  await call('PATCH', `/v1/mailboxes/${mailbox}`, { body: { source: { password: wrongPassword } } });
  const refused = (await call('POST', `/v1/mailboxes/${mailbox}/fetches`, { headers: wait })).asFetch();
  expect(refused).toMatchObject({ state: 'failed', error: { code: 'upstream_auth_failed' } });
  expect((await call('GET', `/v1/mailboxes/${mailbox}`)).text).toContain('is not right');
  await call('PATCH', `/v1/mailboxes/${mailbox}`, {
    body: { source: { password, host: [password] }, limits: password },
  });
  await call('GET', '/v1/mailboxes');

  // The extra headers of a webhook are as secret as what signs it.
  const hook = await call('POST', '/v1/webhooks', { body: { url: receiver.url, headers: { 'x-key': gatewayToken } } });
  const { webhook: subscribed } = hook.json() as { webhook: { id: string } };
  await call('PATCH', `/v1/webhooks/${subscribed.id}`, { body: { headers: { 'x-key': `${gatewayToken}\n` } } });
  await call('GET', '/v1/webhooks');
  await call('POST', `/v1/webhooks/${subscribed.id}/secret/rotate`, { body: {} });

  await call('POST', `/v1/webhooks/${subscribed.id}/test`);

  // Every way to be refused.
  await call('POST', '/v1/fetches', { body: JSON.stringify(fetchWith(password)).slice(0, -5) });
  await call('POST', '/v1/fetches', { body: { source: { password: [password] } } });
  await call('POST', '/v1/fetches', {
    body: { ...fetchWith(`${password}\r\n`), delete: webhookKey.toString('base64') },
  });
  await call('POST', '/v1/fetches', { body: fetchWith(password), key: `${operatorKey}x` });
  await call('GET', '/v1/nowhere', { headers: { authorization: `Basic ${operatorKey}` }, key: null });
  await call('GET', '/readyz');

  for (const [index, webhook] of (await receiver.waitFor(1, 20_000)).entries()) {
    createContractChecker().checkWebhook(webhook);
    see(`webhook ${index}`, JSON.stringify(webhook.headers), webhook.body);
  }
  // Through the proxy, which has refused three times before.
  expect(proxy.targets.length).toBeGreaterThan(3);
  const after = await dumpRedis('after');
  for (const { id } of [right, wrong]) expect(after).not.toContain(`{default/${id}}:credentials`);
  expect(await service.kill('SIGTERM')).toMatchObject({ code: 0 });
  see('stdout', service.output().stdout);
  see('stderr', service.output().stderr);
  await seeFiles();

  const found = [...seen].flatMap(([place, bytes]) =>
    Object.entries(SECRETS).flatMap(([name, forms]) =>
      forms.some((form) => encodings(form).some((text) => bytes.includes(text))) ? [`${name} in ${place}`] : [],
    ),
  );
  expect(found).toEqual([]);
  // The search itself: it reaches what was really written, and finds what is hidden in base64.
  expect([...seen.keys()].some((place) => place.endsWith('.aof'))).toBe(true);
  expect([...seen.keys()].some((place) => place.endsWith('.blob'))).toBe(true);
  const plain = Buffer.from(`\0ann\0${password}`);
  for (const form of ['base64', 'base64url', 'hex', 'utf8'] as const) {
    expect(encodings(password).some((text) => plain.toString(form).includes(text.toString()))).toBe(true);
  }
});

function see(place: string, ...parts: (string | Buffer)[]): void {
  seen.set(place, Buffer.concat(parts.map((part) => Buffer.from(part))));
}

async function call(method: string, path: string, options: ApiOptions = {}): Promise<ApiResponse> {
  const answer = await service.api(method, path, options);
  calls += 1;
  see(`answer ${calls}: ${method} ${path} ${answer.status}`, JSON.stringify(answer.headers), answer.bytes);
  return answer;
}

/** All of Redis as text: what is in every key, job payloads and event streams included. */
async function dumpRedis(when: string): Promise<string> {
  const redis = new Redis(join(service.dataDir, 'redis', 'redis.sock'));
  const entries: unknown[] = [];
  for (const key of await redis.keys('*')) entries.push([key, await readKey(redis, key)]);
  redis.disconnect();
  const text = entries.map((entry) => JSON.stringify(entry).replaceAll('\\"', '"')).join('\n');
  see(`Redis ${when}`, text);
  return text;
}

async function readKey(redis: Redis, key: string): Promise<unknown> {
  const type = await redis.type(key);
  switch (type) {
    case 'string':
      return redis.get(key);
    case 'hash':
      return redis.hgetall(key);
    case 'list':
      return redis.lrange(key, '0', '-1');
    case 'set':
      return redis.smembers(key);
    case 'zset':
      return redis.zrange(key, '0', '-1');
    case 'stream':
      return redis.xrange(key, '-', '+');
    case 'none': // A timer that has run out since.
      return null;
    default:
      throw new Error(`${key} is of the type ${type}, which this test cannot read`);
  }
}

async function seeFiles(): Promise<void> {
  for (const entry of await readdir(service.dataDir, { recursive: true, withFileTypes: true })) {
    const path = join(entry.parentPath, entry.name);
    if (entry.isFile()) see(path.slice(service.dataDir.length), await readFile(path));
  }
}

/** The secret as it is, in hex, and as it looks in base64, at whatever place of a longer text it stands. */
function encodings(secret: string | Buffer): Buffer[] {
  const bytes = Buffer.from(secret);
  const hex = bytes.toString('hex');
  const base64 = [0, 1, 2].flatMap((offset) => {
    const shifted = Buffer.concat([Buffer.alloc(offset), bytes]);
    const whole = shifted.subarray(0, shifted.length - (shifted.length % 3));
    // The first four characters hold what stands before as well.
    return (['base64', 'base64url'] as const).map((form) => whole.toString(form).slice(offset === 0 ? 0 : 4));
  });
  return [bytes, ...[hex, hex.toUpperCase(), ...base64].map((text) => Buffer.from(text))];
}
