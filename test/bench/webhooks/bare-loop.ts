/**
 * What is to be beaten by no more than a factor: undici that posts the same bytes again and again, and nothing else. In a process of its
 * own, started by `fork`; each message is one run.
 */
import { Agent, request } from 'undici';

export interface BareRun {
  url: string;
  headers: Record<string, string>;
  body: string;
  count: number;
  concurrency: number;
}

export interface BareTook {
  cpuS: number;
  wallS: number;
}

let agent: Agent | null = null;

async function run({ url, headers, body, count, concurrency }: BareRun): Promise<BareTook> {
  agent ??= new Agent({ connections: concurrency, pipelining: 1 });
  const dispatcher = agent;
  const bytes = Buffer.from(body);
  let left = count;
  const lane = async (): Promise<void> => {
    while (left > 0) {
      left -= 1;
      const answer = await request(url, { method: 'POST', dispatcher, headers, body: bytes });
      await answer.body.dump();
    }
  };
  const before = process.cpuUsage();
  const fromMs = performance.now();
  await Promise.all(Array.from({ length: concurrency }, lane));
  const { user, system } = process.cpuUsage(before);
  return { cpuS: (user + system) / 1e6, wallS: (performance.now() - fromMs) / 1000 };
}

process.on('message', (wanted: BareRun) => {
  void run(wanted).then((took) => process.send?.(took));
});
process.on('disconnect', () => process.exit());
