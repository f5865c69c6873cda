/**
 * Fetch records and ledger entries in Redis. All keys of one fetch share a slot, so each change is one atomic script.
 *
 * A worker's writes carry the fencing token of its lease: once another worker has begun, they are refused.
 */
import { AppError } from '../errors.ts';
import type { RedisClient } from '../redis/client.ts';
import { fetchKeys, webhookKeys } from '../redis/keys.ts';
import { defineScript } from '../redis/script.ts';
import type { Failure, Fetch, FetchProgress, FetchRef, FetchRequest, FetchState } from './fetch.ts';
import type { Ledger, LedgerUser, Retrieved } from './ledger.ts';
import { decodeEntry, encodeEntry, markBatches } from './ledger-codec.ts';

export interface FetchStore extends Ledger {
  create(ref: FetchRef, request: FetchRequest, createdAt: string): Promise<Fetch>;
  find(ref: FetchRef): Promise<Fetch | null>;
  /** Makes the fetch active under a fencing token. Null when it has ended, is gone, or a later token has begun. */
  begin(ref: FetchRef, token: number, startedAt: string): Promise<Fetch | null>;
  /** @throws AppError `lease_lost`. */
  writeProgress(ref: FetchRef, token: number, progress: Partial<FetchProgress>): Promise<void>;
  /** The attempt is over, and with `ended` the fetch. @throws AppError `lease_lost`. */
  finish(ref: FetchRef, token: number, end: AttemptEnd, progress?: Partial<FetchProgress>): Promise<void>;
  /** It is over, and was nothing that anybody wants to know of. @throws AppError `lease_lost`. */
  forget(ref: FetchRef, token: number): Promise<void>;
  /** Ends a fetch without a lease: false when it had ended. */
  end(ref: FetchRef, from: readonly FetchState[], end: AttemptEnd): Promise<boolean>;
  /** Asks the worker to stop. */
  requestCancel(ref: FetchRef): Promise<void>;
  isCancelRequested(ref: FetchRef): Promise<boolean>;
  /** Message ids in maildrop order. */
  listMessageIds(ref: FetchRef, offset: number, limit: number): Promise<string[]>;
  /** With its webhook. */
  delete(ref: FetchRef): Promise<void>;
  /** Counts a stored message as the fetch's, once, whose ledger is elsewhere. @throws AppError `lease_lost`. */
  count(fetch: LedgerUser, token: number, retrieved: Retrieved): Promise<void>;
}

export interface AttemptEnd {
  state: FetchState;
  error: Failure | null;
  endedAt: string | null;
  /** See `Fetch`; left as it is where absent. */
  fruitless?: number;
}

/** ARGV: token, field, value, ... Writes while the token is the latest. */
const writeFenced = defineScript(`
  if redis.call('HGET', KEYS[1], 'fence') ~= ARGV[1] then return 0 end
  redis.call('HSET', KEYS[1], unpack(ARGV, 2))
  return 1`);

/** The same, and only while the fetch is active: what was ended meanwhile stays as it is. */
const finishFenced = defineScript(`
  if redis.call('HGET', KEYS[1], 'fence') ~= ARGV[1] or redis.call('HGET', KEYS[1], 'state') ~= 'active' then return 0 end
  redis.call('HSET', KEYS[1], unpack(ARGV, 2))
  return 1`);

/** Nothing but the record: no message was counted. */
const forgetFenced = defineScript(`
  if redis.call('HGET', KEYS[1], 'fence') ~= ARGV[1] or redis.call('HGET', KEYS[1], 'state') ~= 'active' then return 0 end
  return redis.call('DEL', KEYS[1])`);

/** ARGV: token, startedAt. */
const beginFenced = defineScript(`
  local state = redis.call('HGET', KEYS[1], 'state')
  if state ~= 'queued' and state ~= 'active' then return 0 end
  if tonumber(redis.call('HGET', KEYS[1], 'fence') or '0') >= tonumber(ARGV[1]) then return 0 end
  redis.call('HSET', KEYS[1], 'fence', ARGV[1], 'state', 'active')
  redis.call('HSETNX', KEYS[1], 'startedAt', ARGV[2])
  redis.call('HINCRBY', KEYS[1], 'attempts', 1)
  return 1`);

/** ARGV: number of states, those states, field, value, ... */
const writeFrom = defineScript(`
  local state = redis.call('HGET', KEYS[1], 'state')
  local count = tonumber(ARGV[1])
  for i = 2, count + 1 do
    if ARGV[i] == state then
      redis.call('HSET', KEYS[1], unpack(ARGV, count + 2))
      return 1
    end
  end
  return 0`);

/** KEYS: record, order. ARGV: token, ttl, message id, number, count, bytes. Counts a message once. */
const COUNT_MESSAGE = `
  if redis.call('HGET', KEYS[1], 'fence') ~= ARGV[1] then return 0 end
  if ARGV[3] ~= '' then
    if redis.call('ZADD', KEYS[2], 'NX', ARGV[4], ARGV[3]) == 1 then
      redis.call('HINCRBY', KEYS[1], ARGV[5], 1)
      redis.call('HINCRBY', KEYS[1], 'retrievedBytes', ARGV[6])
    end
    redis.call('PEXPIRE', KEYS[2], ARGV[2])
  end`;

const countMessage = defineScript(`${COUNT_MESSAGE}
  return 1`);

/** And KEYS: ledger. ARGV: message key, entry. */
const commitEntry = defineScript(`${COUNT_MESSAGE}
  redis.call('HSET', KEYS[3], ARGV[7], ARGV[8])
  redis.call('PEXPIRE', KEYS[3], ARGV[2])
  return 1`);

/** KEYS: record, ledger. ARGV: token, ttl, message key, entry, ... */
const markEntries = defineScript(`
  if redis.call('HGET', KEYS[1], 'fence') ~= ARGV[1] then return 0 end
  for i = 3, #ARGV, 2 do redis.call('HSET', KEYS[2], ARGV[i], ARGV[i + 1]) end
  redis.call('PEXPIRE', KEYS[2], ARGV[2])
  return 1`);

export function createFetchStore(redis: RedisClient): FetchStore {
  const keysOf = ({ tenant, id }: FetchRef) => fetchKeys(tenant, id);
  const fenced = async (done: Promise<unknown>): Promise<void> => {
    if ((await done) === 0) throw new AppError('lease_lost', 'Another worker has taken this fetch over.');
  };

  const find = async (ref: FetchRef): Promise<Fetch | null> => {
    const fields = await redis.hgetall(keysOf(ref).record);
    return fields['request'] === undefined ? null : readRecord(ref, fields);
  };

  return {
    async create(ref, request, createdAt) {
      const { record } = keysOf(ref);
      const fields = { request: JSON.stringify(request), state: 'queued', createdAt };
      await redis.multi().hset(record, fields).pexpire(record, request.retentionMs).exec();
      return readRecord(ref, fields);
    },
    find,
    async begin(ref, token, startedAt) {
      const begun = await beginFenced(redis, [keysOf(ref).record], [token, startedAt]);
      return begun === 1 ? find(ref) : null;
    },
    writeProgress: (ref, token, progress) =>
      fenced(writeFenced(redis, [keysOf(ref).record], [token, ...encodeFields(progress)])),
    finish: (ref, token, end, progress = {}) =>
      fenced(finishFenced(redis, [keysOf(ref).record], [token, ...encodeFields({ ...progress, ...end })])),
    forget: (ref, token) => fenced(forgetFenced(redis, [keysOf(ref).record], [token])),
    async end(ref, from, end) {
      return (await writeFrom(redis, [keysOf(ref).record], [from.length, ...from, ...encodeFields(end)])) === 1;
    },
    async requestCancel(ref) {
      await writeFrom(redis, [keysOf(ref).record], [2, 'queued', 'active', 'cancelRequested', '1']);
    },
    async isCancelRequested(ref) {
      return (await redis.hexists(keysOf(ref).record, 'cancelRequested')) === 1;
    },
    listMessageIds: (ref, offset, limit) => redis.zrange(keysOf(ref).order, offset, String(offset + limit - 1)),
    async delete(ref) {
      const ofWebhook = webhookKeys(ref.tenant, ref.id);
      await redis.unlink(...Object.values(keysOf(ref)), ...Object.values(ofWebhook));
    },
    count(fetch, token, { messageId, number, as, bytes }) {
      const { record, order } = keysOf(fetch);
      return fenced(countMessage(redis, [record, order], [token, fetch.retentionMs, messageId, number, as, bytes]));
    },
    async readLedger(ref) {
      const fields = await redis.hgetallBuffer(keysOf(ref).ledger);
      return new Map(Object.entries(fields).map(([key, bytes]) => [key, decodeEntry(bytes)]));
    },
    commit(fetch, token, key, entry, retrieved) {
      const { record, ledger, order } = keysOf(fetch);
      const { messageId = '', number = 0, as = '', bytes = 0 } = retrieved ?? {};
      const args = [token, fetch.retentionMs, messageId, number, as, bytes, key, encodeEntry(entry)];
      return fenced(commitEntry(redis, [record, order, ledger], args));
    },
    async mark(fetch, token, entries) {
      const { record, ledger } = keysOf(fetch);
      for (const fields of markBatches(entries)) {
        await fenced(markEntries(redis, [record, ledger], [token, fetch.retentionMs, ...fields]));
      }
    },
  };
}

/** Objects and nulls as JSON, so that `readRecord` gives back what was written. */
function encodeFields(fields: Partial<FetchProgress> | AttemptEnd): string[] {
  return Object.entries(fields).flatMap(([name, value]) => [
    name,
    typeof value === 'object' ? JSON.stringify(value) : String(value),
  ]);
}

function readRecord({ tenant, id }: FetchRef, fields: Record<string, string>): Fetch {
  const json = <T>(name: string, otherwise: T): T => {
    const value = fields[name];
    return value === undefined ? otherwise : (JSON.parse(value) as T);
  };
  const text = (name: string): string | null => {
    const value = fields[name];
    return value === undefined || value === 'null' ? null : value;
  };
  const count = (name: string): number => Number(fields[name] ?? 0);
  return {
    ...json<FetchRequest>('request', {} as FetchRequest),
    id,
    tenant,
    state: (fields['state'] ?? 'queued') as FetchState,
    error: json<Failure | null>('error', null),
    attempts: count('attempts'),
    fruitless: count('fruitless'),
    createdAt: fields['createdAt'] ?? '',
    startedAt: text('startedAt'),
    endedAt: text('endedAt'),
    listed: count('listed'),
    listedBytes: count('listedBytes'),
    retrieved: count('retrieved'),
    retrievedBytes: count('retrievedBytes'),
    omitted: count('omitted'),
    skipped: count('skipped'),
    filtered: count('filtered'),
    failed: count('failed'),
    deletable: count('deletable'),
    deleted: count('deleted'),
    deletion: (text('deletion') ?? 'none') as Fetch['deletion'],
    limitReached: text('limitReached') as Fetch['limitReached'],
    failures: json('failures', []),
    phases: json('phases', {}),
  };
}
