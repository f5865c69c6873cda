/**
 * The HTTP API over messages in memory, in this process: real server, contract, links and parser threads; no Redis and no
 * fetching. For tests that need a clock, a log or a parser of their own. Every answer is held against the contract.
 */
import { createHash } from 'node:crypto';
import { Readable } from 'node:stream';
import { buffer } from 'node:stream/consumers';
import { pino } from 'pino';
import { createAccess } from '../../src/access/access.ts';
import { createSignedLinks } from '../../src/access/signed-links.ts';
import { createHttpApp, type HttpPorts } from '../../src/http/app.ts';
import type { MessageQuery } from '../../src/message/message-list.ts';
import type { MessageBody } from '../../src/http/message-view.ts';
import { startHttpServer } from '../../src/http/server.ts';
import type { ByteRange } from '../../src/message/blobs/blob-store.ts';
import { openAttachment } from '../../src/mime/attachment.ts';
import { toPublicMessage } from '../../src/mime/public-message.ts';
import { parseMessage } from '../../src/mime/parse.ts';
import { createMimePool } from '../../src/mime/pool.ts';
import { createContractChecker } from '../support/contract.ts';
import { OPERATOR_KEY, readResponse, send, type ApiOptions, type ApiResponse } from '../support/service.ts';

/** The one fetch that is known of. */
export const KNOWN_FETCH = { id: `fch_${'2'.repeat(26)}`, mailboxId: `mbx_${'1'.repeat(32)}` } as const;

export const NOW_MS = Date.parse('2026-11-23T12:00:00.000Z');
const MASTER_KEY = Buffer.alloc(32, 7);

export interface MessageApiOptions {
  readonly mails?: readonly (Buffer | string)[];
  readonly publicUrl?: string;
  readonly messageBytesMax?: number;
  readonly parse?: HttpPorts['parser']['parse'];
  readonly list?: HttpPorts['messages']['list'];
  readonly sanitize?: HttpPorts['sanitizer']['sanitize'];
}

export interface MessageApi {
  readonly url: string;
  /** In the order of the mails, as they are stored. */
  readonly messages: readonly MessageBody[];
  readonly clock: { nowMs: number };
  /** What has been asked of the index, and what has been read whole. */
  readonly queries: readonly (MessageQuery & { tenant: string })[];
  readonly reads: readonly string[];
  api(method: string, path: string, options?: ApiOptions): Promise<ApiResponse>;
  /** All that was logged, at every level. */
  log(): string;
  close(): Promise<void>;
}

export async function startMessageApi(options: MessageApiOptions = {}): Promise<MessageApi> {
  const stored = await Promise.all((options.mails ?? []).map((raw, index) => storeMail(Buffer.from(raw), index)));
  const byId = new Map(stored.map((entry) => [entry.message.id, entry]));
  const acknowledged = new Map<string, string>();
  const clock = { nowMs: NOW_MS };
  const queries: (MessageQuery & { tenant: string })[] = [];
  const reads: string[] = [];
  let log = '';
  const pool = createMimePool({ threads: 1, isLazy: true });
  const keep = (id: string): Readonly<{ raw: Buffer; message: MessageBody }> | undefined => {
    const entry = byId.get(id);
    return entry && { ...entry, message: { ...entry.message, acknowledgedAt: acknowledged.get(id) ?? null } };
  };

  const messages: HttpPorts['messages'] = {
    async list(tenant, query) {
      queries.push({ tenant, ...query });
      return options.list?.(tenant, query) ?? { items: [], nextCursor: null };
    },
    async find(_tenant, id) {
      reads.push(id);
      return keep(id)?.message ?? null;
    },
    async findRecord(_tenant, id) {
      return keep(id)?.message ?? null;
    },
    async openRaw(_tenant, id, range) {
      const { raw, message } = keep(id) ?? {};
      return raw && message?.digest ? slice(raw, range) : null;
    },
    async findAttachment(_tenant, id, attachmentId) {
      const { raw, message } = keep(id) ?? {};
      const found = message?.attachments.find((attachment) => attachment.id === attachmentId);
      if (!raw || !found) return null;
      return {
        ...found,
        async open(range) {
          const opened = await openAttachment(Readable.from([raw]), attachmentId);
          return opened && slice(await buffer(opened.stream), range);
        },
      };
    },
    async acknowledge(_tenant, id) {
      if (!byId.has(id)) return null;
      if (!acknowledged.has(id)) acknowledged.set(id, new Date(clock.nowMs).toISOString());
      return acknowledged.get(id) ?? null;
    },
    async remove(_tenant, id) {
      return byId.delete(id);
    },
  };

  const app = createHttpApp({
    messages,
    parser: { parse: options.parse ?? (async (source) => toPublicMessage(await pool.parse(await buffer(source)))) },
    sanitizer: { sanitize: options.sanitize ?? pool.sanitize },
    links: createSignedLinks([['k1', MASTER_KEY]], { now: () => clock.nowMs }),
    publicUrl: options.publicUrl ?? null,
    messageBytesMax: options.messageBytesMax ?? 1024 * 1024,
    retentionMs: 7 * 24 * 60 * 60 * 1000,
    access: createAccess(OPERATOR_KEY),
    isStorageAway: () => false,
    checkReadiness: async () => ({}),
    checkLiveness: () => ({}),
    isStarted: () => true,
    shutdown: new AbortController().signal,
    clock: { now: () => clock.nowMs },
    logger: pino({ level: 'trace' }, { write: (line: string) => void (log += line) }),
    fetches: {
      find: async ({ id }) => (id === KNOWN_FETCH.id ? KNOWN_FETCH : null),
    } as HttpPorts['fetches'],
    events: {} as HttpPorts['events'],
    consumers: {} as HttpPorts['consumers'],
    renderEvent: () => Promise.reject(new Error('not here')),
    webhooks: {} as HttpPorts['webhooks'],
    subscriptions: {} as HttpPorts['subscriptions'],
    testWebhook: async () => null,
    countMissed: async () => 0,
    deliveries: {} as HttpPorts['deliveries'],
    endpoints: {} as HttpPorts['endpoints'],
    mailboxes: {} as HttpPorts['mailboxes'],
    mailboxFetches: {} as HttpPorts['mailboxFetches'],
    schedule: {} as HttpPorts['schedule'],
    verify: () => Promise.reject(new Error('not here')),
    findSettings: () => Promise.reject(new Error('not here')),
  });
  const server = await startHttpServer(app, '127.0.0.1', 0);
  const { checkResponse } = createContractChecker();

  return {
    url: server.url,
    messages: stored.map(({ message }) => message),
    clock,
    queries,
    reads,
    async api(method, path, given = {}) {
      const answer = await send(server.url, method, path, { key: OPERATOR_KEY, ...given });
      checkResponse({ method, path, ...answer });
      return readResponse(answer);
    },
    log: () => log,
    async close() {
      await server.close(0);
      await pool.close();
    },
  };
}

async function storeMail(raw: Buffer, index: number): Promise<{ raw: Buffer; message: MessageBody }> {
  const message = {
    id: `msg_${String(index).padStart(32, '0')}`,
    mailboxId: KNOWN_FETCH.mailboxId,
    fetchId: KNOWN_FETCH.id,
    uidl: `uid-${index}`,
    size: raw.length,
    digest: createHash('sha256').update(raw).digest('hex'),
    fetchedAt: new Date(NOW_MS).toISOString(),
    expiresAt: new Date(NOW_MS + 86_400_000).toISOString(),
    acknowledgedAt: null,
    duplicateOf: null,
    omitted: null,
    ...toPublicMessage(await parseMessage(raw)),
  };
  // What is too large is known by its header section alone.
  const isOmitted = message.subject === 'omitted';
  return { raw, message: isOmitted ? { ...message, digest: null, omitted: 'too_large' } : message };
}

/** Ends are inclusive. */
function slice(bytes: Buffer, range?: ByteRange): Readable {
  return Readable.from([range ? bytes.subarray(range.start, range.end + 1) : bytes]);
}
