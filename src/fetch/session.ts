/**
 * One session with the upstream server on behalf of a fetch: log in, list, plan, retrieve, delete. What becomes of a message once
 * it is here is `group-commit.ts`. It knows neither leases nor queues: the signal ends it, and the token of the lease goes with
 * each write.
 */
import type { AppError } from '../errors.ts';
import { Pop3Client, type AddressResolver, type PipeliningMemory, type Pop3Error } from '../pop3/index.ts';
import type { Login } from '../mailbox/oauth2/logins.ts';
import type { Fetch, FetchProgress, MessageFailure } from './fetch.ts';
import type { MessageFilter } from '../mailbox/policies.ts';
import { tellDeleted, tellSkipped } from './announcements.ts';
import { bounded } from './body-bounds.ts';
import type { Book } from './book.ts';
import { asDeleted, findDeletable } from './deletion.ts';
import type { LedgerEntry } from './ledger.ts';
import { GroupCommit, type CommitPorts } from './group-commit.ts';
import { skipByFilter } from './filter.ts';
import { lookAtHeaders, mayHaveTop } from './header-look.ts';
import { brokenHeadersMax, detailCharsMax, failuresMax, filterBatchMax, sessionGraceMs } from './limits.ts';
import { bytesOf, listMaildrop } from './listing.ts';
import {
  findGone,
  planFetch,
  tooLarge,
  type Listed,
  type Plan,
  type PlannedMessage,
  type StoredMessage,
} from './plan.ts';
import { findingsOf, NO_FINDINGS, type ServerFindings } from './mailbox-warnings.ts';
import { untraced } from '../trace.ts';
import type { FetchObserver } from './observer.ts';
import { Progress, type ProgressPorts } from './progress.ts';
import { ignoreUpstream, isMessagesFault } from './session-errors.ts';
import { UniqueIdWatch } from './unique-ids.ts';
import { openLoggedIn } from './upstream-login.ts';

/** What the session needs of others. */
export interface SessionPorts extends CommitPorts, ProgressPorts {
  observer?: FetchObserver;
  resolve: AddressResolver;
  pipelining: PipeliningMemory;
  messages: CommitPorts['messages'] & {
    /** @throws AppError `quota_exceeded`. */
    checkQuota(tenant: string): Promise<void>;
    /** Of these ids, those whose record and raw bytes are there. */
    findHeld(tenant: string, ids: readonly string[]): Promise<Set<string>>;
  };
  durability: { begin(): Promise<{ confirm(): Promise<void> }> };
}

export interface SessionJob {
  fetch: Fetch;
  /** The fencing token of the maildrop's lease. */
  token: number;
  book: Book;
  login: Login;
  signal: AbortSignal;
  /** Ends it in good order: it asks for no more messages. */
  windUp: AbortSignal;
  /** Called when there is a connection, and the server has greeted. */
  onConnected(): void;
}

export class FetchSession {
  readonly #ports: SessionPorts;
  readonly #job: SessionJob;
  readonly #startedMs: number;
  readonly #progress: Progress;
  readonly #failures: MessageFailure[] = [];
  readonly #commit: GroupCommit;
  #hasConnected = false;
  #hasDeleted = false;
  /** What earlier attempts have deleted, as far as is known by now. */
  #deletedBefore: number;
  hadBegun = false; // It got as far as asking for a message.
  #uniqueIds = new UniqueIdWatch(new Map(), []);
  #server: ServerFindings = NO_FINDINGS;
  /** Messages that failed by themselves, and will again. */
  #foundFailing = 0;
  /** Messages that the filter did not want before they were retrieved. */
  #unwanted = 0;
  /** What earlier attempts have found of that; without unique-ids nothing tells them apart. */
  #unwantedBefore = 0;
  #hasTop = true;
  #hasLeftOff = false;

  constructor(ports: SessionPorts, job: SessionJob) {
    this.#ports = ports;
    this.#job = job;
    this.#startedMs = ports.clock.now();
    this.#progress = new Progress(ports, job.fetch, job.token);
    this.#deletedBefore = job.fetch.deleted;
    this.#commit = new GroupCommit(ports, { ...job, uniqueIds: () => this.#uniqueIds });
  }

  /** What it has found out of the server by now. */
  get findings(): ServerFindings {
    return { ...this.#server, codes: [...this.#server.codes, ...this.#uniqueIds.findings()] };
  }

  /** What it has not written of its progress: for the end of the attempt. */
  get unwritten(): Partial<FetchProgress> {
    return this.#progress.unwritten;
  }

  /** Nothing was new, nothing failed, and nothing was deleted, by this attempt and those before it. */
  get isQuiet(): boolean {
    const { retrieved, omitted, failed, deletion } = this.#job.fetch;
    const before = retrieved + omitted + failed;
    return (
      before + this.#commit.committed.length + this.#failures.length === 0 && deletion === 'none' && !this.#hasDeleted
    );
  }

  /** Messages whose fate this session has found out: stored, not wanted, or known to fail. */
  get settled(): number {
    return this.#commit.committed.length + this.#commit.unwanted + this.#unwanted + this.#foundFailing;
  }

  /**
   * @returns whether all is done: false where it was wound up before.
   * @throws AppError: a Pop3Error, the reason of the signal, `storage_failed`, `quota_exceeded`, `lease_lost`,
   * `message_too_large`.
   */
  async run(): Promise<boolean> {
    return (this.#ports.trace ?? untraced).span({ name: 'pop3.session', kind: 'client' }, () => this.#run());
  }

  async #run(): Promise<boolean> {
    const { fetch } = this.#job;
    const durable = fetch.delete === 'never' || fetch.isDryRun ? null : await this.#ports.durability.begin();
    let opened: Pop3Client | null = null;
    try {
      const client = await this.#logIn();
      opened = client;
      this.#server = findingsOf(client.capabilities);
      const stored = await this.#retrieveAll(client);
      await this.#progress.timed('deleteMs', async () => {
        if (this.#hasLeftOff) return void (await client.quit().catch(ignoreUpstream));
        const deletable = await findDeletable(fetch, stored, {
          nowSeconds: this.#nowSeconds(),
          findHeld: (ids) => this.#ports.messages.findHeld(fetch.tenant, ids),
        });
        this.#progress.note({ deletable: deletable.length });
        if (durable && deletable.length > 0) {
          await durable.confirm();
          await this.#delete(client, deletable);
        } else {
          await client.quit().catch(ignoreUpstream);
        }
      });
      if (!this.#hasLeftOff) await this.#job.book.settle();
      return !this.#hasLeftOff;
    } finally {
      opened?.close();
      await this.#commit.close();
      if (this.#hasConnected) this.#progress.note(this.#counts());
    }
  }

  #logIn(): Promise<Pop3Client> {
    const { fetch, signal, login, onConnected } = this.#job;
    const { resolve, pipelining } = this.#ports;
    return openLoggedIn(login, {
      connect: async (secret) => {
        const settings = { ...fetch.source, ...secret, ...(fetch.ca !== null && { ca: fetch.ca }) };
        const client = await this.#progress.timed('connectMs', () =>
          Pop3Client.connect(settings, { signal, resolve, pipelining, chunks: 'lent' }),
        );
        this.#hasConnected = true;
        onConnected();
        return client;
      },
      logIn: (client) => this.#progress.timed('loginMs', () => client.login()),
    });
  }

  /** Resolves with the messages that are stored and still on the server. */
  async #retrieveAll(client: Pop3Client): Promise<readonly StoredMessage[]> {
    const { fetch } = this.#job;
    const { listing, hasUidl } = await this.#progress.timed('listMs', () => listMaildrop(client));
    const ledger = await this.#job.book.open(listing);
    this.#uniqueIds = new UniqueIdWatch(ledger, listing);
    if (hasUidl) await tellDeleted(this.#ports.announce, fetch, this.#job.book, findGone(listing, ledger));
    const plan = planFetch(listing, ledger, fetch, {
      // Without unique-ids nothing tells what an earlier attempt had: all is retrieved again, under the same ids.
      messages: hasUidl ? fetch.retrieved : 0,
      bytes: hasUidl ? fetch.retrievedBytes : 0,
    });
    this.#unwantedBefore = hasUidl ? fetch.filtered : 0;
    await this.#leaveOut(plan.unwanted, 'filter_size');
    if (plan.retrieve.length > 0) await this.#ports.messages.checkQuota(fetch.tenant);
    const facts = {
      listed: Math.max(fetch.listed, listing.length),
      listedBytes: Math.max(fetch.listedBytes, bytesOf(listing)),
      skipped: plan.skipped,
      limitReached: plan.limitReached,
      ...this.#counts(),
      ...(fetch.deletion === 'unknown' && hasUidl && this.#settleDeletion(findGone(listing, ledger).size)),
    };
    // Of very many fetches that find nothing to do, nobody watches.
    if (plan.retrieve.length + plan.headersOnly.length > 0) await this.#progress.write(facts);
    else this.#progress.note(facts);
    await this.#progress.timed('retrieveMs', async () => {
      for (const message of plan.leftOut) this.#addFailure(tooLarge(message, fetch.limits));
      const left = await this.#retrieveWanted(client, plan.retrieve);
      // Whatever becomes of those that are too large.
      await this.#commit.flush();
      const leftHeaders = await this.#retrieveHeaders(client, plan);
      await this.#commit.flush();
      this.#hasLeftOff = left + leftHeaders > 0 && this.#job.windUp.aborted;
      if (left + leftHeaders > 0 && !this.#hasLeftOff) {
        this.#progress.note({ skipped: plan.skipped + left + leftHeaders, limitReached: 'seconds' });
      }
    });
    return [...plan.stored, ...this.#commit.committed];
  }

  /** Some at a time, so that what the filter wants comes even where the time does not do for all header sections. */
  async #retrieveWanted(client: Pop3Client, messages: readonly PlannedMessage[]): Promise<number> {
    const { filter } = this.#job.fetch;
    if (!filter?.headers || !mayHaveTop(client)) return this.#retrieve(client, messages);
    let left = 0;
    for (let from = 0; from < messages.length; from += filterBatchMax) {
      const batch = messages.slice(from, from + filterBatchMax);
      if (this.#isOver()) left += batch.length;
      else left += await this.#retrieve(client, this.#hasTop ? await this.#choose(client, batch, filter) : batch);
    }
    return left;
  }

  /** Leaves out what the filter does not want by its header section. What TOP does not give is looked at when it is here. */
  async #choose(client: Pop3Client, messages: readonly PlannedMessage[], filter: MessageFilter) {
    const ports = { parse: this.#ports.parse, onBroken: this.#blame.bind(this) };
    const looked = await lookAtHeaders(client, messages, filter, ports);
    this.hadBegun = true;
    this.#hasTop = !looked.includes(null);
    await this.#leaveOut(
      messages.filter((_, at) => looked[at] === false),
      'filter_headers',
    );
    return messages.filter((_, at) => looked[at] !== false);
  }

  /** They stay on the server, and are not looked at again by the same filter. */
  async #leaveOut(messages: readonly PlannedMessage[], reason: 'filter_size' | 'filter_headers'): Promise<void> {
    const { filter } = this.#job.fetch;
    if (!filter) return;
    await tellSkipped(this.#ports.announce, this.#job.fetch, messages, reason);
    await this.#job.book.mark(skipByFilter(messages, reason, filter, this.#nowSeconds()));
    this.#unwanted += messages.length;
    for (const _ of messages) this.#ports.observer?.observeMessage('filtered', 0);
  }

  /** A message that failed by itself is noted, and the session goes on. Resolves with how many the time did not do for. */
  async #retrieve(client: Pop3Client, messages: readonly PlannedMessage[]): Promise<number> {
    let done = 0;
    try {
      for await (const { message, body, error } of client.retrieveAll(this.#untilTimeIsUp(messages))) {
        if (error) this.#addFailure({ ...identify(message), code: error.code, detail: error.message });
        else await this.#commit.take(message, bounded(body, message, this.#job.fetch.limits));
        done += 1;
        await this.#progress.writeSometimes(this.#counts());
      }
    } catch (error) {
      await this.#blame(messages[done], error);
      throw error;
    }
    return messages.length - done;
  }

  /** The session broke while this message was asked for. */
  async #blame(message: PlannedMessage | undefined, error: unknown): Promise<void> {
    if (!message || !isMessagesFault(error)) return;
    // What was retrieved before is as good as if nothing had broken.
    await this.#commit.flush();
    await this.#markBroken(message, error);
  }

  /** TOP (RFC 1939 §7) of what is too large: an optional command, without which there is nothing but the failure. */
  async #retrieveHeaders(client: Pop3Client, { headersOnly }: Plan): Promise<number> {
    let done = 0;
    try {
      for await (const { message, body, error } of client.topAll(this.#untilTimeIsUp(headersOnly), 0)) {
        if (error) this.#addFailure(tooLarge(message, this.#job.fetch.limits));
        else await this.#commit.takeHeaders(message, bounded(body, message, this.#job.fetch.limits));
        done += 1;
        await this.#progress.writeSometimes(this.#counts());
      }
    } catch (error) {
      const broken = headersOnly[done];
      if (broken && isMessagesFault(error)) {
        await this.#commit.flush();
        await this.#markBrokenHeaders(broken);
      }
      throw error;
    }
    return headersOnly.length - done;
  }

  /** One that breaks the session whenever its header section is asked for must not keep the fetch from its end. */
  async #markBrokenHeaders(message: PlannedMessage): Promise<void> {
    const { key, isSuspect } = message;
    if (key === null) return;
    const broke = isSuspect ? brokenHeadersMax : 1;
    await this.#job.book.commit(key, { ...this.#known(message), state: 'oversize', broke });
    this.#foundFailing += 1;
  }

  *#untilTimeIsUp(messages: readonly PlannedMessage[]): Generator<PlannedMessage, void> {
    for (const message of messages) {
      if (this.#isOver()) return;
      this.hadBegun = true;
      yield message;
    }
  }

  /** One message at least, or a slow login would let every fetch end with nothing; but not where the process stops. */
  #isOver(): boolean {
    const { windUp, fetch } = this.#job;
    return windUp.aborted || (this.hadBegun && this.#elapsedMs() > fetch.limits.seconds * 1000);
  }

  /** The session broke on this message. The next attempt leaves it for last, or out where it can only fail again. */
  async #markBroken(message: PlannedMessage, error: Pop3Error | AppError<'message_too_large'>): Promise<void> {
    const { fetch } = this.#job;
    const tooBig = error.code === 'message_too_large';
    if (!tooBig) this.#addFailure({ ...identify(message), code: error.code, detail: error.message });
    else if (message.key === null) this.#addFailure(tooLarge(message, fetch.limits));
    if (message.key === null) return;
    const known = this.#known(message);
    const entry: LedgerEntry = tooBig ? { ...known, state: 'oversize', broke: 0 } : { ...known, state: 'suspect' };
    await this.#job.book.commit(message.key, entry);
    if (tooBig || !message.isSuspect) this.#foundFailing += 1;
  }

  #known({ bytes }: PlannedMessage): Pick<LedgerEntry, 'at' | 'bytes' | 'absent'> {
    return { at: this.#nowSeconds(), bytes, absent: null };
  }

  /** Asks the server to delete, and whether it has; leaves the rest for another fetch. */
  async #delete(client: Pop3Client, deletable: readonly StoredMessage[]): Promise<void> {
    const asked: StoredMessage[] = [];
    const refused = await client.deleteAll(this.#untilQuitIsDue(deletable, asked));
    this.#hasLeftOff = this.#job.windUp.aborted && asked.length < deletable.length;
    if (asked.length === 0) return void (await client.quit().catch(ignoreUpstream));
    const deleted = asked.filter(({ number }) => !refused.has(number));
    // From here until the answer, nobody knows: a crash must not leave "none" behind, nor a mail that the server gives the same
    // unique-id be taken for one that was stored.
    this.#hasDeleted = true;
    await this.#progress.write({ deletion: 'unknown' });
    const entries = new Map(deleted.map((message) => [message.key, asDeleted(message)] as const));
    await this.#job.book.mark(entries);
    const confirmed = await client.quit().catch(ignoreUpstream);
    if (!confirmed) return;
    await tellDeleted(this.#ports.announce, this.#job.fetch, this.#job.book, entries);
    await this.#progress.write(this.#settleDeletion(this.#deletedBefore + deleted.length));
  }

  /** DELE counts for nothing without the QUIT behind it: that must come before the session's time is over. */
  *#untilQuitIsDue(messages: readonly StoredMessage[], asked: StoredMessage[]): Generator<number, void> {
    for (const message of messages) {
      const untilMs = this.#job.fetch.limits.seconds * 1000 + sessionGraceMs / 2;
      if (this.#job.windUp.aborted || this.#elapsedMs() > untilMs) return;
      asked.push(message);
      yield message.number;
    }
  }

  #settleDeletion(deleted: number): Pick<FetchProgress, 'deleted' | 'deletion'> {
    this.#deletedBefore = deleted;
    return { deleted, deletion: 'confirmed' };
  }

  #nowSeconds(): number {
    return Math.floor(this.#ports.clock.now() / 1000);
  }

  #elapsedMs(): number {
    return this.#ports.clock.now() - this.#startedMs;
  }

  #addFailure(failure: MessageFailure): void {
    this.#ports.observer?.observeMessage('failed', 0);
    this.#failures.push({ ...failure, detail: failure.detail.slice(0, detailCharsMax) });
  }

  #counts(): Pick<FetchProgress, 'failed' | 'failures' | 'filtered'> {
    return {
      failed: this.#failures.length,
      failures: this.#failures.slice(0, failuresMax),
      filtered: this.#unwantedBefore + this.#unwanted + this.#commit.unwanted,
    };
  }
}

function identify({ number, uidl }: Listed): Pick<MessageFailure, 'number' | 'uidl'> {
  return { number, uidl };
}
