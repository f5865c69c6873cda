/**
 * npm run bench:webhooks: what a delivery costs against a bare loop of undici, what endpoints that hang take from the others, what an
 * event costs where a tenant has many webhooks, and what waits for a dead endpoint takes. Prints tables and the bounds that are kept.
 *
 *     --parts throughput,isolation,events,backlog
 *     --rounds 5   --deliveries 4000   --concurrency 20   --webhooks 100   --tenants 5   --tls yes   --answer 8
 *     --endpoints 1000   --hanging 300   --seconds 40   --every 10
 *     --events 500   --waiting 10000
 *
 * The CPU of a delivery is that of the whole process of the worker; what Redis takes for it is told beside it.
 */
import { mkdir, writeFile } from 'node:fs/promises';
import { cpus } from 'node:os';
import { dirname } from 'node:path';
import { fileURLToPath } from 'node:url';
import { parseArgs } from 'node:util';
import { measureBacklog } from './backlog.ts';
import { measureEvents } from './events.ts';
import { measureIsolation } from './isolation.ts';
import { print, type Bound } from './stage.ts';
import { measureThroughput } from './throughput.ts';

const { values: options } = parseArgs({
  options: {
    parts: { type: 'string', default: 'throughput,isolation,events,backlog' },
    rounds: { type: 'string', default: '5' },
    deliveries: { type: 'string', default: '4000' },
    concurrency: { type: 'string', default: '20' },
    webhooks: { type: 'string', default: '100' },
    tenants: { type: 'string', default: '5' },
    tls: { type: 'string', default: 'yes' },
    answer: { type: 'string', default: '8' },
    endpoints: { type: 'string', default: '1000' },
    hanging: { type: 'string', default: '300' },
    seconds: { type: 'string', default: '40' },
    every: { type: 'string', default: '10' },
    events: { type: 'string', default: '500' },
    waiting: { type: 'string', default: '10000' },
  },
});
const OUTPUT = fileURLToPath(new URL('../../../data/bench-webhooks.json', import.meta.url));
const { parts, tls, ...texts } = options;
const numbers = Object.fromEntries(Object.entries(texts).map(([name, text]) => [name, Number(text)])) as Record<
  keyof typeof texts,
  number
>;
const measures = {
  throughput: () => measureThroughput({ ...numbers, isTls: tls === 'yes' }),
  isolation: () => measureIsolation({ ...numbers, tenants: 20 }),
  events: () => measureEvents(numbers),
  backlog: () => measureBacklog(numbers),
};

const facts = { date: new Date().toISOString(), node: process.version, cpu: cpus()[0]?.model, cpus: cpus().length };
print(`Node ${facts.node}, ${facts.cpus} x ${facts.cpu}`);
const bounds: Bound[] = [];
const figures: Record<string, object> = {};
for (const [name, measure] of Object.entries(measures)) {
  if (!parts.split(',').includes(name)) continue;
  const measured = await measure();
  bounds.push(...measured.bounds);
  figures[name] = measured.figures;
}
print('\n| bound | at most | measured | kept |\n| --- | ---: | ---: | --- |');
for (const { what, bound, measured, isKept } of bounds) {
  print(`| ${what} | ${bound} | ${measured} | ${isKept ? 'yes' : 'NO'} |`);
}
await mkdir(dirname(OUTPUT), { recursive: true });
await writeFile(OUTPUT, JSON.stringify({ ...facts, options, bounds, figures }, null, 2));
