import { once } from 'node:events';
import { setImmediate as nextTurn, setTimeout as delay } from 'node:timers/promises';
import { Worker } from 'node:worker_threads';
import { connect as connectTcp } from 'node:net';
import type { Socket } from 'node:net';
import { afterEach, beforeAll, beforeEach, describe, expect, it, onTestFinished, vi } from 'vitest';
import type { AddressResolver, Pop3Client, Pop3Settings, Pop3Timeouts } from '../../src/pop3/index.ts';
import { defaultTimeouts } from '../../src/pop3/limits.ts';
import { Pop3ConnectionError } from '../../src/pop3/index.ts';
import { makeCertificates } from '../support/certificates.ts';
import type { Certificates } from '../support/certificates.ts';
import { cutBody } from '../support/fake-pop3.ts';
import type { FakePop3, FakePop3Options } from '../support/fake-pop3.ts';
import { connect, failureOf, logIn, retrieveAll, startFake } from './fake-session.ts';

const MAIL = Buffer.from('x'.repeat(10_000));
const silence = (): 'silence' => 'silence';
const never: AddressResolver = () => new Promise(() => undefined);

let certificates: Certificates;

beforeAll(async () => {
  certificates = await makeCertificates();
  return () => certificates.remove();
});

interface Wait {
  phase: string;
  fake: FakePop3Options;
  settings?: Partial<Pop3Settings>;
  resolve?: AddressResolver;
  /** What ends it, and after how many milliseconds. */
  bound: keyof Pop3Timeouts;
  /** What waits once the session is logged in; where it is absent, connecting does. */
  work?: (client: Pop3Client) => Promise<unknown>;
  /** The server has heard this, once the wait has begun. Nothing where the wait begins before it could. */
  heard?: string;
}

/** No answer to a command. */
function unanswered(phase: string, name: string, work?: Wait['work']): Wait {
  const fake = { mails: [MAIL], on: { [name]: silence } };
  return { phase, fake, bound: 'commandMs', heard: name, ...(work && { work }) };
}

const WAITS: readonly Wait[] = [
  { phase: 'resolve', fake: {}, resolve: never, bound: 'resolveMs' },
  { phase: 'tls', fake: { greeting: null, on: { '*': silence } }, settings: { tls: 'implicit' }, bound: 'tlsMs' },
  { phase: 'greeting', fake: { greeting: null }, bound: 'greetingMs' },
  { ...unanswered('tls', 'STLS'), settings: { tls: 'starttls' } },
  {
    phase: 'tls',
    fake: { on: { STLS: () => '+OK', '*': silence } },
    settings: { tls: 'starttls' },
    bound: 'tlsMs',
    heard: 'STLS',
  },
  unanswered('login', 'PASS'),
  unanswered('capabilities', 'CAPA', (client) => client.capa()),
  unanswered('list', 'STAT', (client) => client.stat()),
  unanswered('list', 'UIDL', (client) => client.uidl()),
  unanswered('retrieve', 'RETR', (client) => client.retrieve(1)),
  {
    phase: 'retrieve',
    fake: { mails: [MAIL], on: { RETR: () => cutBody(MAIL, 5000, 'silence') } },
    bound: 'idleMs',
    work: (client) => retrieveAll(client, 1),
    heard: 'RETR',
  },
  {
    phase: 'list',
    fake: { on: { LIST: () => ({ bytes: Buffer.from('+OK\r\n1 2'), after: 'silence' }) } },
    bound: 'idleMs',
    work: (client) => client.list(),
    heard: 'LIST',
  },
  unanswered('delete', 'DELE', (client) => client.delete(1)),
  { ...unanswered('quit', 'QUIT', (client) => client.quit()), bound: 'quitMs' },
];

/** Begins the wait. Resolves when it has begun, and `failure` with what ended it. */
async function begin(wait: Wait, timeouts: Partial<Pop3Timeouts>, signal: AbortSignal) {
  const fake = await startFake(wait.fake);
  const options = { timeouts, signal, ...(wait.resolve && { resolve: wait.resolve }) };
  const open = (): Promise<Pop3Client> =>
    (wait.work || wait.heard === 'PASS' ? logIn : connect)(fake, wait.settings, options);
  const client = wait.work ? await open() : undefined;
  const failure = failureOf(client && wait.work ? wait.work(client) : open());
  if (wait.heard !== undefined) await fake.received(wait.heard);
  else if (wait.resolve === undefined) await connected(fake);
  return { fake, failure };
}

async function connected(fake: FakePop3): Promise<void> {
  for (let tries = 0; fake.openSockets === 0 && tries < 500; tries += 1) await delay(10);
}

describe('silence', () => {
  it.each(WAITS)('in the phase $phase ends the session after $bound, and leaves no timer', async (wait) => {
    vi.useFakeTimers({ toFake: ['setTimeout', 'clearTimeout'] });
    onTestFinished(() => void vi.useRealTimers());
    const timeouts = Object.fromEntries(Object.keys(defaultTimeouts).map((name) => [name, 1_000_000_000]));
    const { fake, failure } = await begin(wait, { ...timeouts, [wait.bound]: 60_000 }, new AbortController().signal);
    const ended: Error[] = [];
    void failure.then((error) => ended.push(error));
    for (let turns = 0; ended.length === 0 && turns < 10_000; turns += 1) {
      vi.advanceTimersByTime(10_000);
      await nextTurn();
    }
    const error = await failure;
    expect(error).toBeInstanceOf(Pop3ConnectionError);
    expect(error).toMatchObject({ code: 'upstream_timeout', phase: wait.phase });
    expect(error.message).toMatch(/\b60 s\b/);
    await fake.idle();
    expect(vi.getTimerCount()).toBe(0);
  });

  it('before the greeting suggests TLS, but only where there is none yet', async () => {
    const timeouts = { greetingMs: 50 };
    const tls = { tls: certificates.server, implicitTls: true };
    const plain = await failureOf(connect(await startFake(tls), {}, { timeouts }));
    expect(plain).toMatchObject({ code: 'upstream_timeout', phase: 'greeting' });
    expect(plain.message).toContain('set tls to "implicit"');
    const mute = await startFake({ ...tls, greeting: null });
    const secured = await failureOf(connect(mute, { tls: 'implicit', ca: certificates.ca }, { timeouts }));
    expect(secured).toMatchObject({ code: 'upstream_timeout', phase: 'greeting' });
    expect(secured.message).not.toContain('implicit');
  });

  it('while connecting ends the attempt after connectMs', async () => {
    const port = await listenWithoutAccepting();
    const failure = await failureOf(connect({ host: '127.0.0.1', port }, {}, { timeouts: { connectMs: 100 } }));
    expect(failure).toMatchObject({ code: 'upstream_timeout', phase: 'connect' });
  });
});

describe('an abort', () => {
  beforeEach(() => {
    // No deadline can come to help.
    vi.useFakeTimers({ toFake: ['setTimeout', 'clearTimeout'] });
  });

  afterEach(() => {
    vi.useRealTimers();
  });

  it.each(WAITS)('in the phase $phase ends the wait at once, and leaves neither socket nor timer', async (wait) => {
    const controller = new AbortController();
    const { fake, failure } = await begin(wait, {}, controller.signal);
    const reason = new Error('enough');
    controller.abort(reason);
    expect(await failure).toBe(reason);
    await fake.idle();
    expect(vi.getTimerCount()).toBe(0);
  });

  it('while connecting ends the attempt', async () => {
    const controller = new AbortController();
    const resolve: AddressResolver = async () => [{ address: '127.0.0.1', family: 4 }];
    const port = await listenWithoutAccepting();
    const failure = failureOf(connect({ host: '127.0.0.1', port }, {}, { resolve, signal: controller.signal }));
    await delay(20);
    controller.abort(new Error('enough'));
    expect((await failure).message).toBe('enough');
    expect(vi.getTimerCount()).toBe(0);
  });

  it('before anything connects to nobody', async () => {
    const fake = await startFake();
    const reason = new Error('enough');
    expect(await failureOf(connect(fake, {}, { signal: AbortSignal.abort(reason) }))).toBe(reason);
    expect(fake.connections).toBe(0);
  });

  it('between two commands ends the session', async () => {
    const controller = new AbortController();
    const fake = await startFake();
    const client = await logIn(fake, {}, { signal: controller.signal });
    controller.abort(new Error('enough'));
    await fake.idle();
    expect((await failureOf(client.stat())).message).toBe('enough');
  });

  it('that comes after the end is nothing to anybody', async () => {
    const controller = new AbortController();
    const client = await logIn(await startFake(), {}, { signal: controller.signal });
    expect(await client.quit()).toBe(true);
    controller.abort();
    expect(vi.getTimerCount()).toBe(0);
  });
});

/** A port whose queue of connections is full: the kernel answers no further SYN. */
async function listenWithoutAccepting(): Promise<number> {
  const stop = new Int32Array(new SharedArrayBuffer(4));
  const source = `
    const { parentPort, workerData } = require('node:worker_threads');
    const server = require('node:net').createServer().listen({ host: '127.0.0.1', port: 0, backlog: 1 }, () => {
      parentPort.postMessage(server.address().port);
      Atomics.wait(workerData, 0, 0); // Its event loop accepts nothing any more.
      server.close();
    });`;
  const worker = new Worker(source, { eval: true, workerData: stop });
  const port = await new Promise<number>((resolve) => worker.once('message', resolve));
  // Linux takes one more than the backlog.
  const fillers: Socket[] = [];
  for (let filled = 0; filled < 2; filled += 1) {
    const filler = connectTcp({ host: '127.0.0.1', port }).on('error', () => undefined);
    fillers.push(filler);
    await once(filler, 'connect');
  }
  onTestFinished(async () => {
    for (const filler of fillers) filler.destroy();
    Atomics.store(stop, 0, 1);
    Atomics.notify(stop, 0);
    await worker.terminate();
  });
  return port;
}
