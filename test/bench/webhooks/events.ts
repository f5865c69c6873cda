/** What an event costs that is announced to a tenant with more or fewer webhooks, of which one wants it. */
import { announceToWebhooks } from '../../../src/webhook/announce.ts';
import { inTurns, mailboxIdOf, median, openStage, print, received, type Bound, type Stage } from './stage.ts';

export interface EventsOptions {
  events: number;
  rounds: number;
}

const SIZES = [1, 100, 1000] as const;
/** Of what it costs where there is one webhook. */
const RATIO_MAX = 2;

export async function measureEvents({ events, rounds }: EventsOptions): Promise<{ bounds: Bound[]; figures: object }> {
  const stage = await openStage();
  try {
    for (const size of SIZES) {
      for (let at = 0; at < size; at += 1) {
        await stage.makeWebhook(tenantOf(size), stage.urlOf('/'), { mailboxes: [mailboxIdOf(at)] });
      }
    }
    const took = new Map(SIZES.map((size) => [size, [] as { cpuUs: number; redisUs: number }[]]));
    for (let round = 0; round <= rounds; round += 1) {
      for (const size of SIZES) {
        const one = await announce(stage, tenantOf(size), events, `${round}`);
        if (round > 0) took.get(size)?.push(one);
      }
    }
    print(`\nEvents: ${events} a round, 20 at once, each to one webhook of its tenant; medians of ${rounds} rounds\n`);
    print('| webhooks of the tenant | us of CPU an event | us of Redis |\n| ---: | ---: | ---: |');
    const costs = SIZES.map((size) => {
      const all = took.get(size) ?? [];
      const [cpu, redis] = [median(all.map(({ cpuUs }) => cpuUs)), median(all.map(({ redisUs }) => redisUs))];
      print(`| ${size} | ${cpu.toFixed(0)} | ${redis.toFixed(0)} |`);
      return cpu + redis;
    });
    const ratio = (costs.at(-1) ?? Number.NaN) / (costs[0] ?? Number.NaN);
    const bound = {
      what: `CPU of an event, with Redis, where its tenant has ${SIZES.at(-1)} webhooks, of that where it has one`,
      bound: `${RATIO_MAX}`,
      measured: ratio.toFixed(2),
      isKept: ratio <= RATIO_MAX,
    };
    return { bounds: [bound], figures: { took: Object.fromEntries(took) } };
  } finally {
    await stage.close();
  }
}

async function announce(stage: Stage, tenant: string, count: number, occasion: string) {
  const numbers = Array.from({ length: count }, (_, number) => number);
  const redisBefore = await stage.redisCpuS();
  const before = process.cpuUsage();
  await inTurns(numbers, 20, (number) =>
    announceToWebhooks(stage, received(tenant, mailboxIdOf(0), `msg_${number}`, occasion)),
  );
  const { user, system } = process.cpuUsage(before);
  const redisS = (await stage.redisCpuS()) - redisBefore;
  return { cpuUs: (user + system) / count, redisUs: (redisS / count) * 1e6 };
}

function tenantOf(size: number): string {
  return `has${size}`;
}
