/**
 * What a delivery costs: queued deliveries of stored messages, from the queue to the record of the attempt, made by a real worker, against
 * a bare loop of undici that posts the same requests to the same endpoint. In turns, so that what disturbs one disturbs the others.
 *
 * By TLS, as webhooks are unless their operator allows otherwise; and to an endpoint that takes a moment, as any does that is not on the
 * same machine. That brings both near the same rate. To one that takes none a bare loop is handed its answers by the dozen, and half of
 * what a request costs it is spared: `--tls no --answer 0` measures that.
 */
import { beginDelivery } from '../../../src/webhook/delivery-record.ts';
import { webhookKeys } from '../../../src/redis/keys.ts';
import type { Webhook } from '../../../src/webhook/webhook.ts';
import { makeCertificates } from '../../support/certificates.ts';
import { setTimeout as delay } from 'node:timers/promises';
import type { BareRun, BareTook } from './bare-loop.ts';
import {
  hear,
  inTurns,
  mailboxIdOf,
  median,
  openStage,
  print,
  received,
  startProgram,
  trustOf,
  type Bound,
  type Stage,
} from './stage.ts';
import type { ReceiverTold } from './receiver.ts';

export interface ThroughputOptions {
  rounds: number;
  /** Deliveries of a round. */
  deliveries: number;
  /** Requests at once. */
  concurrency: number;
  webhooks: number;
  tenants: number;
  isTls: boolean;
  /** What the endpoint takes to answer, in milliseconds. */
  answer: number;
}

interface Took {
  wallS: number;
  cpuS: number;
  redisS: number;
}

/** CPU of a delivery to one endpoint, of that of a bare request. To many it is told of, and has no bound. */
const RATIO_MAX = 3;
const WARM_UP_ROUNDS = 5;

export async function measureThroughput(options: ThroughputOptions): Promise<{ bounds: Bound[]; figures: object }> {
  const { rounds, deliveries: count, concurrency } = options;
  const certificates = options.isTls ? await makeCertificates() : undefined;
  const stage = await openStage(certificates);
  const bare = startProgram('bare-loop.ts', trustOf(certificates));
  try {
    const one = [await stage.makeWebhook('one', stage.urlOf('/one'), { concurrency })];
    const many: Webhook[] = [];
    for (let at = 0; at < options.webhooks; at += 1) {
      many.push(await stage.makeWebhook(`many${at % options.tenants}`, stage.urlOf(`/many/${at}`)));
    }
    await stage.work({ POPBRIDGE_WEBHOOK_CONCURRENCY: String(concurrency) });
    stage.ask({ ask: 'answer after', ms: options.answer });

    const took: { bare: BareTook; one: Took; many: Took }[] = [];
    // A bare loop takes half as much once it is compiled, and a worker a fifth less: the first rounds do not count.
    for (let round = 1 - WARM_UP_ROUNDS; round <= rounds; round += 1) {
      const ofOne = await deliver(stage, one, count);
      stage.ask({ ask: 'last' });
      const { last } = (await stage.told()) as Extract<ReceiverTold, { told: 'last' }>;
      const ofBare = await runBare(bare, {
        url: stage.urlOf('/bare'),
        headers: sentHeaders(last.headers),
        body: last.body,
        count,
        concurrency,
      });
      const ofMany = await deliver(stage, many, count);
      if (round === 0)
        print(
          `\nThroughput: ${count} requests a round, ${concurrency} at once, of ${last.body.length} bytes each, ` +
            `${options.isTls ? 'by TLS' : 'without TLS'}, to an endpoint that takes ${options.answer} ms`,
        );
      else if (round > 0) took.push({ bare: ofBare, one: ofOne, many: ofMany });
    }
    return report(options, took);
  } finally {
    bare.kill();
    await stage.close();
    await certificates?.remove();
  }
}

/** Queues so many, spread over the webhooks, and then lets the worker find them. */
async function deliver(stage: Stage, webhooks: readonly Webhook[], count: number): Promise<Took> {
  const each = Math.ceil(count / webhooks.length);
  await inTurns([...webhooks.entries()], 4, async ([at, webhook]) => {
    const mailboxId = mailboxIdOf(at);
    const ids = await stage.storeMessages(webhook.tenant, mailboxId, each);
    await inTurns(ids, 50, async (id) => {
      const event = received(webhook.tenant, mailboxId, id);
      await stage.deliveries.begin(webhook, beginDelivery(webhook, event, 'pending', false, Date.now()), false);
    });
  });
  stage.ask({ ask: 'expect', count: each * webhooks.length });
  const allCame = stage.told();
  const [cpuBefore, redisBefore] = [await stage.workerCpuS(), await stage.redisCpuS()];
  const fromMs = performance.now();
  for (const webhook of webhooks) await stage.due.wake(webhook, Date.now());
  await allCame;
  // All are sent; it is over when all are on record.
  while ((await waiting(stage, webhooks)) > 0) await delay(5);
  const wallS = (performance.now() - fromMs) / 1000;
  return { wallS, cpuS: (await stage.workerCpuS()) - cpuBefore, redisS: (await stage.redisCpuS()) - redisBefore };
}

async function waiting(stage: Stage, webhooks: readonly Webhook[]): Promise<number> {
  const left = await Promise.all(webhooks.map(({ tenant, id }) => stage.redis.zcard(webhookKeys(tenant, id).queue)));
  return left.reduce((sum, length) => sum + length, 0);
}

async function runBare(program: ReturnType<typeof startProgram>, run: BareRun): Promise<BareTook> {
  program.send(run);
  return hear<BareTook>(program);
}

/** As popbridge has set them: those that HTTP itself needs come anew. */
function sentHeaders(headers: Readonly<Record<string, string | string[] | undefined>>): Record<string, string> {
  const own = Object.entries(headers).filter(([name]) => /^(content-type|user-agent|webhook-.*)$/.test(name));
  return Object.fromEntries(own.map(([name, value]) => [name, String(value)]));
}

function report(
  { deliveries: count, webhooks, tenants }: ThroughputOptions,
  took: readonly { bare: BareTook; one: Took; many: Took }[],
): { bounds: Bound[]; figures: object } {
  const us = (pick: (round: (typeof took)[number]) => number): number => (median(took.map(pick)) / count) * 1e6;
  const ratio = (pick: (round: (typeof took)[number]) => number): number =>
    median(took.map((round) => pick(round) / round.bare.cpuS));
  const rows = [
    ['a bare loop of undici', (round) => round.bare.cpuS, () => 0, (round) => round.bare.wallS],
    ['to 1 webhook', (round) => round.one.cpuS, (round) => round.one.redisS, (round) => round.one.wallS],
    [
      `to ${webhooks} webhooks of ${tenants} tenants`,
      (round) => round.many.cpuS,
      (round) => round.many.redisS,
      (round) => round.many.wallS,
    ],
  ] as const satisfies [string, ...((round: (typeof took)[number]) => number)[]][];

  print(`Medians of ${took.length} rounds:\n`);
  print('| what | us of CPU | us of Redis | a second and core | a second, as it ran | CPU of bare | with Redis |');
  print('| --- | ---: | ---: | ---: | ---: | ---: | ---: |');
  for (const [what, cpu, redis, wall] of rows) {
    const own = [us(cpu), us(redis), 1e6 / us(cpu), 1e6 / us(wall)].map((value) => value.toFixed(0));
    const ratios = [ratio(cpu), ratio((round) => cpu(round) + redis(round))].map((value) => value.toFixed(2));
    print(`| ${[what, ...own, ...ratios].join(' | ')} |`);
  }
  const measured = ratio((round) => round.one.cpuS);
  const bound: Bound = {
    what: 'CPU of the worker for a delivery to one webhook, of that of a bare request',
    bound: `${RATIO_MAX}`,
    measured: measured.toFixed(2),
    isKept: measured <= RATIO_MAX,
  };
  return { bounds: [bound], figures: { took } };
}
