/** What an old master key has sealed, at each place where something is: opened, and sealed anew. */
import { randomBytes } from 'node:crypto';
import { Redis } from 'ioredis';
import { afterAll, beforeAll, beforeEach, describe, expect, it } from 'vitest';
import { createCredentialStore } from '../../src/mailbox/credentials.ts';
import { createMailboxStore } from '../../src/mailbox/mailbox-store.ts';
import type { Mailbox } from '../../src/mailbox/mailbox.ts';
import { createSealer } from '../../src/mailbox/sealing.ts';
import { createRedisBlobStore } from '../../src/message/blobs/redis-blob-store.ts';
import { createDataKeys } from '../../src/message/data-keys.ts';
import { dataKeysKey, fetchKeys, webhookKeys } from '../../src/redis/keys.ts';
import { openSealed, sealedField, sealedString } from '../../src/redis/sealed-value.ts';
import { webhookOfFetch } from '../../src/identity.ts';
import { createFetchWebhooks } from '../../src/webhook/fetch-webhooks.ts';
import { startRedis, type TestRedis } from '../support/redis.ts';

const OLD = `old:${randomBytes(32).toString('base64')}`;
const NEW = `new:${randomBytes(32).toString('base64')}`;
const [before, rotating, after] = [createSealer(OLD), createSealer(`${NEW},${OLD}`), createSealer(NEW)];
const password = { type: 'password', password: 'pw' } as const;
const REF = { tenant: 'default', id: 'fch_1' };
const keys = fetchKeys(REF.tenant, REF.id);

let server: TestRedis;
let redis: Redis;
beforeAll(async () => {
  server = await startRedis();
  redis = new Redis(server.url);
});
afterAll(async () => {
  redis.disconnect();
  await server.close();
});
beforeEach(() => redis.flushall());

describe('what an old key has sealed opens under the first one alone, once it was used', () => {
  it('credentials of a fetch, which expire no later', async () => {
    await createCredentialStore(redis, before, 60_000).put(REF, password);
    expect(await createCredentialStore(redis, rotating, 60_000).open(REF)).toEqual(password);
    expect(await createCredentialStore(redis, after, 60_000).open(REF)).toEqual(password);
    const ttlMs = await redis.pttl(keys.credentials);
    expect(ttlMs).toBeGreaterThan(0);
    expect(ttlMs).toBeLessThanOrEqual(60_000);
  });

  it('the secret of the webhook of a fetch, which expires no later', async () => {
    const ref = { ...REF, id: webhookOfFetch(REF.id) };
    const opened = { secrets: [{ secret: 'whsec_x', validUntil: null }], ed25519Keys: [], headers: {} };
    const webhook = { url: 'https://example.com', secret: 'whsec_x' };
    await createFetchWebhooks(redis, before).register(REF, webhook, 60_000);
    expect(await createFetchWebhooks(redis, rotating).openSecrets(ref)).toEqual(opened);
    expect(await createFetchWebhooks(redis, after).openSecrets(ref)).toEqual(opened);
    const ttlMs = await redis.pttl(webhookKeys(REF.tenant, REF.id).ofFetch);
    expect(ttlMs).toBeGreaterThan(0);
    expect(ttlMs).toBeLessThanOrEqual(60_000);
  });

  it('credentials of a mailbox, while whoever fetches it keeps its token', async () => {
    const ref = { tenant: 'default', mailbox: 'mbx_1' };
    const mailbox = { ...ref, settings: { source: { host: 'h', port: 995, username: 'u' } }, status: {} } as Mailbox;
    const credentials = { type: 'password', password: 'pw' } as const;
    await createMailboxStore(redis, before).create(mailbox, credentials);
    const store = createMailboxStore(redis, rotating);
    await store.begin(ref, 7);
    expect(await store.openCredentials(ref)).toEqual(credentials);
    expect(await createMailboxStore(redis, after).openCredentials(ref)).toEqual(credentials);
    expect(await store.begin(ref, 7)).toBeNull();
    await store.writeStatus(ref, 7, { state: 'ok' } as Mailbox['status'], mailbox.updatedAt);
    expect(await store.find(ref)).toMatchObject({ settings: mailbox.settings, status: { state: 'ok' } });
  });

  it('the data key of a tenant', async () => {
    const clock = { now: () => 0 };
    const blobs = createRedisBlobStore(redis, { bytesMax: 1024 * 1024 });
    const { id, key } = await createDataKeys({ redis, blobs, sealer: before, clock }).current('default');
    await createDataKeys({ redis, blobs, sealer: rotating, clock }).find('default', id);
    expect(await createDataKeys({ redis, blobs, sealer: after, clock }).find('default', id)).toEqual({ id, key });
    expect(await redis.hget(dataKeysKey('default'), 'current')).toBe(id);
    // The copy that is kept for a lost Redis as well.
    await redis.del(dataKeysKey('default'));
    expect(await createDataKeys({ redis, blobs, sealer: after, clock }).find('default', id)).toEqual({ id, key });
  });
});

describe('sealing anew', () => {
  it('never undoes a change that was made meanwhile, and brings nothing back that was deleted', async () => {
    const sealed = before.seal('first', []);
    await redis.set('string', 'changed');
    await redis.hset('hash', 'field', 'changed');
    for (const value of [
      sealedString(redis, 'string', sealed, []),
      sealedField(redis, ['hash', 'field'], sealed, []),
      sealedString(redis, 'gone', sealed, []),
      sealedField(redis, ['gone', 'field'], sealed, []),
    ]) {
      expect(await openSealed(rotating, value)).toBe('first');
      expect(await value.replace('other')).toBe(false);
    }
    expect(await redis.get('string')).toBe('changed');
    expect(await redis.hget('hash', 'field')).toBe('changed');
    expect(await redis.exists('gone')).toBe(0);
  });

  it('is left alone where the first key has sealed it, and where Redis takes no writes', async () => {
    let writes = 0;
    const replace = async (): Promise<boolean> => {
      writes += 1;
      throw new Error('MISCONF');
    };
    expect(await openSealed(rotating, { sealed: after.seal('x', []), context: [], replace })).toBe('x');
    expect(writes).toBe(0);
    expect(await openSealed(rotating, { sealed: before.seal('x', []), context: [], replace })).toBe('x');
    expect(writes).toBe(1);
  });
});
