/**
 * Mailboxes in Redis: a hash each, of settings, sealed credentials and status, and one list of the tenant's. The hash also has the
 * fencing token of who fetched last, so that a late writer is refused; what it refuses is seen by the ledger's scripts as well.
 */
import type { Redis } from 'ioredis';
import { AppError } from '../errors.ts';
import { mailboxesKey, mailboxKeys, maildropKey } from '../redis/keys.ts';
import { defineScript } from '../redis/script.ts';
import type { Credentials } from './credentials.ts';
import type { Mailbox, MailboxRef, MailboxSettings, MailboxStatus } from './mailbox.ts';
import type { Sealer } from './sealing.ts';
import { maildropOf } from './source.ts';

export interface MailboxStore {
  /** False where there is one by that id. */
  create(mailbox: Mailbox, credentials: Credentials): Promise<boolean>;
  find(ref: MailboxRef): Promise<Mailbox | null>;
  /** In the order of their ids, from behind `after`. */
  list(tenant: string, after: string | null, limit: number): Promise<{ items: Mailbox[]; next: string | null }>;
  /** Writes settings and status where they still are those that were read, and credentials where there are new ones. */
  replace(read: Mailbox, changed: Mailbox, credentials: Credentials | null): Promise<boolean>;
  /** False where there is none. */
  delete(ref: MailboxRef): Promise<boolean>;
  /** Other mailboxes that point at the same maildrop. */
  listSharing(mailbox: Mailbox): Promise<string[]>;
  /** @throws AppError `credentials_unavailable`. */
  openCredentials(ref: MailboxRef): Promise<Credentials>;
  /** Takes the mailbox for a fetch. Null where it is gone, or a later token has it. */
  begin(ref: MailboxRef, token: number): Promise<Mailbox | null>;
  /** The id of the fetch that the schedule has made last. */
  lastScheduled(ref: MailboxRef): Promise<string | null>;
  /** Does nothing where the mailbox is gone. */
  noteScheduled(ref: MailboxRef, fetchId: string): Promise<void>;
  /** @throws AppError `lease_lost` when fenced off. */
  writeStatus(ref: MailboxRef, token: number, status: MailboxStatus): Promise<void>;
}

/** The settings as they are stored. */
interface StoredSettings extends MailboxSettings {
  createdAt: string;
  updatedAt: string;
}

/** KEYS: mailbox. ARGV: settings, status, credentials. */
const createOne = defineScript(`
  if redis.call('EXISTS', KEYS[1]) == 1 then return 0 end
  redis.call('HSET', KEYS[1], 'settings', ARGV[1], 'status', ARGV[2], 'credentials', ARGV[3])
  return 1`);

/** KEYS: mailbox. ARGV: settings and status as they were, settings, status, credentials or nothing. */
const replaceOne = defineScript(`
  local was = redis.call('HMGET', KEYS[1], 'settings', 'status')
  if was[1] ~= ARGV[1] or was[2] ~= ARGV[2] then return 0 end
  redis.call('HSET', KEYS[1], 'settings', ARGV[3], 'status', ARGV[4])
  if ARGV[5] ~= '' then redis.call('HSET', KEYS[1], 'credentials', ARGV[5]) end
  return 1`);

/** KEYS: mailbox. ARGV: token. */
const beginOne = defineScript(`
  if redis.call('EXISTS', KEYS[1]) == 0 then return 0 end
  if tonumber(redis.call('HGET', KEYS[1], 'fence') or '0') >= tonumber(ARGV[1]) then return 0 end
  redis.call('HSET', KEYS[1], 'fence', ARGV[1])
  return 1`);

/** KEYS: mailbox. ARGV: fetch id. */
const noteOne = defineScript(`
  if redis.call('EXISTS', KEYS[1]) == 0 then return 0 end
  redis.call('HSET', KEYS[1], 'scheduled', ARGV[1])
  return 1`);

/** KEYS: mailbox. ARGV: token, status. */
const writeFenced = defineScript(`
  if redis.call('HGET', KEYS[1], 'fence') ~= ARGV[1] then return 0 end
  redis.call('HSET', KEYS[1], 'status', ARGV[2])
  return 1`);

export function createMailboxStore(redis: Redis, sealer: Sealer): MailboxStore {
  const keysOf = ({ tenant, mailbox }: MailboxRef) => mailboxKeys(tenant, mailbox);
  const contextOf = ({ tenant, mailbox }: MailboxRef): string[] => [tenant, mailbox, 'credentials'];
  const seal = (ref: MailboxRef, credentials: Credentials): string =>
    sealer.seal(JSON.stringify(credentials), contextOf(ref));

  async function find(ref: MailboxRef): Promise<Mailbox | null> {
    const [settings, status] = await redis.hmget(keysOf(ref).record, 'settings', 'status');
    return settings && status ? decode(ref, settings, status) : null;
  }

  const pointOf = ({ tenant, settings }: Mailbox): string => maildropOf(tenant, settings.source);

  /** Most mailboxes have the id of their maildrop, and are found by that. */
  async function point(mailbox: Mailbox): Promise<void> {
    const maildrop = pointOf(mailbox);
    if (maildrop !== mailbox.mailbox) await redis.sadd(maildropKey(mailbox.tenant, maildrop), mailbox.mailbox);
  }

  async function unpoint(mailbox: Mailbox): Promise<void> {
    await redis.srem(maildropKey(mailbox.tenant, pointOf(mailbox)), mailbox.mailbox);
  }

  return {
    find,
    async create(mailbox, credentials) {
      // What lists a mailbox that is none is passed over; one that nothing lists would be lost to sight.
      await redis.zadd(mailboxesKey(mailbox.tenant), 0, mailbox.mailbox);
      await point(mailbox);
      const fields = [encodeSettings(mailbox), JSON.stringify(mailbox.status), seal(mailbox, credentials)];
      return (await createOne(redis, [keysOf(mailbox).record], fields)) === 1;
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
    async replace(read, changed, credentials) {
      const args = [read, changed].flatMap((mailbox) => [encodeSettings(mailbox), JSON.stringify(mailbox.status)]);
      const sealed = credentials === null ? '' : seal(read, credentials);
      await point(changed);
      if ((await replaceOne(redis, [keysOf(read).record], [...args, sealed])) === 0) return false;
      if (pointOf(read) !== pointOf(changed)) await unpoint(read);
      return true;
    },
    async delete(ref) {
      const known = await find(ref);
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
      const sealed = await redis.hget(keysOf(ref).record, 'credentials');
      if (sealed === null) throw new AppError('credentials_unavailable', 'The mailbox was deleted.');
      return JSON.parse(sealer.open(sealed, contextOf(ref))) as Credentials;
    },
    async begin(ref, token) {
      return (await beginOne(redis, [keysOf(ref).record], [token])) === 1 ? find(ref) : null;
    },
    lastScheduled: (ref) => redis.hget(keysOf(ref).record, 'scheduled'),
    async noteScheduled(ref, fetchId) {
      await noteOne(redis, [keysOf(ref).record], [fetchId]);
    },
    async writeStatus(ref, token, status) {
      if ((await writeFenced(redis, [keysOf(ref).record], [token, JSON.stringify(status)])) === 0) {
        throw new AppError('lease_lost', 'Another fetch has this mailbox now, or it was deleted.');
      }
    },
  };
}

function encodeSettings({ settings, createdAt, updatedAt }: Mailbox): string {
  const stored: StoredSettings = { ...settings, createdAt, updatedAt };
  return JSON.stringify(stored);
}

function decode(ref: MailboxRef, settings: string, status: string): Mailbox {
  const { createdAt, updatedAt, ...rest } = JSON.parse(settings) as StoredSettings;
  const { tenant, mailbox } = ref;
  return { tenant, mailbox, settings: rest, status: JSON.parse(status) as MailboxStatus, createdAt, updatedAt };
}
