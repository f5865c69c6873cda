/**
 * What endpoints that hang take from those that do not: the time from an event to its receipt, of the same healthy webhooks, beside others
 * that hang and beside others that do not. Both halves run at the same time, each with a Redis, a worker and an endpoint of its own.
 */
import { setTimeout as delay } from 'node:timers/promises';
import { announceToWebhooks } from '../../../src/webhook/announce.ts';
import { mailboxIdOf, openStage, print, quantile, received, type Bound, type Stage } from './stage.ts';
import type { ReceiverTold } from './receiver.ts';

export interface IsolationOptions {
  endpoints: number;
  hanging: number;
  tenants: number;
  seconds: number;
  /** Seconds from one event of a webhook to its next. */
  every: number;
}

interface Half {
  stage: Stage;
  /** One for each webhook: announces its next event. When that began, by the path and the event. */
  announcers: (() => Promise<void>)[];
  begun: Map<string, number>;
}

/** Of the 99th percentile, of what it is where none hangs. */
const RATIO_MAX = 2;
const WARM_UP_S = 10;
/** For what is under way when the last event has been announced. */
const LAST_S = 3;

export async function measureIsolation(options: IsolationOptions): Promise<{ bounds: Bound[]; figures: object }> {
  const halves: Half[] = [];
  try {
    for (let number = 0; number < 2; number += 1) halves.push(await openHalf(options));
    const [calm, troubled] = halves as [Half, Half];
    // Until all code is warm, and all endpoints are known to be quick. Then, all at once, some hang.
    await announceAll(halves, options, WARM_UP_S);
    for (const { stage, begun } of halves) {
      stage.ask({ ask: 'arrivals' });
      await stage.told();
      begun.clear();
    }
    troubled.stage.ask({ ask: 'hang' });
    await announceAll(halves, options, options.seconds);
    await delay(LAST_S * 1000);
    return report(options, await delaysOf(calm), await delaysOf(troubled));
  } finally {
    await Promise.all(halves.map(({ stage }) => stage.close()));
  }
}

async function openHalf({ endpoints, hanging, tenants }: IsolationOptions): Promise<Half> {
  const stage = await openStage();
  const half: Half = { stage, announcers: [], begun: new Map() };
  const messages = new Map<string, string>();
  for (let at = 0; at < endpoints; at += 1) {
    const tenant = `tenant${at % tenants}`;
    const message = messages.get(tenant) ?? (await stage.storeMessages(tenant, mailboxIdOf(at), 1))[0] ?? '';
    messages.set(tenant, message);
    const path = `/${at < hanging ? 'hang' : 'well'}/${at}`;
    const mailboxId = mailboxIdOf(at);
    await stage.makeWebhook(tenant, stage.urlOf(path), { mailboxes: [mailboxId] });
    let number = 0;
    half.announcers.push(async () => {
      const event = received(tenant, mailboxId, message, `${at}-${(number += 1)}`);
      half.begun.set(`${path} ${event.id}`, Date.now());
      await announceToWebhooks(stage, event);
    });
  }
  await stage.work();
  return half;
}

/** One event of each webhook in each period, all at their own times, of both halves at the same time. */
async function announceAll(
  halves: readonly Half[],
  { endpoints, every }: IsolationOptions,
  seconds: number,
): Promise<void> {
  const fromMs = performance.now();
  const events = Math.floor((endpoints * seconds) / every);
  const under: Promise<void>[] = [];
  for (let number = 0; number < events; number += 1) {
    const dueMs = fromMs + (number * every * 1000) / endpoints;
    const waitMs = dueMs - performance.now();
    if (waitMs > 1) await delay(waitMs);
    // So that those that hang come in between.
    const at = (number * 7919) % endpoints;
    for (const { announcers } of halves) under.push(announcers[at]?.() ?? Promise.resolve());
  }
  await Promise.all(under);
}

/** Of the healthy ones, in milliseconds; what never came counts as for ever. */
async function delaysOf({ stage, begun }: Half): Promise<number[]> {
  stage.ask({ ask: 'arrivals' });
  const { arrivals } = (await stage.told()) as Extract<ReceiverTold, { told: 'arrivals' }>;
  const came = new Map(arrivals.map(({ path, eventId, atMs }) => [`${path} ${eventId}`, atMs]));
  return [...begun]
    .filter(([key]) => key.startsWith('/well/'))
    .map(([key, atMs]) => (came.get(key) ?? Infinity) - atMs);
}

function report(
  { endpoints, hanging }: IsolationOptions,
  calm: readonly number[],
  troubled: readonly number[],
): { bounds: Bound[]; figures: object } {
  const shares = [0.5, 0.9, 0.99, 0.999, 1];
  const [of, beside] = [calm, troubled].map((delays) => shares.map((share) => quantile(delays, share)));
  print(
    `\nIsolation: ${calm.length} deliveries to the ${endpoints - hanging} healthy of ${endpoints} endpoints, each half\n`,
  );
  print('| from event to receipt, ms | p50 | p90 | p99 | p99.9 | most |\n| --- | ---: | ---: | ---: | ---: | ---: |');
  print(`| none hangs | ${of?.map((ms) => ms.toFixed(0)).join(' | ')} |`);
  print(`| beside ${hanging} that hang | ${beside?.map((ms) => ms.toFixed(0)).join(' | ')} |`);
  const ratio = quantile(troubled, 0.99) / quantile(calm, 0.99);
  const bound = {
    what: `p99 from event to receipt beside ${hanging} endpoints that hang, of what it is without`,
    bound: `${RATIO_MAX}`,
    measured: ratio.toFixed(2),
    isKept: ratio < RATIO_MAX,
  };
  return { bounds: [bound], figures: { shares, calm: of, troubled: beside } };
}
