/**
 * The commit: messages that are here become stored, announced and marked in the ledger, in this order, several at a time. What
 * makes them durable, a sync or an object, is so paid once for many. A message waits for the others of its group a tenth of a
 * second at most, however slow the server is.
 */
import { messageIdOfKey, messageKey, type MessageIdentity } from '../identity.ts';
import type { NewMessage, OmittedRaw } from '../message/new-message.ts';
import type { RawDraft } from '../message/raw-draft.ts';
import type { StoredOutcome } from '../message/store-messages.ts';
import type { ParsedMessage } from '../mime/message.ts';
import { createHash } from 'node:crypto';
import type { Readable } from 'node:stream';
import { tellSkipped, type Announcements } from './announcements.ts';
import type { Book } from './book.ts';
import type { Fetch } from './fetch.ts';
import { refusal, skippedByFilter } from './filter.ts';
import type { StoredEntry } from './ledger.ts';
import { digestBytes } from './ledger-codec.ts';
import { commitAfterMs, commitBytesMax, commitMessagesMax, headersBytesMax } from './limits.ts';
import { untraced, type Trace } from '../trace.ts';
import type { FetchObserver } from './observer.ts';
import type { PlannedMessage, StoredMessage } from './plan.ts';
import { readStart } from './body-bounds.ts';
import type { UniqueIdWatch } from './unique-ids.ts';

export interface CommitPorts {
  clock: { now(): number };
  messages: {
    write(tenant: string, source: AsyncIterable<Uint8Array>): Promise<RawDraft>;
    store(tenant: string, messages: readonly NewMessage[]): Promise<StoredOutcome[]>;
  };
  /** The bytes are given away. */
  parse(raw: Uint8Array | Readable): Promise<ParsedMessage>;
  announce: Announcements;
  observer?: Pick<FetchObserver, 'observeMessage' | 'observeWarning'>;
  trace?: Trace;
}

export interface CommitJob {
  fetch: Fetch;
  book: Pick<Book, 'commit'>;
  signal: AbortSignal;
  /** Once the maildrop is listed. */
  uniqueIds(): Pick<UniqueIdWatch, 'isAnnounced' | 'meet'>;
}

/** A message that is here and not yet stored. */
interface Waiting {
  message: PlannedMessage;
  identity: MessageIdentity;
  raw: RawDraft | OmittedRaw;
  /** Bytes that were retrieved. */
  bytes: number;
  parsed: Promise<ParsedMessage>;
  fetchedMs: number;
}

export class GroupCommit {
  readonly committed: StoredMessage[] = [];
  /** How many were not wanted, by what was found in them. */
  unwanted = 0;
  readonly #ports: CommitPorts;
  readonly #job: CommitJob;
  /** How many messages with these bytes and no unique-id this session has met. */
  readonly #digests = new Map<string, number>();
  #waiting: Waiting[] = [];
  #waitingBytes = 0;
  #timer: NodeJS.Timeout | null = null;
  /** One flush after the other. One that fails lets all that come after it fail. */
  #flushed: Promise<void> = Promise.resolve();

  constructor(ports: CommitPorts, job: CommitJob) {
    this.#ports = ports;
    this.#job = job;
  }

  /** Takes a message in. It is stored when its group is. @throws what `body` and `flush` throw. */
  async take(message: PlannedMessage, body: AsyncIterable<Buffer>): Promise<void> {
    const raw = await this.#ports.messages.write(this.#job.fetch.tenant, body);
    const parsed = raw.open().then((opened) => this.#ports.parse(opened));
    const identity = this.#identify(message, raw.sha256);
    await this.#wait({ message, identity, raw, bytes: raw.bytes, parsed, fetchedMs: this.#ports.clock.now() });
  }

  /** Takes the header section of a message in whose body is too large. */
  async takeHeaders(message: PlannedMessage, head: AsyncIterable<Buffer>): Promise<void> {
    const bytes = await readStart(head, headersBytesMax);
    const digest = createHash('sha256').update(bytes).digest('hex');
    const raw: OmittedRaw = { omitted: 'too_large', bytes: message.bytes ?? bytes.length };
    const parsed = this.#ports.parse(bytes);
    const identity = this.#identify(message, digest);
    await this.#wait({ message, identity, raw, bytes: bytes.length, parsed, fetchedMs: this.#ports.clock.now() });
  }

  /** Resolves when all that was taken in is committed. @throws AppError `storage_failed`, `quota_exceeded`, `lease_lost`. */
  flush(): Promise<void> {
    if (this.#timer) clearTimeout(this.#timer);
    this.#timer = null;
    this.#flushed = this.#flushed.then(() => this.#flush());
    return this.#flushed;
  }

  /** Gives up what was not committed. */
  async close(): Promise<void> {
    if (this.#timer) clearTimeout(this.#timer);
    await this.#flushed.catch(() => undefined);
    await discard(this.#waiting.splice(0));
  }

  async #wait(waiting: Waiting): Promise<void> {
    waiting.parsed.catch(() => undefined); // Looked at when its group is.
    this.#waiting.push(waiting);
    this.#waitingBytes += waiting.bytes;
    if (this.#waiting.length >= commitMessagesMax || this.#waitingBytes >= commitBytesMax) return this.flush();
    this.#timer ??= setTimeout(() => void this.flush().catch(() => undefined), commitAfterMs);
  }

  async #flush(): Promise<void> {
    const taken = this.#waiting.splice(0);
    this.#waitingBytes = 0;
    if (taken.length === 0) return;
    const parsed = await this.#parsedOf(taken);
    const group = await this.#leaveOut(taken, parsed);
    if (group.length === 0) return;
    const messages = this.#finish(group, parsed);
    const { fetch } = this.#job;
    const outcomes = await (this.#ports.trace ?? untraced).span(
      { name: 'messages.store', attributes: { 'popbridge.messages': messages.length } },
      () => this.#ports.messages.store(fetch.tenant, messages),
    );
    const stored = group.map((waiting, at) => ({ waiting, outcome: outcomes[at] as StoredOutcome }));
    const uniqueIds = this.#job.uniqueIds();
    const fresh = stored.filter(({ waiting: { raw } }) => 'omitted' in raw || !uniqueIds.isAnnounced(digestOf(raw)));
    // Under the id of the first with these bytes: whoever stored that may have died before it was announced.
    const received = new Map(fresh.map(({ waiting, outcome }) => [outcome.firstId, waiting.fetchedMs]));
    await this.#ports.announce.received(
      fetch,
      [...received].map(([id, storedMs]) => ({ id, storedMs })),
    );
    const marked = await Promise.all(
      stored.map(async ({ waiting, outcome: { id } }) => {
        const message = this.#describe(waiting, id);
        await this.#mark(waiting, message, id);
        return message;
      }),
    );
    for (const { waiting } of stored) {
      const { message, raw } = waiting;
      if (!('omitted' in raw)) uniqueIds.meet(message.key, digestOf(raw));
    }
    this.committed.push(...marked);
    for (const one of stored) this.#observe(one.waiting, one.outcome, parsed);
  }

  #observe(waiting: Waiting, { id, firstId }: StoredOutcome, parsed: ReadonlyMap<Waiting, ParsedMessage>): void {
    const { observer } = this.#ports;
    const outcome = 'omitted' in waiting.raw ? 'omitted' : id === firstId ? 'stored' : 'duplicate';
    observer?.observeMessage(outcome, waiting.bytes);
    for (const { code } of parsed.get(waiting)?.parse.warnings ?? []) observer?.observeWarning(code);
  }

  async #parsedOf(group: readonly Waiting[]): Promise<ReadonlyMap<Waiting, ParsedMessage>> {
    try {
      const parsed = await Promise.all(group.map(async (waiting) => [waiting, await waiting.parsed] as const));
      this.#job.signal.throwIfAborted();
      return new Map(parsed);
    } catch (error) {
      await discard(group);
      throw error;
    }
  }

  /** Resolves with those that are wanted; the others are in the ledger. */
  async #leaveOut(group: readonly Waiting[], parsed: ReadonlyMap<Waiting, ParsedMessage>): Promise<readonly Waiting[]> {
    const { filter } = this.#job.fetch;
    if (!filter) return group;
    const wanted: Waiting[] = [];
    for (const waiting of group) {
      const { message, raw, fetchedMs } = waiting;
      const headers = parsed.get(waiting)?.headers ?? [];
      const reason = refusal(filter, message, { bytes: raw.bytes, headers });
      if (reason === null) {
        wanted.push(waiting);
        continue;
      }
      this.unwanted += 1;
      this.#ports.observer?.observeMessage('filtered', 0);
      await discard([waiting]);
      if (message.key === null) continue;
      const entry = skippedByFilter(message, reason, filter, Math.floor(fetchedMs / 1000));
      await tellSkipped(this.#ports.announce, this.#job.fetch, [message], reason);
      await this.#job.book.commit(message.key, entry);
    }
    return wanted;
  }

  #finish(group: readonly Waiting[], parsed: ReadonlyMap<Waiting, ParsedMessage>): NewMessage[] {
    const { id: fetchId, mailboxId, retentionMs } = this.#job.fetch;
    return group.map((waiting) => {
      const { identity, message, raw, fetchedMs } = waiting;
      const { uidl } = message;
      const whole = parsed.get(waiting) as ParsedMessage;
      return { identity, mailboxId, fetchId, uidl, fetchedMs, retentionMs, raw, parsed: whole };
    });
  }

  #describe({ message, identity, raw, fetchedMs }: Waiting, messageId: string): StoredMessage {
    const { mailboxId, retentionMs } = this.#job.fetch;
    const key = messageKey(identity);
    const at = Math.floor(fetchedMs / 1000);
    const entry: StoredEntry = {
      state: 'stored',
      at,
      bytes: message.bytes,
      ownId: messageId === messageIdOfKey(mailboxId, key) ? null : messageId,
      digest: 'omitted' in raw ? null : digestOf(raw),
      keptUntil: at + Math.ceil(retentionMs / 1000),
      isReleased: false,
      absent: null,
    };
    return { ...message, key, entry };
  }

  async #mark({ raw, bytes }: Waiting, { key, number, entry }: StoredMessage, messageId: string): Promise<void> {
    const as = 'omitted' in raw ? 'omitted' : 'retrieved';
    await this.#job.book.commit(key, entry, { messageId, number, as, bytes });
  }

  #identify({ uidl, occurrence }: PlannedMessage, digest: string): MessageIdentity {
    if (uidl !== null) return { uidl, occurrence };
    const met = this.#digests.get(digest) ?? 0;
    this.#digests.set(digest, met + 1);
    return { digest, occurrence: met };
  }
}

/** As the ledger has it. */
function digestOf({ sha256 }: RawDraft): string {
  return sha256.slice(0, 2 * digestBytes);
}

async function discard(group: readonly Waiting[]): Promise<void> {
  for (const { raw, parsed } of group) {
    await parsed.catch(() => undefined); // It may still be reading the bytes.
    if (!('omitted' in raw)) await raw.discard();
  }
}
