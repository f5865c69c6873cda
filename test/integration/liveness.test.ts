/** The real program between a Redis that hangs and one that only its workers cannot hear. */
import { afterAll, beforeAll, expect, it } from 'vitest';
import { startDeafRedis, type DeafRedis } from '../support/deaf-redis.ts';
import { startRedis, type TestRedis } from '../support/redis.ts';
import { eventually, startService, type ApiResponse, type Service } from '../support/service.ts';

let redis: TestRedis;
let deaf: DeafRedis;
let service: Service;

beforeAll(async () => {
  redis = await startRedis();
  deaf = await startDeafRedis(redis.socketPath);
  service = await startService({
    redis,
    env: {
      POPBRIDGE_ROLE: 'worker',
      REDIS_URL: `redis://127.0.0.1:${deaf.port}`,
      POPBRIDGE_LIVENESS_SECONDS: '15',
    },
  });
  await service.ready();
});

afterAll(async () => {
  await service?.close();
  await deaf?.close();
  await redis?.close();
});

const probe = (path: string): Promise<ApiResponse> => service.api('GET', path);
const statusOf = async (path: string): Promise<number> => (await probe(path)).status;

it(
  'while Redis hangs the worker is not ready, and stays alive for longer than a part of it may be silent',
  { timeout: 90_000 },
  async () => {
    process.kill(redis.pid, 'SIGSTOP');
    try {
      await eventually(
        () => statusOf('/readyz'),
        (status) => status === 503,
        20_000,
      );
      const untilMs = Date.now() + 25_000;
      await eventually(
        async () => {
          expect(await statusOf('/livez')).toBe(200);
          return Date.now();
        },
        (nowMs) => nowMs > untilMs,
        60_000,
      );
    } finally {
      process.kill(redis.pid, 'SIGCONT');
    }
    await service.ready();
    expect(await statusOf('/livez')).toBe(200);
  },
);

it(
  'when only its queues hear nothing any more, on connections that look alive, it is not alive',
  { timeout: 90_000 },
  async () => {
    // What waits for jobs, and what asks for them; what readiness asks on, the ticks and the dispatcher go on.
    deaf.deafen(/bzpopmin|:stalled-check/i);
    const deafParts = ['fetchWorker', 'mailboxWorker'];
    const checksOf = async (): Promise<Record<string, string>> =>
      ((await probe('/livez')).json() as { checks: Record<string, string> }).checks;
    const checks = await eventually(
      checksOf,
      (checks) => deafParts.every((part) => checks[part]?.startsWith('no sign of life for ')),
      60_000,
    );
    expect(await statusOf('/livez')).toBe(503);
    expect(checks).toMatchObject({ ticker: 'ok', webhookDispatcher: 'ok' });
    expect((await probe('/readyz')).json()).toMatchObject({ checks: { redis: 'ok' } });
  },
);
