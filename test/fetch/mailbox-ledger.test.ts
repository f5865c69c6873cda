import { Redis } from 'ioredis';
import { randomBytes } from 'node:crypto';
import { afterAll, beforeAll, beforeEach, describe, expect, test } from 'vitest';
import type { LedgerEntry, Retrieved } from '../../src/fetch/ledger.ts';
import { foldMarksMin } from '../../src/fetch/limits.ts';
import { createMailboxLedger, type MailboxLedger } from '../../src/fetch/mailbox-ledger.ts';
import { freshStatus, type Mailbox } from '../../src/mailbox/mailbox.ts';
import { createMailboxStore, type MailboxStore } from '../../src/mailbox/mailbox-store.ts';
import { createSealer } from '../../src/mailbox/sealing.ts';
import { mailboxId } from '../../src/identity.ts';
import { mailboxKeys } from '../../src/redis/keys.ts';
import { startRedis, type TestRedis } from '../support/redis.ts';

const NOW = '2026-11-27T12:00:00.000Z';
const REF = { tenant: 'default', mailbox: 'mbx_1' };
const FETCH = { tenant: 'default', id: 'fch_1', mailboxId: 'mbx_1', retentionMs: 1000 };
const MAILBOX: Mailbox = {
  ...REF,
  settings: {
    name: null,
    source: { host: 'pop.example.com', port: 995, tls: 'implicit', username: 'jo', ca: null },
    schedule: null,
    isPaused: false,
    firstFetch: 'all',
    delete: 'never',
    isDryRun: false,
    limits: { messages: 10, bytes: 1000, messageBytes: 100, seconds: 60 },
    retentionMs: 1000,
  },
  status: freshStatus(NOW),
  createdAt: NOW,
  updatedAt: NOW,
};
const SUSPECT: LedgerEntry = { state: 'suspect', at: 1_764_000_000, bytes: 1, absent: null };
const lost = expect.objectContaining({ code: 'lease_lost' }) as Error;

let server: TestRedis;
let redis: Redis;
let mailboxes: MailboxStore;
let ledger: MailboxLedger;
let counted: Retrieved[];

beforeAll(async () => {
  server = await startRedis();
  redis = new Redis(server.url);
  mailboxes = createMailboxStore(redis, createSealer(`k1:${Buffer.alloc(32, 1).toString('base64')}`));
  ledger = createMailboxLedger(redis, { count: async (_fetch, _token, one) => void counted.push(one) });
});
afterAll(async () => {
  redis.disconnect();
  await server.close();
});
beforeEach(async () => {
  await redis.flushall();
  counted = [];
  await mailboxes.create(MAILBOX, { type: 'password', password: 'p' });
  await mailboxes.begin(REF, 1);
});

describe('the ledger of a mailbox', () => {
  test('is none before the first fetch, and one, if an empty one, after it', async () => {
    expect(await ledger.read(FETCH)).toBeNull();
    await ledger.replace(FETCH, 1, new Map());
    expect(await ledger.read(FETCH)).toEqual({ entries: new Map(), wantsFolding: false });
  });

  test('has what was folded and what was marked since, the latter first', async () => {
    await ledger.replace(FETCH, 1, new Map([['uidl:0:a', SUSPECT]]));
    const later = { ...SUSPECT, at: SUSPECT.at + 9 };
    await ledger.mark(FETCH, 1, new Map([['uidl:0:a', later]]));
    await ledger.commit(FETCH, 1, 'uidl:0:b', SUSPECT);
    expect([...(await ledger.readLedger(FETCH))]).toEqual([
      ['uidl:0:a', later],
      ['uidl:0:b', SUSPECT],
    ]);
  });

  test('counts a message as the fetch’s before it marks it, as what is marked is not looked at again', async () => {
    const retrieved: Retrieved = { messageId: 'msg_1', number: 1, as: 'retrieved', bytes: 5 };
    const failing = createMailboxLedger(redis, { count: async () => Promise.reject(new Error('gone')) });
    await expect(failing.commit(FETCH, 1, 'uidl:0:a', SUSPECT, retrieved)).rejects.toThrow('gone');
    expect(await ledger.read(FETCH)).toBeNull();
    await ledger.commit(FETCH, 1, 'uidl:0:a', SUSPECT, retrieved);
    expect(counted).toEqual([retrieved]);
  });

  test('wants to be folded once enough was marked, and has no marks then', async () => {
    const many = new Map(Array.from({ length: foldMarksMin }, (_, at) => [`uidl:0:${at}`, SUSPECT] as const));
    await ledger.mark(FETCH, 1, new Map([...many].slice(1)));
    expect((await ledger.read(FETCH))!.wantsFolding).toBe(false);
    await ledger.mark(FETCH, 1, many);
    expect((await ledger.read(FETCH))!.wantsFolding).toBe(true);
    await ledger.replace(FETCH, 1, many);
    expect(await redis.exists(mailboxKeys('default', 'mbx_1').marks)).toBe(0);
    expect((await ledger.read(FETCH))!.entries.size).toBe(foldMarksMin);
  });

  test('is written by the latest holder of the lease only', async () => {
    await ledger.mark(FETCH, 1, new Map([['uidl:0:a', SUSPECT]]));
    await mailboxes.begin(REF, 2);
    const before = await ledger.read(FETCH);
    await expect(ledger.mark(FETCH, 1, new Map([['uidl:0:b', SUSPECT]]))).rejects.toThrow(lost);
    await expect(ledger.replace(FETCH, 1, new Map())).rejects.toThrow(lost);
    await expect(ledger.forget(FETCH, 1)).rejects.toThrow(lost);
    expect(await ledger.read(FETCH)).toEqual(before);
    await ledger.forget(FETCH, 2);
    expect(await ledger.read(FETCH)).toBeNull();
  });

  test('remembers what its owner is done with until that is marked, and of no mailbox that is not stored', async () => {
    await ledger.release(FETCH, 'msg_1');
    await ledger.release({ tenant: 'default', mailboxId: 'mbx_other' }, 'msg_1');
    expect(await ledger.released(FETCH)).toEqual(new Set(['msg_1']));
    expect(await ledger.released({ tenant: 'default', mailboxId: 'mbx_other' })).toEqual(new Set());
    await ledger.settleReleased(FETCH, ['msg_1']);
    expect(await ledger.released(FETCH)).toEqual(new Set());
  });

  test('goes with its mailbox, and no late writer brings it back', async () => {
    await ledger.replace(FETCH, 1, new Map([['uidl:0:a', SUSPECT]]));
    expect(await mailboxes.delete(REF)).toBe(true);
    await expect(ledger.mark(FETCH, 1, new Map([['uidl:0:b', SUSPECT]]))).rejects.toThrow(lost);
    await expect(ledger.replace(FETCH, 1, new Map())).rejects.toThrow(lost);
    await ledger.release(FETCH, 'msg_1');
    expect(await redis.keys('*')).toEqual([]);
  });
});

describe('mailboxes on one maildrop', () => {
  const source = MAILBOX.settings.source;
  const maildrop = mailboxId('default', source);
  const at = (mailbox: string, host = source.host): Mailbox => ({
    ...MAILBOX,
    mailbox,
    settings: { ...MAILBOX.settings, source: { ...source, host } },
  });
  const make = async (mailbox: Mailbox): Promise<Mailbox> => {
    await mailboxes.create(mailbox, { type: 'password', password: 'p' });
    return mailbox;
  };

  test('know of each other, wherever they were made, as long as they point there', async () => {
    await mailboxes.delete(REF);
    const [first, second, moved] = [await make(at(maildrop)), await make(at('mbx_b')), await make(at('mbx_c', 'old'))];
    expect(await mailboxes.listSharing(first)).toEqual(['mbx_b']);
    const become = (mailbox: Mailbox) => mailboxes.change(mailbox, () => ({ mailbox, credentials: null }));
    expect(await mailboxes.listSharing(moved)).toEqual([]);
    await become(at('mbx_c'));
    expect(await mailboxes.listSharing(second)).toEqual(['mbx_c', maildrop].sort());
    await become(at(maildrop, 'elsewhere'));
    await mailboxes.delete({ tenant: 'default', mailbox: 'mbx_c' });
    expect(await mailboxes.listSharing(second)).toEqual([]);
  });

  test('leave nothing behind', async () => {
    for (const mailbox of [await make(at(maildrop)), await make(at('mbx_b')), MAILBOX]) await mailboxes.delete(mailbox);
    expect(await redis.keys('*')).toEqual([]);
  });
});

describe('a mailbox', () => {
  test('is made once, and its credentials lie sealed', async () => {
    expect(await mailboxes.create(MAILBOX, { type: 'password', password: 'other' })).toBe(false);
    expect(await mailboxes.openCredentials(REF)).toEqual({ type: 'password', password: 'p' });
    expect(await redis.get(mailboxKeys('default', 'mbx_1').record)).not.toContain('"p"');
    // What seals them is theirs alone.
    await redis.copy(mailboxKeys('default', 'mbx_1').record, mailboxKeys('default', 'mbx_2').record);
    await expect(mailboxes.openCredentials({ tenant: 'default', mailbox: 'mbx_2' })).rejects.toMatchObject({
      code: 'credentials_unavailable',
    });
  });

  test('is changed as it was read, or read again', async () => {
    const names = Array.from({ length: 5 }, (_, at) => `name ${at}`);
    await Promise.all(
      names.map((name) =>
        mailboxes.change(REF, (mailbox) => ({
          mailbox: { ...mailbox, settings: { ...mailbox.settings, name: `${mailbox.settings.name ?? ''}, ${name}` } },
          credentials: null,
        })),
      ),
    );
    const { name } = (await mailboxes.find(REF))!.settings;
    for (const each of names) expect(name).toContain(each);
    expect(await mailboxes.openCredentials(REF)).toMatchObject({ password: 'p' });
    const password = { type: 'password', password: 'q' } as const;
    await mailboxes.change(REF, (mailbox) => ({ mailbox, credentials: password }));
    expect(await mailboxes.openCredentials(REF)).toEqual(password);
  });

  test('keeps what its owner changes while a fetch writes how it stands', async () => {
    const name = 'changed';
    await Promise.all([
      mailboxes.change(REF, (mailbox) => ({
        mailbox: { ...mailbox, settings: { ...mailbox.settings, name } },
        credentials: null,
      })),
      mailboxes.writeStatus(REF, 1, { ...MAILBOX.status, failures: 7 }, MAILBOX.updatedAt),
    ]);
    expect(await mailboxes.find(REF)).toMatchObject({ settings: { name }, status: { failures: 7 } });
  });

  test('is not told to wait for credentials that its owner has changed since', async () => {
    const waiting = { ...MAILBOX.status, state: 'needs_credentials' as const };
    const updatedAt = '2026-11-27T12:34:56.000Z';
    await mailboxes.change(REF, (mailbox) => ({ mailbox: { ...mailbox, updatedAt }, credentials: null }));
    expect(await mailboxes.writeStatus(REF, 1, waiting, MAILBOX.updatedAt)).toBe(false);
    expect((await mailboxes.find(REF))?.status.state).toBe('ok');
    expect(await mailboxes.writeStatus(REF, 1, waiting, updatedAt)).toBe(true);
    expect((await mailboxes.find(REF))?.status.state).toBe('needs_credentials');
  });

  test('has its credentials replaced by those who know them, and not over what its owner has given since', async () => {
    const [one, two, three] = ['1', '2', '3'].map((password) => ({ type: 'password', password }) as const);
    await mailboxes.change(REF, (mailbox) => ({ mailbox, credentials: one! }));
    expect(await mailboxes.replaceCredentials(REF, two!, three!)).toBe(false);
    expect(await mailboxes.openCredentials(REF)).toEqual(one);
    expect(await mailboxes.replaceCredentials(REF, one!, three!)).toBe(true);
    expect(await mailboxes.openCredentials(REF)).toEqual(three);
    expect(await mailboxes.replaceCredentials({ tenant: 'other', mailbox: 'mbx_1' }, one!, two!)).toBe(false);
  });

  test('comes back as it was, with certificates of 64 KiB too, and one that is damaged is said to be', async () => {
    const ca = `-----BEGIN CERTIFICATE-----${randomBytes(48 * 1024).toString('base64')}`;
    const large = { ...MAILBOX, settings: { ...MAILBOX.settings, source: { ...MAILBOX.settings.source, ca } } };
    await mailboxes.change(REF, () => ({ mailbox: large, credentials: null }));
    expect(await mailboxes.find(REF)).toEqual(large);
    await redis.set(mailboxKeys('default', 'mbx_1').record, '0'.repeat(40));
    await expect(mailboxes.find(REF)).rejects.toMatchObject({ code: 'storage_failed' });
  });

  test('has its status from the latest fetch only, and is begun by a later token only', async () => {
    expect(await mailboxes.begin(REF, 1)).toBeNull();
    expect(await mailboxes.begin(REF, 2)).toEqual(MAILBOX);
    const failing = { ...MAILBOX.status, state: 'retrying' as const };
    await expect(mailboxes.writeStatus(REF, 1, failing, MAILBOX.updatedAt)).rejects.toThrow(lost);
    await mailboxes.writeStatus(REF, 2, failing, MAILBOX.updatedAt);
    expect((await mailboxes.find(REF))!.status.state).toBe('retrying');
    expect(await mailboxes.begin({ tenant: 'other', mailbox: 'mbx_1' }, 9)).toBeNull();
  });
});
