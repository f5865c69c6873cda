/** Runs the peers against one maildrop, in rounds, and holds what they say against what there was to fetch. */

import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { existsSync } from 'node:fs';
import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { expectedOctets } from './corpora.ts';
import type { Corpus } from './corpora.ts';
import type { Job, Tally } from './job.ts';
import { measure } from './measure.ts';
import type { Peer } from './peers.ts';
import type { Result, Run } from './report.ts';

export interface RunPlan {
  readonly corpus: Corpus;
  readonly tls: boolean;
  /** Where Dovecot listens, and the account. */
  readonly place: Pick<Job, 'host' | 'port' | 'caPath' | 'username' | 'password'>;
  readonly peers: readonly Peer[];
  readonly rounds: number;
  readonly polls: number;
  readonly timeoutMs: number;
}

const POLLS_AT_ONCE = 50;

export async function runCorpus(plan: RunPlan): Promise<Result[]> {
  const { corpus, tls, place } = plan;
  const isPolled = corpus.messages === 0;
  const peers = plan.peers.filter((peer) => (peer.tls || !tls) && (peer.polls || !isPolled));
  const proxy = corpus.roundTripMs === 0 ? undefined : await startProxy(place.port, corpus.roundTripMs);
  const job: Job = {
    ...place,
    port: proxy?.port ?? place.port,
    caPath: tls ? place.caPath : null,
    messages: corpus.messages,
    polls: isPolled ? plan.polls : 0,
    pollsAtOnce: POLLS_AT_ONCE,
  };
  try {
    const runs = new Map(peers.map(({ name }) => [name, [] as Run[]]));
    // In rounds, so that the runs that are compared are near in time.
    for (let round = 0; round < plan.rounds; round += 1) {
      for (const peer of peers) runs.get(peer.name)?.push(await runPeer(peer, corpus, job, plan.timeoutMs));
    }
    return [...runs].map(([peer, done]) => ({ corpus: corpus.name, tls, peer, runs: done }));
  } finally {
    proxy?.close();
  }
}

async function runPeer(peer: Peer, corpus: Corpus, job: Job, timeoutMs: number): Promise<Run> {
  // In memory, so that no peer pays for a disk that others do not use.
  const folder = await mkdtemp(join(existsSync('/dev/shm') ? '/dev/shm' : tmpdir(), 'popbridge-bench-'));
  try {
    const measured = await measure(await peer.prepare(job, folder), timeoutMs);
    if (measured.failure !== null) return measured;
    const { usage, stdout } = measured;
    if (peer.counts === null || corpus.messages === 0) return { usage, failure: null };
    const octets = expectedOctets(corpus, peer.counts);
    const tally = JSON.parse(stdout) as Tally;
    const isRight = tally.messages === corpus.messages && tally.octets === octets;
    return isRight ? { usage, failure: null } : { usage: null, failure: `${stdout}, but octets are ${octets}` };
  } finally {
    await rm(folder, { recursive: true, force: true });
  }
}

async function startProxy(port: number, roundTripMs: number): Promise<{ port: number; close(): void }> {
  const script = fileURLToPath(new URL('delay-proxy.ts', import.meta.url));
  const args = [script, String(port), String(roundTripMs)];
  const child = spawn(process.execPath, args, { stdio: ['pipe', 'pipe', 'inherit'] });
  const [line] = (await once(child.stdout, 'data')) as [Buffer];
  return { port: Number(line), close: () => child.stdin.end() };
}
