/**
 * What each part of the bench works with: a Redis of its own, a worker that is the real program, an endpoint in a process of its own, and
 * messages that are stored as a fetch stores them.
 */
import { fork, type ChildProcess } from 'node:child_process';
import { randomBytes } from 'node:crypto';
import { once } from 'node:events';
import { mkdtemp, readFile, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { Readable } from 'node:stream';
import { fileURLToPath } from 'node:url';
import { pino } from 'pino';
import { describeEvent, type EventRef } from '../../../src/event/event.ts';
import { createSealer, makeMasterKey } from '../../../src/mailbox/sealing.ts';
import { createBlobStore } from '../../../src/message/blobs/blob-store-choice.ts';
import { createMessageStore } from '../../../src/message/message-store.ts';
import { parseMessage } from '../../../src/mime/parse.ts';
import { openRedis } from '../../../src/redis/connection.ts';
import { createAwaited } from '../../../src/webhook/awaited.ts';
import { createDeliveryStore } from '../../../src/webhook/delivery-store.ts';
import { createDueWebhooks } from '../../../src/webhook/due-webhooks.ts';
import type { Webhook, WebhookSettings } from '../../../src/webhook/webhook.ts';
import { createWebhookService } from '../../../src/webhook/webhook-service.ts';
import { createWebhookStore } from '../../../src/webhook/webhook-store.ts';
import type { Certificates } from '../../support/certificates.ts';
import { startRedis } from '../../support/redis.ts';
import { startService, type Service } from '../../support/service.ts';
import { MAIL_KINDS } from '../messages/mails.ts';
import type { ReceiverAsk, ReceiverTold } from './receiver.ts';

const TICKS_PER_S = 100;
const RETENTION_MS = 7 * 24 * 60 * 60 * 1000;
const PACKED = 64;
const makeMail = (number: number): Buffer => MAIL_KINDS[0]?.make(number) ?? Buffer.alloc(0);
const logger = pino({ level: 'silent' });
const clock = { now: () => Date.now() };

export interface Bound {
  what: string;
  bound: string;
  measured: string;
  isKept: boolean;
}

export function print(text: string): void {
  process.stdout.write(`${text}\n`);
}

export function quantile(values: readonly number[], share: number): number {
  const sorted = values.toSorted((a, b) => a - b);
  return sorted[Math.min(sorted.length - 1, Math.floor(sorted.length * share))] ?? Number.NaN;
}

export const median = (values: readonly number[]): number => quantile(values, 0.5);

/** User and system time of a process by now, in seconds. */
export async function cpuS(pid: number): Promise<number> {
  const stat = await readFile(`/proc/${pid}/stat`, 'utf8');
  const fields = stat.slice(stat.lastIndexOf(')') + 2).split(' ');
  return (Number(fields[11]) + Number(fields[12])) / TICKS_PER_S;
}

export function startProgram(file: string, env: Readonly<Record<string, string>> = {}): ChildProcess {
  const path = fileURLToPath(new URL(file, import.meta.url));
  return fork(path, { execArgv: ['--disable-warning=ExperimentalWarning'], env: { ...process.env, ...env } });
}

/** The next message of a program of this bench. A few words go either way, and only where they are asked for. */
export async function hear<Told>(program: ChildProcess): Promise<Told> {
  const [told] = (await once(program, 'message')) as [Told];
  return told;
}

export type Stage = Awaited<ReturnType<typeof openStage>>;

/** Without a worker, until `work` is called. @param certificates with them the endpoint speaks TLS. */
export async function openStage(certificates?: Certificates) {
  const server = await startRedis();
  const redis = openRedis(server.url, logger);
  await redis.connect();
  const folder = await mkdtemp(join(tmpdir(), 'popbridge-bench-'));
  const masterKeys = makeMasterKey('bench');
  const sealer = createSealer(masterKeys);
  const messages = createMessageStore({
    redis,
    sealer,
    clock,
    blobs: createBlobStore({ kind: 'file' }, { redis, dataDir: folder }),
    quota: { messages: 0, bytes: 0 },
  });
  const webhooks = createWebhookStore(redis, sealer);
  const deliveries = createDeliveryStore(redis);
  const due = createDueWebhooks(redis, Math.random);
  const awaited = createAwaited(redis);
  const service = createWebhookService({ clock, random: randomBytes, webhooks, deliveries, due, checkUrl: () => {} });
  const own = certificates?.server;
  const receiver = startProgram('receiver.ts', own && { CERT_PATH: own.certPath, KEY_PATH: own.keyPath });
  const { port } = await hear<Extract<ReceiverTold, { told: 'port' }>>(receiver);
  let worker: Service | null = null;
  let stored = 0;
  const parsed = await parseMessage(makeMail(0));

  /** Small mails, no two alike, a pack at a time as a fetch does. Their ids. */
  async function storeMessages(tenant: string, mailboxId: string, count: number): Promise<string[]> {
    const ids: string[] = [];
    while (ids.length < count) {
      const pack = Array.from({ length: Math.min(PACKED, count - ids.length) }, async () => {
        const uidl = `${(stored += 1)}`;
        const raw = await messages.write(tenant, Readable.from([makeMail(stored)]));
        return {
          identity: { uidl, occurrence: 0 },
          mailboxId,
          fetchId: `fch_${'0'.repeat(26)}`,
          uidl,
          fetchedMs: clock.now(),
          retentionMs: RETENTION_MS,
          parsed,
          raw,
        };
      });
      ids.push(...(await messages.store(tenant, await Promise.all(pack))).map(({ id }) => id));
    }
    return ids;
  }

  return {
    redis,
    webhooks,
    deliveries,
    awaited,
    due,
    clock,
    storeMessages,
    urlOf: (path: string) => `${certificates ? 'https' : 'http'}://127.0.0.1:${port}${path}`,
    ask: (what: ReceiverAsk) => void receiver.send(what),
    told: () => hear<ReceiverTold>(receiver),
    async makeWebhook(tenant: string, url: string, settings: Partial<WebhookSettings> = {}): Promise<Webhook> {
      const usual = {
        description: null,
        events: ['*'],
        mailboxes: null,
        payload: 'thin',
        ratePerSecond: null,
      } as const;
      const limits = { concurrency: 5, isOrdered: false, timeoutMs: 15_000, hasEd25519: false };
      const { webhook } = await service.create(tenant, {
        settings: { ...usual, ...limits, url, ...settings },
        headers: {},
        isDisabled: false,
      });
      return webhook;
    },
    async work(env: Record<string, string> = {}): Promise<void> {
      const usual = { POPBRIDGE_ROLE: 'worker', POPBRIDGE_MASTER_KEYS: masterKeys };
      worker = await startService({
        redis: server,
        dataDir: folder,
        env: { ...usual, ...trustOf(certificates), ...env },
      });
    },
    workerCpuS: () => cpuS(worker?.pid ?? 0),
    redisCpuS: () => cpuS(server.pid),
    workerLogs: () => worker?.logs() ?? [],
    async usedBytes(): Promise<number> {
      return Number(/used_memory:(\d+)/.exec(await redis.info('memory'))?.[1]);
    },
    async close(): Promise<void> {
      await worker?.close();
      receiver.kill();
      redis.disconnect();
      await server.close();
      await rm(folder, { recursive: true, force: true });
    },
  };
}

export function trustOf(certificates: Certificates | undefined): Record<string, string> {
  return certificates ? { NODE_EXTRA_CA_CERTS: certificates.caPath } : {};
}

/** Another one each time: of the same message, where it is not the first time that it is told of. */
export function received(tenant: string, mailboxId: string, messageId: string, occasion = ''): EventRef {
  const about = {
    tenant,
    subject: messageId,
    time: new Date(clock.now()).toISOString(),
    mailboxId,
    fetchId: `fch_${'0'.repeat(26)}`,
    facts: {},
  };
  return { ...describeEvent('message.received', about, occasion), sequence: 1 };
}

export function mailboxIdOf(number: number): string {
  return `mbx_${String(number).padStart(32, '0')}`;
}

export async function inTurns<T>(
  items: readonly T[],
  atOnce: number,
  work: (item: T) => Promise<unknown>,
): Promise<void> {
  const left = items.values();
  await Promise.all(
    Array.from({ length: atOnce }, async () => {
      for (const item of left) await work(item);
    }),
  );
}
