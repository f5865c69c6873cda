/** Prometheus's own tool: what it says of rules, and what they come to over series that are made up. */
import { execFile } from 'node:child_process';
import { existsSync } from 'node:fs';
import { mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { promisify } from 'node:util';

const run = promisify(execFile);
const PROMTOOL = fileURLToPath(new URL('../../data/test-servers/promtool/promtool', import.meta.url));

/** As `test/support/unpack-promtool.sh` has unpacked it. */
export const promtoolAvailable = (): boolean => existsSync(PROMTOOL);

/** As Prometheus reads it from a file: alerts, or queries with a name. */
export type Rule = { readonly expr: string } & ({ readonly alert: string } | { readonly record: string });

/** As promtool reads it: series from minute 0 on, a value a minute, and what is to come of them. */
export interface RuleTest {
  readonly interval: '1m';
  readonly input_series: readonly { readonly series: string; readonly values: string }[];
  readonly alert_rule_test?: readonly {
    readonly eval_time: string;
    readonly alertname: string;
    readonly exp_alerts: readonly { readonly exp_labels: object; readonly exp_annotations: object }[];
  }[];
  readonly promql_expr_test?: readonly {
    readonly expr: string;
    readonly eval_time: string;
    readonly exp_samples: readonly { readonly labels: string; readonly value: number }[];
  }[];
}

/** What promtool says of rules that it does not take; empty where nothing is wrong. */
export function findRuleFaults(rules: readonly Rule[]): Promise<string> {
  return inFolder(async (write) => runPromtool('check', 'rules', await writeRules(write, rules)));
}

/** What promtool says of tests that fail. */
export function findTestFaults(rules: readonly Rule[], tests: readonly RuleTest[]): Promise<string> {
  return inFolder(async (write) => {
    const file = await writeRules(write, rules);
    return runPromtool(
      'test',
      'rules',
      await write('test.json', { rule_files: [file], evaluation_interval: '1m', tests }),
    );
  });
}

type Write = (name: string, content: object) => Promise<string>;

async function inFolder<T>(work: (write: Write) => Promise<T>): Promise<T> {
  const folder = await mkdtemp(join(tmpdir(), 'popbridge-promtool-'));
  try {
    return await work(async (name, content) => {
      await writeFile(join(folder, name), JSON.stringify(content));
      return join(folder, name);
    });
  } finally {
    await rm(folder, { recursive: true, force: true });
  }
}

function writeRules(write: Write, rules: readonly Rule[]): Promise<string> {
  return write('rules.json', { groups: [{ name: 'popbridge', rules }] });
}

async function runPromtool(...args: readonly string[]): Promise<string> {
  return await run(PROMTOOL, args).then(
    () => '',
    ({ stdout, stderr }: { stdout: string; stderr: string }) => `${stdout}${stderr}`,
  );
}
