/**
 * The ledger of a stored mailbox, shared by all its fetches: one compressed string, and a hash of what was marked since, which is folded
 * into the string when it has grown. A fetch reads all of it at once, so nothing but its size counts; a mark is one small write.
 *
 * Every write carries the fencing token of the maildrop's lease, and is refused once another fetch has begun, or the mailbox is gone.
 */
import { AppError } from '../errors.ts';
import { formatToken, TOKEN_BYTES } from '../mailbox/mailbox-codec.ts';
import type { RedisClient } from '../redis/client.ts';
import { gatherBy } from '../redis/gather.ts';
import { mailboxKeys } from '../redis/keys.ts';
import { defineScript } from '../redis/script.ts';
import type { FetchStore } from './fetch-store.ts';
import type { Ledger, LedgerEntry, LedgerUser } from './ledger.ts';
import { decodeEntry, decodeLedger, encodeLedger, markBatches } from './ledger-codec.ts';
import { foldMarksMin, foldMarksShare } from './limits.ts';

type MailboxRef = Pick<LedgerUser, 'tenant' | 'mailboxId'>;

export interface MailboxLedger extends Ledger {
  /** Null while no fetch has seen the maildrop. @throws AppError `storage_failed` where it is damaged. */
  read(ref: MailboxRef): Promise<KnownLedger | null>;
  /** Puts `entries` in the place of all that was known. @throws AppError `lease_lost` when fenced off. */
  replace(ref: MailboxRef, token: number, entries: ReadonlyMap<string, LedgerEntry>): Promise<void>;
  /** Says that the owner is done with a message. Does nothing where the mailbox is not stored. */
  release(ref: MailboxRef, messageId: string): Promise<void>;
  /** The messages of which that was said and that are not yet marked so. */
  released(ref: MailboxRef): Promise<Set<string>>;
  /** Forgets that it was said of these: the ledger knows. */
  settleReleased(ref: MailboxRef, messageIds: readonly string[]): Promise<void>;
  /** Forgets all that was known. @throws AppError `lease_lost` when fenced off. */
  forget(ref: MailboxRef, token: number): Promise<void>;
}

export interface KnownLedger {
  entries: Map<string, LedgerEntry>;
  /** Enough was marked since it was folded that it should be again. */
  wantsFolding: boolean;
}

/** KEYS: mailbox, marks. ARGV: token, message key, entry, ... */
const writeMarks = defineScript(`
  if redis.call('GETRANGE', KEYS[1], 0, ${TOKEN_BYTES - 1}) ~= ARGV[1] then return 0 end
  for i = 2, #ARGV, 2 do redis.call('HSET', KEYS[2], ARGV[i], ARGV[i + 1]) end
  return 1`);

/** KEYS: mailbox, marks, ledger. ARGV: token, the folded ledger or nothing. */
const writeLedger = defineScript(`
  if redis.call('GETRANGE', KEYS[1], 0, ${TOKEN_BYTES - 1}) ~= ARGV[1] then return 0 end
  redis.call('DEL', KEYS[2])
  if ARGV[2] == '' then redis.call('DEL', KEYS[3]) else redis.call('SET', KEYS[3], ARGV[2]) end
  return 1`);

/** KEYS: mailbox, released. ARGV: message ids. */
const addReleased = defineScript(`
  if redis.call('EXISTS', KEYS[1]) == 0 then return 0 end
  for _, id in ipairs(ARGV) do redis.call('SADD', KEYS[2], id) end
  return 1`);

export function createMailboxLedger(redis: RedisClient, fetches: Pick<FetchStore, 'count'>): MailboxLedger {
  const keysOf = ({ tenant, mailboxId }: MailboxRef) => mailboxKeys(tenant, mailboxId);
  const fenced = async (done: Promise<unknown>): Promise<void> => {
    if ((await done) === 0) throw new AppError('lease_lost', 'Another fetch has this mailbox now, or it was deleted.');
  };

  async function read(ref: MailboxRef): Promise<KnownLedger | null> {
    const { ledger, marks } = keysOf(ref);
    const [folded, marked] = await Promise.all([redis.getBuffer(ledger), redis.hgetallBuffer(marks)]);
    const entries = folded === null ? new Map<string, LedgerEntry>() : decodeLedger(folded);
    const markedEntries = Object.entries(marked);
    const wantsFolding = markedEntries.length >= Math.max(foldMarksMin, entries.size * foldMarksShare);
    for (const [key, bytes] of markedEntries) entries.set(key, decodeEntry(bytes));
    return folded === null && markedEntries.length === 0 ? null : { entries, wantsFolding };
  }

  const write = async (ref: MailboxRef, token: number, folded: Buffer | ''): Promise<void> => {
    const { record, marks, ledger } = keysOf(ref);
    await fenced(writeLedger(redis, [record, marks, ledger], [formatToken(token), folded]));
  };

  const release = gatherBy<MailboxRef & { messageId: string }>(
    (message) => keysOf(message).record,
    async (messages) => {
      const { record, released } = keysOf(messages[0]);
      await addReleased(
        redis,
        [record, released],
        messages.map(({ messageId }) => messageId),
      );
    },
  );

  const mark: Ledger['mark'] = async (fetch, token, entries) => {
    const { record, marks } = keysOf(fetch);
    for (const fields of markBatches(entries)) {
      await fenced(writeMarks(redis, [record, marks], [formatToken(token), ...fields]));
    }
  };

  return {
    read,
    mark,
    async readLedger(fetch) {
      return (await read(fetch))?.entries ?? new Map<string, LedgerEntry>();
    },
    async commit(fetch, token, key, entry, retrieved) {
      // The fetch's own count first: what is marked is not looked at again.
      if (retrieved) await fetches.count(fetch, token, retrieved);
      await mark(fetch, token, new Map([[key, entry]]));
    },
    replace: (ref, token, entries) => write(ref, token, encodeLedger(entries)),
    forget: (ref, token) => write(ref, token, ''),
    release: ({ tenant, mailboxId }, messageId) => release({ tenant, mailboxId, messageId }),
    async released(ref) {
      return new Set(await redis.smembers(keysOf(ref).released));
    },
    async settleReleased(ref, messageIds) {
      if (messageIds.length > 0) await redis.srem(keysOf(ref).released, ...messageIds);
    },
  };
}
