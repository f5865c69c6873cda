/** From runs to medians, from medians and pairs to the bounds of the POP3 client, and both to text. */

import type { Usage } from './measure.ts';

export type Run =
  | { readonly usage: Usage; readonly failure: null }
  | { readonly usage: null; readonly failure: string };

/** All runs of one peer with one corpus. */
export interface Result {
  readonly corpus: string;
  readonly tls: boolean;
  readonly peer: string;
  readonly runs: readonly Run[];
}

/** What Node costs before it does anything: bare, and with our client loaded. */
export interface Starts {
  readonly node: Usage;
  readonly ours: Usage;
}

export interface Bound {
  readonly what: string;
  readonly limit: number;
  /** Median over the rounds; null where one of the two is missing. */
  readonly value: number | null;
}

type Key = 'wallS' | 'cpuS' | 'rssPeakMb';

export function median(values: readonly number[]): number {
  const sorted = values.toSorted((a, b) => a - b);
  const middle = Math.floor(sorted.length / 2);
  const upper = sorted[middle] ?? NaN;
  return sorted.length % 2 === 1 ? upper : ((sorted[middle - 1] ?? NaN) + upper) / 2;
}

export function medianOf(runs: readonly Run[], key: Key): number | null {
  const values = runs.flatMap(({ usage }) => (usage === null ? [] : [usage[key]]));
  return values.length === 0 ? null : median(values);
}

/** Ratios are of the two runs of one round, as the machine's mood is shared by them; their median counts. */
export function judge(results: readonly Result[], starts: Starts): Bound[] {
  const runsOf = (corpus: string, tls: boolean, peer: string): readonly Run[] =>
    results.find((result) => result.corpus === corpus && result.tls === tls && result.peer === peer)?.runs ?? [];
  const pairs = (
    [corpus, tls]: [string, boolean],
    other: string,
    relate: (ours: Usage, others: Usage) => number,
  ): number | null => {
    const others = runsOf(corpus, tls, other);
    const values = runsOf(corpus, tls, 'ours').flatMap(({ usage }, round) => {
      const against = others[round]?.usage;
      return usage && against ? [relate(usage, against)] : [];
    });
    return values.length === 0 ? null : median(values);
  };
  /** Without Node's start, where the other one is Node's, too, and where it is not. */
  const work = (key: Key, otherIsNode: boolean) => (ours: Usage, others: Usage) =>
    (ours[key] - starts.ours[key]) / (others[key] - (otherIsNode ? starts.node[key] : 0));

  const bounds: Bound[] = [];
  // mpop has two cheap ways to deliver, and which is cheaper is the file system's to say: ours is held against both.
  for (const tls of [false, true]) {
    const over = tls ? 'TLS' : 'plain';
    const add = (what: string, limit: number, value: number | null): void => {
      bounds.push({ what: `${what}, ${over}`, limit, value });
    };
    for (const mpop of ['mpop', 'mpop-mbox']) {
      const whole = (ours: Usage, others: Usage): number => ours.wallS / others.wallS;
      add(`small: wall of ${mpop}'s, Node's start included`, 0.8, pairs(['small', tls], mpop, whole));
      add(`small: CPU of ${mpop}'s, without Node's start`, 0.6, pairs(['small', tls], mpop, work('cpuS', false)));
      for (const corpus of ['medium', 'large', 'huge']) {
        const value = pairs([corpus, tls], mpop, work('wallS', false));
        add(`${corpus}: wall of ${mpop}'s, without Node's start`, 1.1, value);
      }
      add(`far: wall of ${mpop}'s, without Node's start`, 0.5, pairs(['far', tls], mpop, work('wallS', false)));
    }
    for (const corpus of ['small', 'medium', 'large', 'huge', 'far']) {
      const rssPeakMb = medianOf(runsOf(corpus, tls, 'ours'), 'rssPeakMb');
      add(`${corpus}: MB above bare Node`, 40, rssPeakMb === null ? null : rssPeakMb - starts.node.rssPeakMb);
    }
    add("polls: CPU of the bare Node loop's", 1.25, pairs(['polls', tls], 'bare', work('cpuS', true)));
    add("polls: CPU of node-pop3's", 0.75, pairs(['polls', tls], 'node-pop3', work('cpuS', true)));
  }
  return bounds;
}

export function renderBounds(bounds: readonly Bound[]): string {
  const measured = bounds.flatMap(({ what, limit, value }) => (value === null ? [] : [{ what, limit, value }]));
  const lines = measured.map(
    ({ what, limit, value }) =>
      `${value <= limit ? 'met   ' : 'MISSED'} ${value.toFixed(2)} of at most ${limit}: ${what}`,
  );
  const missing = bounds.length - measured.length;
  return [...lines, ...(missing > 0 ? [`${missing} bounds were not measured.`] : [])].join('\n');
}

/** One corpus: a line for each peer, quickest first. */
export function renderResults(title: string, results: readonly Result[], polls: number): string {
  const rows = results
    .map(({ peer, runs }) => ({ peer, runs, wallS: medianOf(runs, 'wallS') ?? Infinity }))
    .toSorted((a, b) => a.wallS - b.wallS)
    .map(({ peer, runs, wallS }) => {
      const failures = runs.flatMap(({ failure }) => failure ?? []);
      if (wallS === Infinity) return `${peer.padEnd(12)}${failures[0] ?? 'did not run'}`;
      const cpuS = medianOf(runs, 'cpuS') ?? NaN;
      const rssPeakMb = medianOf(runs, 'rssPeakMb') ?? NaN;
      const cells = [wallS.toFixed(3), cpuS.toFixed(3), rssPeakMb.toFixed(0)];
      if (polls > 0) cells.push((polls / wallS).toFixed(0), ((cpuS / polls) * 1_000).toFixed(2));
      const failed = failures.length > 0 ? `   ${failures.length} of ${runs.length} runs: ${failures[0]}` : '';
      return peer.padEnd(12) + cells.map((cell) => cell.padStart(10)).join('') + failed;
    });
  const heads = ['wall s', 'CPU s', 'RSS MB', ...(polls > 0 ? ['polls/s', 'CPU ms'] : [])];
  return [title, ' '.repeat(12) + heads.map((head) => head.padStart(10)).join(''), ...rows].join('\n');
}
