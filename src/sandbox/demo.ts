/**
 * `npm run demo`: popbridge from a mailbox to JSON and a verified webhook, on this machine alone.
 *
 * It runs the real service as a process of its own and talks to it over HTTP, as a user would. It owns the sandbox server,
 * the receiver and the words around them, and knows nothing of the service's inside.
 */
import { spawn, type ChildProcess } from 'node:child_process';
import { randomBytes } from 'node:crypto';
import { once } from 'node:events';
import { resolve } from 'node:path';
import { createInterface } from 'node:readline';
import { setTimeout as sleep } from 'node:timers/promises';
import { fileURLToPath } from 'node:url';
import { parseArgs, styleText } from 'node:util';
import { Webhook } from 'standardwebhooks';
import type { components } from '../contract.gen.ts';
import { findRedisServer } from '../redis/server-binary.ts';
import { sandboxMails } from './mails.ts';
import { startSandboxPop3, type SandboxPop3 } from './pop3-server.ts';
import { startWebhookReceiver, type ReceivedWebhook, type WebhookReceiver } from './webhook-receiver.ts';

type Fetch = components['schemas']['Fetch'];
type Message = components['schemas']['Message'];

const DATA_DIR = resolve('data');
const SERVICE_READY_MS = 60_000;
const WEBHOOKS_MS = 20_000;

interface Service {
  url: string;
  key: string;
  process: ChildProcess;
}

async function main(): Promise<void> {
  const { values } = parseArgs({ options: { keep: { type: 'boolean', default: false } } });
  const closers: (() => Promise<unknown>)[] = [];
  try {
    await demonstrate(values.keep, closers);
  } finally {
    for (const close of closers.toReversed()) await close();
  }
}

async function demonstrate(keep: boolean, closers: (() => Promise<unknown>)[]): Promise<void> {
  title('1. Starting: a sandbox POP3 server, a webhook receiver, and popbridge with its own Redis');
  const pop3 = await startSandboxPop3({ user: 'demo', password: 'sandbox-password', mails: sandboxMails() });
  closers.push(() => pop3.close());
  const receiver = await startWebhookReceiver();
  closers.push(() => receiver.close());
  const service = await startService();
  closers.push(() => stopService(service));
  console.log(`   POP3 server       ${pop3.host}:${pop3.port}, ${pop3.messageCount()} mails, user ${pop3.user}`);
  console.log(`   webhook receiver  ${receiver.url}`);
  console.log(`   popbridge         ${service.url}`);

  title('2. Submitting a fetch: POST /v1/fetches');
  const secret = `whsec_${randomBytes(32).toString('base64')}`;
  const fetched = await runFetch(service, pop3, receiver, secret);

  title(`3. The messages: GET /v1/fetches/${fetched.id}/messages`);
  const messages = await listMessages(service, fetched.id);
  console.table(messages.map(summarise));
  if (messages.length !== pop3.messageCount())
    throw new Error(`${messages.length} of ${pop3.messageCount()} mails came.`);

  title('4. One of them as JSON: GET /v1/messages/{id}');
  const example = messages.find(({ attachments }) => attachments.length > 1);
  if (!example) throw new Error('No mail with attachments came.');
  const { headers, ...rest } = await call<Message>(service, 'GET', `/v1/messages/${example.id}`);
  console.log(JSON.stringify({ ...rest, headers: headers.slice(0, 2) }, null, 2));
  console.log(`   (and ${headers.length - 2} more headers)`);

  title('5. The webhooks: message.received, signed by Standard Webhooks');
  const webhooks = await receiver.waitFor(messages.length, WEBHOOKS_MS);
  showWebhooks(webhooks, secret, messages);

  title('6. The same mail fetched again');
  const again = await runFetch(service, pop3, receiver, secret);
  const sameIds = JSON.stringify(await listIds(service, again.id)) === JSON.stringify(messages.map(({ id }) => id));
  if (!sameIds) throw new Error('The second fetch gave other message ids.');
  console.log('   The message ids are the same: a consumer can tell what it has seen.');

  title('Your own mailbox');
  console.log(explainOwnMailbox());
  if (keep) await keepRunning(service, pop3, receiver);
  else
    console.log(
      'The demo is done: everything worked. It stops what it started ("npm run demo -- --keep" leaves it running).',
    );
}

async function runFetch(
  service: Service,
  pop3: SandboxPop3,
  receiver: WebhookReceiver,
  secret: string,
): Promise<Fetch> {
  const { id } = await call<Fetch>(service, 'POST', '/v1/fetches', {
    source: { host: pop3.host, port: pop3.port, tls: 'none', username: pop3.user, password: pop3.password },
    delete: 'never',
    webhook: { url: receiver.url, secret },
  });
  let shown = '';
  for (;;) {
    const fetch = await call<Fetch>(service, 'GET', `/v1/fetches/${id}`);
    const { state, counts, bytes } = fetch;
    const line = `   ${id}  ${state.padEnd(9)}  ${counts.retrieved}/${counts.listed} messages, ${bytes.retrieved} bytes`;
    if (line !== shown) console.log(line);
    shown = line;
    if (state === 'succeeded') return fetch;
    if (state === 'failed' || state === 'cancelled') {
      throw new Error(`The fetch ended as ${state}: ${fetch.error?.code}: ${fetch.error?.detail}`);
    }
    await sleep(50);
  }
}

async function listMessages(service: Service, fetchId: string): Promise<readonly Message[]> {
  const page = await call<components['schemas']['MessagePage']>(
    service,
    'GET',
    `/v1/fetches/${fetchId}/messages?limit=100`,
  );
  return page.items;
}

async function listIds(service: Service, fetchId: string): Promise<string[]> {
  return (await listMessages(service, fetchId)).map(({ id }) => id);
}

function summarise({ from, subject, size, attachments, parse }: Message): Record<string, string | number> {
  return {
    from: from[0]?.name ?? from[0]?.address ?? '',
    subject: (subject ?? '').slice(0, 48),
    bytes: size,
    attachments: attachments.map(({ filename, contentType }) => filename ?? contentType).join(', '),
    parsed: parse.status,
  };
}

function showWebhooks(webhooks: readonly ReceivedWebhook[], secret: string, messages: readonly Message[]): void {
  const verifier = new Webhook(secret);
  const received = new Set<string>();
  for (const { body, headers } of webhooks) {
    const event = verifier.verify(body, signedHeaders(headers)) as components['schemas']['MessageReceivedEvent'];
    received.add(event.subject);
  }
  const missing = messages.filter(({ id }) => !received.has(id));
  if (missing.length > 0) throw new Error(`${missing.length} webhooks did not come.`);
  const [first] = webhooks;
  if (!first) throw new Error('No webhook came.');
  for (const [name, value] of Object.entries(signedHeaders(first.headers))) console.log(`   ${name}: ${value}`);
  console.log(`   ${first.body.toString('utf8').slice(0, 320)}...`);
  console.log(
    `   ${webhooks.length} webhooks came, one for each message. Signatures verified: all ${webhooks.length}.`,
  );
  if (verifies(verifier, Buffer.concat([first.body, Buffer.from(' ')]), first.headers)) {
    throw new Error('A forged webhook verified.');
  }
  console.log('   The same webhook with one byte more does not verify.');
}

function verifies(verifier: Webhook, body: Buffer, headers: ReceivedWebhook['headers']): boolean {
  try {
    verifier.verify(body, signedHeaders(headers));
    return true;
  } catch {
    return false;
  }
}

function signedHeaders(headers: ReceivedWebhook['headers']): Record<string, string> {
  const names = ['webhook-id', 'webhook-timestamp', 'webhook-signature'];
  return Object.fromEntries(names.map((name) => [name, String(headers[name] ?? '')]));
}

/** The real service as a process: in `data/demo`, on any free port, allowed to connect to this machine. */
async function startService(): Promise<Service> {
  const { env } = process;
  const key = randomBytes(24).toString('hex');
  const ownRedis = env['REDIS_URL'] === undefined;
  const child = spawn(process.execPath, [fileURLToPath(new URL('../main.ts', import.meta.url))], {
    env: {
      ...env,
      POPBRIDGE_ROLE: 'all',
      POPBRIDGE_HOST: '127.0.0.1',
      POPBRIDGE_PORT: '0',
      POPBRIDGE_DATA_DIR: resolve(DATA_DIR, 'demo'),
      POPBRIDGE_OPERATOR_KEY: key,
      POPBRIDGE_EGRESS_ALLOW: '127.0.0.0/8:*',
      POPBRIDGE_LOG_LEVEL: 'info',
      ...(ownRedis
        ? { POPBRIDGE_REDIS_SERVER: await findServer() }
        : { POPBRIDGE_MASTER_KEYS: `demo:${randomBytes(32).toString('base64')}` }),
    },
    stdio: ['ignore', 'pipe', 'pipe'],
    detached: true, // Ctrl-C reaches the demo alone, which then stops the service in order.
  });
  let complaints = '';
  child.stderr.on('data', (chunk: Buffer) => {
    complaints += chunk.toString();
  });
  const url = await Promise.race([
    readUrl(child),
    once(child, 'exit').then(() => {
      throw new Error(`popbridge did not start.\n${complaints}`);
    }),
    sleep(SERVICE_READY_MS, undefined, { ref: false }).then(() => {
      child.kill('SIGKILL');
      throw new Error(`popbridge was not ready within ${SERVICE_READY_MS / 1000} s.\n${complaints}`);
    }),
  ]);
  return { url, key, process: child };
}

/** Shares the binary in `./data` with `npm start`, so that it is unpacked once. */
function findServer(): Promise<string> {
  return findRedisServer({
    configuredPath: process.env['POPBRIDGE_REDIS_SERVER'],
    dataDir: DATA_DIR,
    env: process.env,
    onProgress: (text) => console.log(`   ${text}`),
  });
}

async function readUrl(child: ChildProcess): Promise<string> {
  if (!child.stdout) throw new Error('The service has no output.');
  const { promise, resolve: found } = Promise.withResolvers<string>();
  createInterface(child.stdout).on('line', (line) => {
    if (!line.includes('"Ready"')) return;
    found((JSON.parse(line) as { url: string }).url);
  });
  return promise;
}

async function stopService({ process: child }: Service): Promise<void> {
  if (child.exitCode !== null || child.signalCode !== null) return;
  const exited = once(child, 'exit');
  child.kill('SIGTERM');
  await exited;
}

async function call<T>(service: Service, method: string, path: string, body?: object): Promise<T> {
  const response = await fetch(service.url + path, {
    method,
    headers: { authorization: `Bearer ${service.key}`, 'content-type': 'application/json' },
    ...(body && { body: JSON.stringify(body) }),
  });
  if (!response.ok) throw new Error(`${method} ${path} answered ${response.status}: ${await response.text()}`);
  return (await response.json()) as T;
}

async function keepRunning(service: Service, pop3: SandboxPop3, receiver: WebhookReceiver): Promise<void> {
  console.log(`Left running until Ctrl-C:
   popbridge         ${service.url}   (its contract: ${service.url}/openapi.json)
   API key           ${service.key}
   POP3 server       ${pop3.host}:${pop3.port}, tls "none", user ${pop3.user}, password ${pop3.password}
   webhook receiver  ${receiver.url}`);
  const { promise, resolve: stop } = Promise.withResolvers<void>();
  process.once('SIGINT', () => stop()).once('SIGTERM', () => stop());
  await Promise.race([promise, once(service.process, 'exit')]);
}

function explainOwnMailbox(): string {
  return `   npm start                          # prints its API key once; listens on 127.0.0.1:8110

   curl http://127.0.0.1:8110/v1/fetches -H "Authorization: Bearer $(cat data/operator-key)" \\
     -H 'Content-Type: application/json' -H 'Prefer: wait=30' \\
     -d '{"source": {"host": "pop.example.com", "username": "you@example.com", "password": "..."},
          "limits": {"messages": 10}}'

   Mail stays on the server unless you ask for "delete": "stored".
`;
}

function title(text: string): void {
  console.log(`\n${styleText('bold', text, { stream: process.stdout })}`);
}

main().catch((error: unknown) => {
  console.error(`\nThe demo failed: ${error instanceof Error ? error.message : String(error)}`);
  process.exitCode = 1;
});
