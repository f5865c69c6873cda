/**
 * The time of these tests is their own: it is passed in, and nothing waits. By which clock it goes otherwise is tested in the
 * last group.
 */
import fc from 'fast-check';
import { Redis } from 'ioredis';
import { afterAll, beforeAll, beforeEach, describe, expect, test } from 'vitest';
import type { HostLimits } from '../../src/fetch/host-limits.ts';
import {
  createHostSlots,
  isBusy,
  type HostSlot,
  type HostSlots,
  type SlotRequest,
} from '../../src/fetch/host-slots.ts';
import {
  busyWaitMsMax,
  circuitFailuresMax,
  circuitPauseMsMax,
  circuitPauseMsMin,
  circuitProbeMs,
  circuitWindowMs,
  leaseTtlMs,
} from '../../src/fetch/limits.ts';
import { hostKeys } from '../../src/redis/keys.ts';
import { startRedis, type TestRedis } from '../support/redis.ts';
import { HostModel, simulate, type SimulatedFetch } from './host-slots-model.ts';

const HOST = 'pop.example.com';
const KEYS = hostKeys(HOST);
const START_MS = Date.parse('2026-11-27T10:00:00Z');

let server: TestRedis;
let redis: Redis;
let clock: { nowMs: number };

beforeAll(async () => {
  server = await startRedis();
  redis = new Redis(server.url);
});
afterAll(async () => {
  redis.disconnect();
  await server.close();
});
beforeEach(async () => {
  await redis.flushall();
  clock = { nowMs: START_MS };
});

function hostsWith(limits: Partial<HostLimits> = {}): HostSlots {
  const all = { connections: 10, loginsPerSecond: 1000, ...limits };
  return createHostSlots(redis, { limitsOf: () => all, random: () => 0, now: () => clock.nowMs });
}

let owners = 0;
function request(over: Partial<SlotRequest> = {}): SlotRequest {
  owners += 1;
  return { tenant: 'a', host: HOST, port: 995, owner: `owner-${owners}`, waitMsMin: 100, ...over };
}

async function take(hosts: HostSlots, over: Partial<SlotRequest> = {}): Promise<HostSlot> {
  const slot = await hosts.acquire(request(over));
  if (isBusy(slot)) expect.fail(`refused for ${slot.retryAfterMs} ms`);
  return slot;
}

async function isRefused(hosts: HostSlots, over: Partial<SlotRequest> = {}): Promise<boolean> {
  return isBusy(await hosts.acquire(request(over)));
}

describe('what is asked of a host', () => {
  test('so many connections at once, of many who ask at once, and another one when one has ended', async () => {
    const hosts = hostsWith({ connections: 3 });
    const answers = await Promise.all(Array.from({ length: 40 }, () => hosts.acquire(request())));
    const slots = answers.filter((answer): answer is HostSlot => !isBusy(answer));
    expect(slots).toHaveLength(3);
    await slots[1]?.release();
    await slots[1]?.release();
    expect(await isRefused(hosts)).toBe(false);
    expect(await isRefused(hosts)).toBe(true);
  });

  test('so many logins a second, however short the sessions are', async () => {
    const hosts = hostsWith({ loginsPerSecond: 5 });
    const fetches = Array.from({ length: 60 }, () => ({ tenant: 'a', atMs: 0, lastsMs: 1 }));
    const times = (await simulate(clock, hosts, fetches)).map(({ grantedMs }) => grantedMs);
    for (const [index, fromMs] of times.entries()) {
      const within = times.slice(index).filter((ms) => ms < fromMs + 1000).length;
      expect(within).toBeLessThanOrEqual(2 * 5);
    }
    expect(times.at(-1)! - times[0]!).toBeGreaterThanOrEqual((60 - 5) * 200 - 200);
  });

  test('a host is one host however it is spelled, and another one is none of its business', async () => {
    const hosts = hostsWith({ connections: 1 });
    await take(hosts, { host: 'Bücher.Example.' });
    expect(await isRefused(hosts, { host: 'xn--bcher-kva.example' })).toBe(true);
    expect(await isRefused(hosts, { host: 'bücher.example', port: 110 })).toBe(true);
    await take(hosts, { host: '[0:0::1]' });
    expect(await isRefused(hosts, { host: '::1' })).toBe(true);
    await take(hosts, { host: 'other.example' });
  });

  test('the slot of a worker that died frees itself, and not before its time', async () => {
    const hosts = hostsWith({ connections: 1 });
    const dead = await take(hosts);
    clock.nowMs += leaseTtlMs - 1;
    expect(await isRefused(hosts)).toBe(true);
    clock.nowMs += 1;
    const heir = await take(hosts);
    expect(await dead.renew()).toBe(false);
    await dead.release();
    expect(await heir.renew()).toBe(true);
    expect(await isRefused(hosts)).toBe(true);
  });

  test('a session that renews keeps its slot as long as it lasts', async () => {
    const hosts = hostsWith({ connections: 1 });
    const slot = await take(hosts);
    for (let beat = 0; beat < 20; beat += 1) {
      clock.nowMs += leaseTtlMs - 1;
      expect(await slot.renew()).toBe(true);
      expect(await isRefused(hosts)).toBe(true);
    }
  });

  test('who is refused holds nothing, and nothing is left of a host that nobody asks for any more', async () => {
    const hosts = hostsWith({ connections: 1 });
    await take(hosts);
    expect(await isRefused(hosts, { tenant: 'b' })).toBe(true);
    expect(await redis.zcard(KEYS.slots)).toBe(1);
    for (const key of Object.values(KEYS)) expect(await redis.pttl(key), key).toBeGreaterThan(0);
  });
});

describe('tenants on one host', () => {
  const many = (tenant: string, count: number, lastsMs: number, atMs = 0): SimulatedFetch[] =>
    Array.from({ length: count }, () => ({ tenant, atMs, lastsMs }));

  test('one fetch of a tenant does not wait for the two hundred of another, be the sessions short or long', async () => {
    const scenarios = fc.record({
      connections: fc.integer({ min: 1, max: 12 }),
      loginsPerSecond: fc.integer({ min: 1, max: 20 }),
      lastsMs: fc.constantFrom(1, 50, 700, 9_000, 60_000),
      atMs: fc.integer({ min: 1, max: 20_000 }),
    });
    await fc.assert(
      fc.asyncProperty(scenarios, async ({ connections, loginsPerSecond, lastsMs, atMs }) => {
        await redis.flushall();
        clock.nowMs = START_MS;
        const hosts = hostsWith({ connections, loginsPerSecond });
        const lone = { tenant: 'b', atMs, lastsMs: 1 };
        const done = await simulate(clock, hosts, [...many('a', 200, lastsMs), lone]);
        const { firstAskMs, grantedMs } = done.find(({ tenant }) => tenant === 'b')!;
        const before = done.filter((one) => one.grantedMs > firstAskMs && one.grantedMs < grantedMs);
        // No more than become free between two of its asks.
        expect(before.length).toBeLessThanOrEqual(connections);
      }),
      { numRuns: 4 },
    );
  }, 240_000);

  test('of two that want all the time, the one with long sessions does not crowd the one with short ones out', async () => {
    const hosts = hostsWith({ connections: 10, loginsPerSecond: 20 });
    const fetches = [...many('long', 60, 30_000), ...many('short', 300, 500, 100)];
    const done = await simulate(clock, hosts, fetches);
    const shortEnd = Math.max(...done.filter(({ tenant }) => tenant === 'short').map(({ grantedMs }) => grantedMs));
    const longsBefore = done.filter(({ tenant, grantedMs }) => tenant === 'long' && grantedMs < shortEnd);
    // All ten slots at first, then about the half of them: 300 short sessions on the other half are 30 s, one or two long ones.
    expect(longsBefore.length).toBeLessThanOrEqual(30);
  });

  test('as many tenants as you like take turns, and hardly one comes twice before each has come once', async () => {
    const hosts = hostsWith({ connections: 1, loginsPerSecond: 10 });
    const tenants = Array.from({ length: 30 }, (_, number) => `tenant-${number}`);
    const fetches = tenants.flatMap((tenant) => many(tenant, 4, 20));
    const done = (await simulate(clock, hosts, fetches)).map(({ tenant }) => tenant);
    const rounds = [0, 1, 2].map((round) => new Set(done.slice(round * 30, (round + 1) * 30)).size);
    for (const distinct of rounds) expect(distinct).toBeGreaterThanOrEqual(25);
  });

  test('a tenant alone has all of the host, and no login that is free is left', async () => {
    const hosts = hostsWith({ connections: 10, loginsPerSecond: 5 });
    const done = await simulate(clock, hosts, many('a', 300, 400));
    expect(done.at(-1)!.grantedMs - START_MS).toBeLessThan((300 / 5) * 1000 * 1.1);
  });

  test('however many wait, the host is asked for little more often than it lets in', async () => {
    const hosts = hostsWith({ connections: 10, loginsPerSecond: 5 });
    const done = await simulate(clock, hosts, many('a', 300, 400));
    expect(done.reduce((sum, { asks }) => sum + asks, 0)).toBeLessThan(300 * 2.5);
  });

  test('a tenant that does not come for its turn keeps nobody for long', async () => {
    const hosts = hostsWith({ connections: 1 });
    const slot = await take(hosts, { tenant: 'a' });
    expect(await isRefused(hosts, { tenant: 'gone' })).toBe(true);
    await slot.release();
    const done = await simulate(clock, hosts, many('a', 1, 10));
    expect(done[0]!.grantedMs - START_MS).toBeLessThan(5_000);
  });

  test('nobody is sent away for longer than two minutes, however long the line is', async () => {
    const hosts = hostsWith({ connections: 1, loginsPerSecond: 1 });
    await take(hosts);
    for (let waiting = 0; waiting < 500; waiting += 1) {
      const answer = await hosts.acquire(request());
      expect(isBusy(answer) && answer.retryAfterMs).toBeLessThanOrEqual(busyWaitMsMax);
    }
  });
});

describe('a port that does not answer', () => {
  async function timeOut(hosts: HostSlots, over: Partial<SlotRequest> = {}): Promise<void> {
    const slot = await take(hosts, over);
    await slot.noteAnswer(false);
    await slot.release();
  }
  async function openCircuit(hosts: HostSlots): Promise<void> {
    for (let failure = 0; failure < circuitFailuresMax; failure += 1) await timeOut(hosts);
  }
  const ask = (hosts: HostSlots, over: Partial<SlotRequest> = {}) => hosts.acquire(request(over));

  test('is left alone after so many time-outs in a row, and other ports and hosts are not', async () => {
    const hosts = hostsWith();
    await openCircuit(hosts);
    expect(await ask(hosts)).toEqual({ retryAfterMs: circuitPauseMsMin, isSilent: true });
    await take(hosts, { port: 110 });
    await take(hosts, { host: 'other.example' });
    expect(await redis.zcard(KEYS.waiting), 'who waits for it keeps no slot from others').toBe(0);
  });

  test('gets one probe at a time then, and twice the pause after each that times out, up to a bound', async () => {
    const hosts = hostsWith();
    await openCircuit(hosts);
    let pauseMs = circuitPauseMsMin;
    for (let round = 0; round < 8; round += 1) {
      clock.nowMs += pauseMs;
      const [probe, ...others] = await Promise.all([ask(hosts), ask(hosts), ask(hosts)]);
      if (!probe || isBusy(probe)) expect.fail('no probe');
      expect(others).toEqual(others.map(() => ({ retryAfterMs: circuitProbeMs, isSilent: true })));
      clock.nowMs += 1_000;
      await probe.noteAnswer(false);
      await probe.release();
      pauseMs = Math.min(pauseMs * 2, circuitPauseMsMax);
      expect(await ask(hosts)).toEqual({ retryAfterMs: pauseMs, isSilent: true });
    }
  });

  test('is as any other once a probe is answered', async () => {
    const hosts = hostsWith();
    await openCircuit(hosts);
    clock.nowMs += circuitPauseMsMin;
    const probe = await take(hosts);
    await probe.noteAnswer(true);
    for (let session = 0; session < 5; session += 1) await take(hosts);
    await timeOut(hosts);
    expect(await isRefused(hosts)).toBe(false);
  });

  test('gets another probe where the one before was never heard of again', async () => {
    const hosts = hostsWith();
    await openCircuit(hosts);
    clock.nowMs += circuitPauseMsMin;
    await take(hosts);
    clock.nowMs += circuitProbeMs;
    await take(hosts);
  });

  test('is not given up for time-outs with answers or long times between them', async () => {
    const hosts = hostsWith();
    for (let failure = 0; failure < circuitFailuresMax * 3; failure += 1) {
      await timeOut(hosts);
      if (failure % 2 === 1) await (await take(hosts)).noteAnswer(true);
    }
    for (let failure = 0; failure < circuitFailuresMax * 3; failure += 1) {
      clock.nowMs += circuitWindowMs + 1;
      await timeOut(hosts);
    }
    expect(await isRefused(hosts)).toBe(false);
  });

  test('is left alone no longer for many connections that were under way together', async () => {
    const hosts = hostsWith();
    const slots = await Promise.all(Array.from({ length: 10 }, () => take(hosts)));
    for (const slot of slots) await slot.noteAnswer(false);
    expect(await ask(hosts)).toEqual({ retryAfterMs: circuitPauseMsMin, isSilent: true });
  });
});

describe('all of it together', () => {
  type Step =
    | { do: 'acquire'; tenant: string; port: number; wait: number }
    | { do: 'release' | 'renew' | 'answered' | 'timedOut'; which: number }
    | { do: 'pass'; ms: number };
  const step: fc.Arbitrary<Step> = fc.oneof(
    {
      weight: 6,
      arbitrary: fc.record({
        do: fc.constant('acquire' as const),
        tenant: fc.constantFrom('a', 'a', 'a', 'b', 'b', 'c', 'd e'),
        port: fc.constantFrom(995, 995, 110),
        wait: fc.constantFrom(100, 100, 3_000),
      }),
    },
    {
      weight: 4,
      arbitrary: fc.record({
        do: fc.constantFrom('release' as const, 'renew' as const, 'answered' as const, 'timedOut' as const),
        which: fc.nat(30),
      }),
    },
    {
      weight: 3,
      arbitrary: fc.record({ do: fc.constant('pass' as const), ms: fc.constantFrom(1, 40, 250, 2_500, 20_000) }),
    },
  );

  test('it answers as the model does, whoever asks, dies, renews or comes late, and is never beyond its limits', async () => {
    const limits = fc.record({
      connections: fc.integer({ min: 1, max: 5 }),
      loginsPerSecond: fc.constantFrom(1, 2, 5, 100),
    });
    await fc.assert(
      fc.asyncProperty(limits, fc.array(step, { minLength: 20, maxLength: 120 }), async (given, steps) => {
        await redis.flushall();
        clock.nowMs = START_MS;
        const hosts = hostsWith(given);
        const model = new HostModel(given);
        const taken: { slot: HostSlot; owner: string; port: number; failures: number }[] = [];
        for (const [number, one] of steps.entries()) {
          const { nowMs } = clock;
          if (one.do === 'pass') {
            clock.nowMs += one.ms;
          } else if (one.do === 'acquire') {
            const { tenant, port, wait } = one;
            const owner = `owner-${number}`;
            const answer = await hosts.acquire({ tenant, host: HOST, port, owner, waitMsMin: wait });
            const expected = model.acquire(nowMs, owner, tenant, port, wait);
            if (isBusy(answer)) {
              const figure = answer.isSilent ? -answer.retryAfterMs : answer.retryAfterMs;
              expect({ granted: false, figure }).toEqual(expected);
            } else {
              expect(expected.granted).toBe(true);
              taken.push({ slot: answer, owner, port, failures: expected.figure });
            }
            expect(model.open(nowMs)).toBeLessThanOrEqual(given.connections);
          } else {
            const held = taken[one.which % Math.max(1, taken.length)];
            if (!held) continue;
            const { slot, owner, port, failures } = held;
            if (one.do === 'renew') expect(await slot.renew()).toBe(model.renew(nowMs, owner));
            if (one.do === 'release') {
              await slot.release();
              model.release(owner);
            }
            if (one.do === 'answered' || one.do === 'timedOut') {
              await slot.noteAnswer(one.do === 'answered');
              model.noteAnswer(nowMs, port, one.do === 'answered', failures);
            }
          }
        }
      }),
      { numRuns: 150 },
    );
  });
});

describe('the clock', () => {
  test('is the one of Redis, and slots free themselves by it, whatever the clocks of workers say', async () => {
    const limitsOf = (): HostLimits => ({ connections: 1, loginsPerSecond: 1000 });
    const hosts = createHostSlots(redis, { limitsOf, random: () => 0 });
    const slot = await take(hosts);
    const [seconds] = await redis.time();
    const until = Number((await redis.zrange(KEYS.slots, 0, '-1', 'WITHSCORES'))[1]);
    expect(Math.abs(until - leaseTtlMs - Number(seconds) * 1000)).toBeLessThan(5_000);
    expect(await isRefused(hosts)).toBe(true);
    const [member = ''] = await redis.zrange(KEYS.slots, 0, '-1');
    await redis.zadd(KEYS.slots, Number(seconds) * 1000 - 1, member);
    await redis.del(KEYS.waiting, KEYS.turns);
    await take(hosts);
    expect(await slot.renew()).toBe(false);
  });
});
