/**
 * Mailboxes in Redis: a string each, and one list of the tenant's. The string begins with the fencing token of who fetched last, so that
 * a late writer is refused, here and by the ledger's scripts.
 */
import { AppError } from '../errors.ts';
import type { RedisClient } from '../redis/client.ts';
import { mailboxesKey, mailboxKeys, maildropKey } from '../redis/keys.ts';
import { defineScript } from '../redis/script.ts';
import { openSealed, type SealedValue } from '../redis/sealed-value.ts';
import { createStateIndex } from '../redis/state-index.ts';
import type { Credentials } from './credentials.ts';
import { changesMax, scheduledMs } from './limits.ts';
import { stateOf, type Mailbox, type MailboxRef, type MailboxState, type MailboxStatus } from './mailbox.ts';
import { decodeMailbox, encodeMailbox, formatToken, TOKEN_BYTES } from './mailbox-codec.ts';
import type { Sealer } from './sealing.ts';
import { maildropOf } from './source.ts';

export interface ChangedMailbox {
  mailbox: Mailbox;
  /** Null where they stay. */
  credentials: Credentials | null;
}

export interface MailboxStore {
  /** False where there is one by that id. */
  create(mailbox: Mailbox, credentials: Credentials): Promise<boolean>;
  find(ref: MailboxRef): Promise<Mailbox | null>;
  /** In the order of their ids, from behind `after`. */
  list(tenant: string, after: string | null, limit: number): Promise<{ items: Mailbox[]; next: string | null }>;
  /**
   * Makes another mailbox of the one that is there; `change` is asked again where it has changed meanwhile. Null where there is none.
   * @throws AppError `conflict` where others change it all the time; what `change` throws.
   */
  change(ref: MailboxRef, change: (mailbox: Mailbox) => ChangedMailbox): Promise<Mailbox | null>;
  /** False where there is none. */
  delete(ref: MailboxRef): Promise<boolean>;
  /** Other mailboxes that point at the same maildrop. */
  listSharing(mailbox: Mailbox): Promise<string[]>;
  /** @throws AppError `credentials_unavailable`. */
  openCredentials(ref: MailboxRef): Promise<Credentials>;
  /** False where they are not `was` any more, or the mailbox is gone. @throws AppError `credentials_unavailable`. */
  replaceCredentials(ref: MailboxRef, was: Credentials, now: Credentials): Promise<boolean>;
  /** For the rotation of master keys. @throws AppError `storage_failed` where the record is damaged. */
  listSealed(ref: MailboxRef): Promise<SealedValue[]>;
  /** Takes the mailbox for a fetch. Null where it is gone, or a later token has it. */
  begin(ref: MailboxRef, token: number): Promise<Mailbox | null>;
  /** The id of the fetch that the schedule has made and that has not ended, as far as is known. */
  lastScheduled(ref: MailboxRef): Promise<string | null>;
  noteScheduled(ref: MailboxRef, fetchId: string): Promise<void>;
  endScheduled(ref: MailboxRef): Promise<void>;
  /**
   * False where its owner has changed it since `updatedAt`, and the status says that nothing but that can help: then it stays as it is.
   * @throws AppError `lease_lost` when fenced off.
   */
  writeStatus(ref: MailboxRef, token: number, status: MailboxStatus, updatedAt: string): Promise<boolean>;
  /** How many there are of these tenants, by state: of all that are not `ok` it is kept, so that this costs the same however many there are. */
  countStates(tenants: readonly string[]): Promise<Record<MailboxState, number>>;
}

/** All that need somebody's look. */
const TROUBLES = ['retrying', 'needs_credentials', 'blocked', 'paused'] as const;

/** KEYS: mailbox. ARGV: token, what follows it as it was, and as it is to be. */
const replaceOne = defineScript(`
  local value = redis.call('GET', KEYS[1])
  if not value or value:sub(${TOKEN_BYTES + 1}) ~= ARGV[2] then return 0 end
  if ARGV[1] ~= '' and value:sub(1, ${TOKEN_BYTES}) ~= ARGV[1] then return 0 end
  redis.call('SET', KEYS[1], value:sub(1, ${TOKEN_BYTES}) .. ARGV[3])
  return 1`);

/** KEYS: mailbox. ARGV: token. */
const beginOne = defineScript(`
  local held = redis.call('GETRANGE', KEYS[1], 0, ${TOKEN_BYTES - 1})
  if held == '' or held >= ARGV[1] then return 0 end
  redis.call('SETRANGE', KEYS[1], 0, ARGV[1])
  return 1`);

export function createMailboxStore(redis: RedisClient, sealer: Sealer): MailboxStore {
  const keysOf = ({ tenant, mailbox }: MailboxRef) => mailboxKeys(tenant, mailbox);
  const contextOf = ({ tenant, mailbox }: MailboxRef): string[] => [tenant, mailbox, 'credentials'];
  const seal = (ref: MailboxRef, credentials: Credentials): string =>
    sealer.seal(JSON.stringify(credentials), contextOf(ref));

  async function read(ref: MailboxRef): Promise<ReadMailbox | null> {
    const value = await redis.getBuffer(keysOf(ref).record);
    if (value === null) return null;
    const bytes = value.subarray(TOKEN_BYTES);
    return { ...decodeMailbox(ref, bytes), token: value.toString('latin1', 0, TOKEN_BYTES), bytes };
  }

  /** Whoever fetches meanwhile keeps the token, and has its status written again where this came between. */
  const toValue = (ref: MailboxRef, { mailbox, sealed, bytes }: ReadMailbox): SealedValue => ({
    sealed,
    context: contextOf(ref),
    replace: async (next) =>
      (await replaceOne(redis, [keysOf(ref).record], ['', bytes, encodeMailbox(mailbox, next)])) === 1,
  });

  const find = async (ref: MailboxRef): Promise<Mailbox | null> => (await read(ref))?.mailbox ?? null;

  const pointOf = ({ tenant, settings }: Mailbox): string => maildropOf(tenant, settings.source);

  /** Most mailboxes have the id of their maildrop, and are found by that. */
  async function point(mailbox: Mailbox): Promise<void> {
    const maildrop = pointOf(mailbox);
    if (maildrop !== mailbox.mailbox) await redis.sadd(maildropKey(mailbox.tenant, maildrop), mailbox.mailbox);
  }

  async function unpoint(mailbox: Mailbox): Promise<void> {
    await redis.srem(maildropKey(mailbox.tenant, pointOf(mailbox)), mailbox.mailbox);
  }

  const states = createStateIndex(redis, 'mailbox', TROUBLES);

  /** Most mailboxes are `ok`, and were: that costs nothing. Called before it is written. */
  async function noteState(after: Mailbox, before: Mailbox | null): Promise<void> {
    const [was, is] = [before && stateOf(before), stateOf(after)];
    if (is !== 'ok') await states.note(memberOf(after), is);
    else if (was !== null && was !== 'ok') await states.note(memberOf(after), null);
  }

  return {
    find,
    async create(mailbox, credentials) {
      // What lists a mailbox that is none is passed over; one that nothing lists would be lost to sight.
      await redis.zadd(mailboxesKey(mailbox.tenant), 0, mailbox.mailbox);
      await point(mailbox);
      await noteState(mailbox, null);
      const value = Buffer.concat([Buffer.from(formatToken(0)), encodeMailbox(mailbox, seal(mailbox, credentials))]);
      return (await redis.set(keysOf(mailbox).record, value, 'NX')) === 'OK';
    },
    async list(tenant, after, limit) {
      const ids = await redis.zrange(
        mailboxesKey(tenant),
        after === null ? '-' : `(${after}`,
        '+',
        'BYLEX',
        'LIMIT',
        0,
        limit,
      );
      const found = await Promise.all(ids.map((mailbox) => find({ tenant, mailbox })));
      const next = ids.length === limit ? (ids.at(-1) ?? null) : null;
      return { items: found.filter((mailbox) => mailbox !== null), next };
    },
    async change(ref, change) {
      for (let tries = 0; tries < changesMax; tries += 1) {
        const known = await read(ref);
        if (!known) return null;
        const { mailbox, credentials } = change(known.mailbox);
        const sealed = credentials === null ? known.sealed : seal(ref, credentials);
        await point(mailbox);
        await noteState(mailbox, known.mailbox);
        const args = ['', known.bytes, encodeMailbox(mailbox, sealed)];
        if ((await replaceOne(redis, [keysOf(ref).record], args)) === 0) continue;
        if (pointOf(known.mailbox) !== pointOf(mailbox)) await unpoint(known.mailbox);
        return mailbox;
      }
      throw new AppError('conflict', 'The mailbox is being changed by somebody else at this moment. Try again.');
    },
    async delete(ref) {
      const known = await find(ref);
      if (known && stateOf(known) !== 'ok') await states.note(memberOf(ref), null);
      const found = await redis.del(...Object.values(keysOf(ref)));
      await redis.zrem(mailboxesKey(ref.tenant), ref.mailbox);
      if (known) await unpoint(known);
      return found > 0;
    },
    async listSharing(mailbox) {
      const { tenant } = mailbox;
      const maildrop = pointOf(mailbox);
      const ids = new Set(await redis.smembers(maildropKey(tenant, maildrop))).add(maildrop);
      ids.delete(mailbox.mailbox);
      const found = await Promise.all([...ids].map((id) => find({ tenant, mailbox: id })));
      return found.flatMap((other) => (other && pointOf(other) === maildrop ? [other.mailbox] : [])).sort();
    },
    async openCredentials(ref) {
      const known = await read(ref);
      if (!known) throw new AppError('credentials_unavailable', 'The mailbox was deleted.');
      return JSON.parse(await openSealed(sealer, toValue(ref, known))) as Credentials;
    },
    async replaceCredentials(ref, was, now) {
      for (;;) {
        const known = await read(ref);
        if (!known || sealer.open(known.sealed, contextOf(ref)) !== JSON.stringify(was)) return false;
        const args = ['', known.bytes, encodeMailbox(known.mailbox, seal(ref, now))];
        if ((await replaceOne(redis, [keysOf(ref).record], args)) === 1) return true;
      }
    },
    async listSealed(ref) {
      const known = await read(ref);
      return known ? [toValue(ref, known)] : [];
    },
    async begin(ref, token) {
      return (await beginOne(redis, [keysOf(ref).record], [formatToken(token)])) === 1 ? find(ref) : null;
    },
    lastScheduled: (ref) => redis.get(keysOf(ref).scheduled),
    async noteScheduled(ref, fetchId) {
      await redis.set(keysOf(ref).scheduled, fetchId, 'PX', scheduledMs);
    },
    async endScheduled(ref) {
      await redis.del(keysOf(ref).scheduled);
    },
    async writeStatus(ref, token, status, updatedAt) {
      for (;;) {
        const known = await read(ref);
        if (known?.token !== formatToken(token)) throw fencedOff();
        if (status.state === 'needs_credentials' && known.mailbox.updatedAt !== updatedAt) return false;
        // Its owner may change it at this moment, which is not to be undone.
        const changed = { ...known.mailbox, status };
        await noteState(changed, known.mailbox);
        const args = [known.token, known.bytes, encodeMailbox(changed, known.sealed)];
        if ((await replaceOne(redis, [keysOf(ref).record], args)) === 1) return true;
      }
    },
    async countStates(tenants) {
      const [troubled, ...sizes] = await Promise.all([
        states.count(),
        ...tenants.map((tenant) => redis.zcard(mailboxesKey(tenant))),
      ]);
      const all = sizes.reduce((sum, size) => sum + size, 0);
      const notOk = TROUBLES.reduce((sum, state) => sum + troubled[state], 0);
      return { ...troubled, ok: Math.max(0, all - notOk) };
    },
  };
}

function memberOf({ tenant, mailbox }: MailboxRef): string {
  return `${tenant}/${mailbox}`;
}

/** A mailbox and the very bytes that it was read from. */
interface ReadMailbox {
  mailbox: Mailbox;
  sealed: string;
  token: string;
  bytes: Buffer;
}

function fencedOff(): AppError {
  return new AppError('lease_lost', 'Another fetch has this mailbox now, or it was deleted.');
}
