/**
 * Storage trouble in the middle of a session: Redis refuses writes, a disk is full, S3 is away. Nothing is deleted upstream meanwhile, and when it
 * is over all mail is here, once, and under the ids that it must have.
 */
import { Redis } from 'ioredis';
import { mkdir } from 'node:fs/promises';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, it, onTestFinished } from 'vitest';
import { dovecotAvailable, startDovecot, type Dovecot } from '../support/dovecot.ts';
import { S3_ACCOUNT, startS3 } from '../support/s3.ts';
import { startS3Proxy } from '../support/s3-proxy.ts';
import { eventually } from '../support/service.ts';
import { startTcpSwitch } from '../support/tcp-switch.ts';
import { startLane, type Lane, type LaneOptions } from './lane.ts';
import { makeMails, seeded, type TrialPlan } from './plan.ts';
import { mountSmallDisk, whyNoSmallDisk } from './small-disk.ts';
import { PASSWORD, startTrial } from './trial.ts';

const PLAN: TrialPlan = { by: 'mailbox', policy: 'stored', isDryRun: false, hasFilter: false };
const MAILS = 4;
/** The first mail is asked for; the first deletion is, which stands on what was stored before. */
const MOMENTS = ['RETR', 'DELE'] as const;

interface Outage {
  begin(): Promise<unknown>;
  end(): Promise<unknown>;
}

const noDisk = whyNoSmallDisk();
if (noDisk !== null) process.stderr.write(`No file system of this test's own can be mounted: ${noDisk}\n`);

describe.skipIf(!dovecotAvailable())('storage trouble (skipped where dovecot-pop3d is not installed)', () => {
  const users = Array.from({ length: 20 }, (_, at) => `user${at}`);
  const mailsOf = new Map(users.map((user, at) => [user, makeMails(MAILS, seeded(at))]));
  const unused = [...users];
  let dovecot: Dovecot;

  beforeAll(async () => {
    const accounts = [...mailsOf].map(([user, mails]) => [user, { password: PASSWORD, mails }] as const);
    dovecot = await startDovecot({ users: Object.fromEntries(accounts), reuseProcesses: true });
  });
  afterAll(() => dovecot?.close());

  async function openLane(options: LaneOptions = {}): Promise<Lane> {
    const lane = await startLane(options);
    onTestFinished(() => lane.close());
    return lane;
  }

  /** The outage begins at that moment, and ends when the service has felt it. */
  async function goThrough(lane: Lane, outage: Outage, moment: string): Promise<void> {
    const user = unused.pop()!;
    const begun = Promise.withResolvers<void>();
    let isOver = false;
    const service = await lane.service();
    const trial = await startTrial({
      dovecot,
      user,
      mails: mailsOf.get(user)!,
      plan: PLAN,
      service: lane.service,
      async onLine(line) {
        if (isOver || !line.startsWith(moment)) return;
        isOver = true;
        await outage.begin();
        begun.resolve();
      },
    });
    const logged = service.logs().length;
    const hasFelt = async (): Promise<boolean> => {
      if (
        service
          .logs()
          .slice(logged)
          .some(({ code }) => code === 'storage_failed')
      )
        return true;
      // Where nothing can be written, not even that.
      return (await service.api('POST', `/v1/mailboxes/${trial.mailbox}/fetches`)).status === 503;
    };
    const running = trial.run();
    running.catch(() => undefined);
    try {
      await Promise.race([begun.promise, running]);
      await eventually(hasFelt, (felt) => felt, 60_000);
      // What is asked to be deleted by then was on disk before.
      if (moment === 'RETR') expect(await dovecot.maildir(user), 'what is upstream').toHaveLength(MAILS);
    } finally {
      await outage.end();
    }
    await running;
    await trial.close();
  }

  /** @param settings by name: what refuses, and what does not. */
  function refuseBy(redis: Redis, name: string, [refuses, usual]: readonly [string, string]): Outage {
    return { begin: () => redis.config('SET', name, refuses), end: () => redis.config('SET', name, usual) };
  }

  it(
    'of a Redis that is out of memory, or without its replicas, or a replica itself',
    { timeout: 180_000 },
    async () => {
      const lane = await openLane();
      const redis = new Redis(lane.redis.url);
      onTestFinished(() => redis.disconnect());
      const outages: Outage[] = [
        refuseBy(redis, 'maxmemory', ['1', '0']),
        refuseBy(redis, 'min-replicas-to-write', ['1', '0']),
        { begin: () => redis.replicaof('127.0.0.1', 1), end: () => redis.replicaof('NO', 'ONE') },
      ];
      for (const outage of outages) for (const moment of MOMENTS) await goThrough(lane, outage, moment);
    },
  );

  it.skipIf(noDisk !== null)(
    'of a full disk below the append-only file of Redis (skipped where none can be mounted)',
    { timeout: 120_000 },
    async () => {
      const disk = mountSmallDisk(16);
      onTestFinished(() => disk.close());
      const lane = await openLane({ redisFolder: disk.folder });
      for (const moment of MOMENTS) await goThrough(lane, { begin: disk.fill, end: disk.free }, moment);
    },
  );

  it.skipIf(noDisk !== null)(
    'of a full disk below the mail, be it of bytes or of files (skipped where none can be mounted)',
    { timeout: 120_000 },
    async () => {
      const disk = mountSmallDisk(128);
      onTestFinished(() => disk.close());
      const dataDir = join(disk.folder, 'data');
      await mkdir(dataDir);
      const lane = await openLane({ dataDir });
      for (const begin of [disk.fill, disk.fillWithFiles]) await goThrough(lane, { begin, end: disk.free }, 'RETR');
    },
  );

  it('of S3 that is gone, answers 503, or nothing at all', { timeout: 240_000 }, async () => {
    const s3 = await startS3();
    onTestFinished(() => s3.close());
    const proxy = await startS3Proxy(s3.url);
    onTestFinished(() => proxy.close());
    const port = Number(new URL(proxy.url).port);
    const way = await startTcpSwitch(port);
    onTestFinished(() => way.close());
    const lane = await openLane({
      env: {
        ...S3_ACCOUNT,
        POPBRIDGE_BLOB_STORE: 's3',
        POPBRIDGE_S3_BUCKET: s3.bucket,
        POPBRIDGE_S3_ENDPOINT: `http://127.0.0.1:${way.port}`,
      },
    });
    const failBy = (fault: typeof proxy.fault): Outage => ({
      begin: async () => (proxy.fault = fault),
      end: async () => (proxy.fault = undefined),
    });
    const outages: Outage[] = [
      {
        begin: async () => {
          way.turn('/nowhere');
          way.cut();
        },
        end: async () => way.turn(port),
      },
      failBy(() => ({ status: 503 })),
      failBy((method) => (method === 'PUT' ? 'stall' : undefined)),
      // It is stored, and the answer is lost.
      failBy(() => ({ cutAfterBytes: 0 })),
    ];
    for (const outage of outages) await goThrough(lane, outage, 'RETR');
  });
});
