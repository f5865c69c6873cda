/** Names whose name server is silent, among others. The system's look-ups cannot be called off: each keeps its thread until it ends. */
import { setImmediate } from 'node:timers/promises';
import { expect, test } from 'vitest';
import { hungRestMs, lookupTimeoutMs, slowLookupMs } from '../../src/egress/limits.ts';
import { createEgressPolicy } from '../../src/egress/policy.ts';
import { createResolver, lookupsAtOnce } from '../../src/egress/resolver.ts';

const ADDRESSES = [{ address: '8.8.8.8' }];

/** A system with so many threads for look-ups, where names that begin with `silent` get no answer until they are let go. */
function makeSystem(threads: number) {
  let nowMs = 0;
  const asked: string[] = [];
  const held = new Map<string, { resolve(found: typeof ADDRESSES): void; reject(error: Error): void }>();
  let free = threads;
  const queue: (() => void)[] = [];
  async function lookup(name: string): Promise<typeof ADDRESSES> {
    if (free === 0) await new Promise<void>((resolve) => queue.push(resolve));
    else free -= 1;
    asked.push(name);
    try {
      if (!name.startsWith('silent')) return ADDRESSES;
      const answer = Promise.withResolvers<typeof ADDRESSES>();
      held.set(name, answer);
      return await answer.promise;
    } finally {
      const next = queue.shift();
      if (next) next();
      else free += 1;
    }
  }
  return {
    resolve: createResolver(lookup, { atOnce: threads, nowMs: () => nowMs }),
    asked,
    pass(ms: number): void {
      nowMs += ms;
    },
    /** The system gives up, as getaddrinfo does in the end. */
    async giveUp(name: string): Promise<void> {
      held.get(name)?.reject(fault('EAI_AGAIN'));
      held.delete(name);
      await settled();
    },
    async answer(name: string): Promise<void> {
      held.get(name)?.resolve(ADDRESSES);
      held.delete(name);
      await settled();
    },
  };
}

const fault = (code: string): Error => Object.assign(new Error(code), { code });
const temporary = expect.objectContaining({ code: 'EAI_AGAIN' }) as Error;

async function settled(): Promise<void> {
  for (let turn = 0; turn < 5; turn += 1) await setImmediate();
}

/** For what is not to be waited for. */
function ask(resolve: (name: string) => Promise<unknown>, names: readonly string[]): void {
  for (const name of names) resolve(name).catch(() => undefined);
}

const names = (count: number, stem: string): string[] =>
  Array.from({ length: count }, (_, index) => `${stem}-${index}.example`);

test.for([2, 8, 16])(
  'with %d threads, names that have answered are answered while any number of silent ones is asked for',
  async (threads) => {
    const { resolve, pass } = makeSystem(threads);
    expect(await resolve('shop.example')).toEqual(ADDRESSES);
    ask(resolve, names(100, 'silent'));
    await settled();
    expect(await resolve('shop.example')).toEqual(ADDRESSES);
    pass(slowLookupMs + 1);
    expect(await resolve('shop.example')).toEqual(ADDRESSES);
  },
);

test('a name that nobody has asked for yet is answered while silent ones are asked for again', async () => {
  const { resolve, pass, giveUp, asked } = makeSystem(16);
  const silent = names(8, 'silent');
  ask(resolve, silent);
  await settled();
  pass(lookupTimeoutMs);
  for (const name of silent) await giveUp(name);
  pass(hungRestMs);
  ask(resolve, silent);
  await settled();
  expect(asked.slice(silent.length)).toHaveLength(4);
  expect(await resolve('new.example')).toEqual(ADDRESSES);
});

test('those that wait are asked for as others end, and what nobody waits for any more is not', async () => {
  const { resolve, pass, giveUp, asked } = makeSystem(2);
  ask(resolve, ['silent-0.example', 'late.example']);
  pass(lookupTimeoutMs - 1);
  const waited = resolve('new.example');
  pass(1);
  await giveUp('silent-0.example');
  expect(await waited).toEqual(ADDRESSES);
  expect(asked).toEqual(['silent-0.example', 'new.example']);
  expect(await resolve('late.example')).toEqual(ADDRESSES);
});

test('a name that many ask for at once is looked up once', async () => {
  const { resolve, asked, answer } = makeSystem(16);
  const many = Array.from({ length: 50 }, async () => resolve('silent.example'));
  await settled();
  expect(asked).toEqual(['silent.example']);
  await answer('silent.example');
  expect(await Promise.all(many)).toEqual(many.map(() => ADDRESSES));
  ask(resolve, ['silent.example']);
  await settled();
  expect(asked).toHaveLength(2);
});

test('a name that got no answer in time fails at once for a while, and is asked for again then', async () => {
  const { resolve, asked, pass, giveUp, answer } = makeSystem(16);
  ask(resolve, ['silent.example']);
  await settled();
  pass(lookupTimeoutMs);
  await expect(resolve('silent.example')).rejects.toThrow(temporary);
  pass(10_000);
  await giveUp('silent.example');
  await expect(resolve('silent.example')).rejects.toThrow(temporary);
  pass(hungRestMs - 1);
  await expect(resolve('silent.example')).rejects.toThrow(temporary);
  expect(asked).toHaveLength(1);
  pass(1);
  const again = resolve('silent.example');
  await settled();
  expect(asked).toHaveLength(2);
  await answer('silent.example');
  expect(await again).toEqual(ADDRESSES);
});

test('an answer that comes after its time counts: the name is asked for again at once', async () => {
  const { resolve, asked, pass, answer } = makeSystem(16);
  ask(resolve, ['silent.example']);
  await settled();
  pass(lookupTimeoutMs + 1);
  await answer('silent.example');
  ask(resolve, ['silent.example']);
  await settled();
  expect(asked).toHaveLength(2);
});

test.for(['ENOTFOUND', 'EAI_AGAIN'])('a %s that comes quickly is told, and not kept', async (code) => {
  let asked = 0;
  const resolve = createResolver(
    async () => {
      asked += 1;
      throw fault(code);
    },
    { atOnce: 2 },
  );
  await expect(resolve('gone.example')).rejects.toThrow(code);
  await expect(resolve('gone.example')).rejects.toThrow(code);
  expect(asked).toBe(2);
});

test('of the pool of threads, as many are reckoned with as libuv gives to look-ups', () => {
  expect(lookupsAtOnce({})).toBe(2);
  expect(lookupsAtOnce({ UV_THREADPOOL_SIZE: '32' })).toBe(16);
  expect(lookupsAtOnce({ UV_THREADPOOL_SIZE: '5' })).toBe(3);
  expect(lookupsAtOnce({ UV_THREADPOOL_SIZE: '0' })).toBe(1);
  expect(lookupsAtOnce({ UV_THREADPOOL_SIZE: '' })).toBe(1);
  expect(lookupsAtOnce({ UV_THREADPOOL_SIZE: '99999' })).toBe(512);
});

test('webhooks and mail servers have the same turns', async () => {
  const asked: string[] = [];
  const policy = createEgressPolicy({
    allow: [],
    resolve(name) {
      asked.push(name);
      return name.startsWith('silent') ? new Promise(() => {}) : Promise.resolve(ADDRESSES);
    },
  });
  const found = [{ address: '8.8.8.8', family: 4 }];
  expect(await policy.resolvePop3('pop.example', 995)).toEqual(found);
  ask((name) => policy.resolveWebhook(name, 443), names(20, 'silent'));
  ask((name) => policy.resolvePop3(name, 995), names(20, 'silent'));
  await settled();
  expect(asked).toEqual(['pop.example', 'silent-0.example']);
  expect(await policy.resolvePop3('pop.example', 995)).toEqual(found);
});
