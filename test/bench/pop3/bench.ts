/**
 * npm run bench:pop3: popbridge's POP3 client against others, on one real Dovecot, each as a whole process.
 *
 * Peers are those on PATH, and npm packages in the folder that BENCH_PEERS names. Prints tables and the bounds that the
 * client keeps, and writes data/bench-pop3.json. It fails on no time: a machine with other work to do measures that work.
 *
 *     --corpus small,medium,large,huge,far,polls   --tls plain,tls   --peers ours,mpop,...   --runs 3
 *     --polls 2000   --scale 0.1 (of the messages of each maildrop)   --timeout 180 (seconds for one run)
 */

import { mkdir, mkdtemp, rm, writeFile } from 'node:fs/promises';
import { cpus, tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { parseArgs } from 'node:util';
import { startDovecot } from '../../support/dovecot.ts';
import type { Dovecot } from '../../support/dovecot.ts';
import { CORPORA, makeMail, scaleDown } from './corpora.ts';
import { measure } from './measure.ts';
import type { Usage } from './measure.ts';
import { findPeers } from './peers.ts';
import { buildPrograms } from './programs.ts';
import { judge, median, renderBounds, renderResults } from './report.ts';
import type { Result, Starts } from './report.ts';
import { runCorpus } from './runs.ts';

const { values: options } = parseArgs({
  options: {
    corpus: { type: 'string', default: CORPORA.map(({ name }) => name).join() },
    tls: { type: 'string', default: 'plain,tls' },
    peers: { type: 'string' },
    runs: { type: 'string', default: '3' },
    polls: { type: 'string', default: '2000' },
    scale: { type: 'string', default: '1' },
    timeout: { type: 'string', default: '180' },
  },
});
const [rounds, polls, scale] = [Number(options.runs), Number(options.polls), Number(options.scale)];
const timeoutMs = Number(options.timeout) * 1_000;
const PASSWORD = 'password';
const STARTS_MEASURED = 7;
const OUTPUT = fileURLToPath(new URL('../../../data/bench-pop3.json', import.meta.url));

const chosen = options.corpus.split(',');
const corpora = CORPORA.filter(({ name }) => chosen.includes(name)).map((corpus) => scaleDown(corpus, scale));

function print(text: string): void {
  process.stdout.write(`${text}\n`);
}

async function measureStart(args: readonly string[]): Promise<Usage> {
  const usages: Usage[] = [];
  for (let run = 0; run < STARTS_MEASURED; run += 1) {
    const { usage } = await measure({ file: process.execPath, args }, timeoutMs);
    if (usage !== null) usages.push(usage);
  }
  const middle = (key: keyof Usage): number => median(usages.map((usage) => usage[key]));
  return { wallS: middle('wallS'), cpuS: middle('cpuS'), rssPeakMb: middle('rssPeakMb') };
}

const folder = await mkdtemp(join(tmpdir(), 'popbridge-bench-'));
let dovecot: Dovecot | undefined;
try {
  const programs = await buildPrograms(folder);
  const wanted = options.peers?.split(',');
  const found = findPeers({ programs, modules: process.env['BENCH_PEERS'] });
  const peers = found.filter(({ name }) => wanted?.includes(name) ?? true);
  const startOnly = JSON.stringify({ startOnly: true, caPath: null });
  const starts: Starts = {
    node: await measureStart(['-e', '0']),
    ours: await measureStart([programs.script('ours'), startOnly]),
  };
  print(`Node ${process.version}, ${cpus().length} x ${cpus()[0]?.model}; ${rounds} runs, medians`);
  for (const [name, { wallS, cpuS, rssPeakMb }] of Object.entries(starts)) {
    print(
      `start of ${name === 'node' ? 'bare Node' : 'Node with our client'}: ${wallS.toFixed(3)} s, CPU ${cpuS.toFixed(3)} s, ${rssPeakMb.toFixed(0)} MB`,
    );
  }

  const users = corpora.map(({ name, messages, messageBytes }) => {
    const mail = messages === 0 ? Buffer.alloc(0) : makeMail(messageBytes);
    return [name, { password: PASSWORD, mails: Array.from({ length: messages }, () => mail) }] as const;
  });
  dovecot = await startDovecot({ users: Object.fromEntries(users), reuseProcesses: true });
  const caPath = join(folder, 'ca.pem');
  await writeFile(caPath, dovecot.ca);

  const results: Result[] = [];
  const bare = found.filter(({ name }) => name === 'bare');
  for (const corpus of corpora) {
    for (const over of options.tls.split(',')) {
      const tls = over === 'tls';
      const port = tls ? dovecot.tlsPort : dovecot.port;
      const place = { host: dovecot.host, port, caPath, username: corpus.name, password: PASSWORD };
      const plan = { corpus, tls, place, peers, rounds, polls, timeoutMs };
      // The first session indexes the maildrop, and is nobody's.
      if (corpus.messages > 0) await runCorpus({ ...plan, peers: bare, rounds: 1 });
      const done = await runCorpus(plan);
      results.push(...done);
      const title = `${corpus.title}${scale === 1 ? '' : ` x ${scale}`}, ${over}`;
      print(`\n${renderResults(title, done, corpus.messages === 0 ? polls : 0)}`);
    }
  }
  const bounds = judge(results, starts);
  print(`\n${renderBounds(bounds)}`);
  await mkdir(join(OUTPUT, '..'), { recursive: true });
  const facts = { date: new Date().toISOString(), node: process.version, cpu: cpus()[0]?.model, cpus: cpus().length };
  await writeFile(OUTPUT, JSON.stringify({ ...facts, options, starts, results, bounds }, null, 2));
} finally {
  await dovecot?.close();
  await rm(folder, { recursive: true, force: true });
}
