/** The chart's own documents are current, and its parts agree. */
import { readFile } from 'node:fs/promises';
import { describe, expect, it } from 'vitest';
import { parse } from 'yaml';
import { CHART, helm, NAMESPACE, RELEASE } from '../support/helm.ts';
import { readTable, readValues, renderValuesTable, settingsValueSchema } from './chart-docs.ts';
import { MINIMAL, VALUE_SETS } from './value-sets.ts';

const read = (name: string): Promise<string> => readFile(`${CHART}/${name}`, 'utf8');

interface Schema {
  readonly type?: string | readonly string[];
  readonly $ref?: string;
  readonly properties?: Readonly<Record<string, Schema>>;
  readonly additionalProperties?: unknown;
  readonly items?: Schema;
  readonly definitions?: Readonly<Record<string, Schema>>;
}

it('the README has the values as values.yaml documents them (npm run chart)', async () => {
  expect(readTable(await read('README.md'))).toBe(renderValuesTable(await read('values.yaml')));
});

it('the schema of settings is that of popbridge’s own settings (npm run chart)', async () => {
  const schema = JSON.parse(await read('values.schema.json')) as Schema;
  expect(schema.properties?.['settings']).toEqual(settingsValueSchema());
});

it('a value without documentation is found', () => {
  expect(() => readValues('a:\n  # -- one\n  b: 1\n  c: 2\n')).toThrow('a.c');
  expect(readValues('a:\n  # -- one\n  b: 1\n')).toEqual([{ path: 'a.b', value: 1, description: 'one' }]);
});

it('the schema has exactly the values of values.yaml', async () => {
  const schema = JSON.parse(await read('values.schema.json')) as Schema;
  const values = parse(await read('values.yaml')) as object;
  const problems: string[] = [];
  const compare = (value: unknown, part: Schema, path: string): void => {
    const resolved = part.$ref ? (schema.definitions?.[part.$ref.replace('#/definitions/', '')] ?? {}) : part;
    if (typeof value !== 'object' || value === null || Array.isArray(value)) return;
    for (const [name, each] of Object.entries(value)) {
      const below = resolved.properties?.[name];
      if (below) compare(each, below, `${path}.${name}`);
      else if (resolved.additionalProperties === false) problems.push(`${path}.${name} is not in the schema`);
    }
    // What Kubernetes takes there is longer than what the chart has set.
    if (/\.(resources|strategy|topologySpreadConstraints|settings|labels)$/.test(path)) return;
    for (const name of Object.keys(resolved.properties ?? {})) {
      if (!(name in value) && Object.keys(value).length > 0 && path + name !== 'global')
        problems.push(`${path}.${name} is not in values.yaml`);
    }
  };
  compare(values, schema, '');
  expect(problems).toEqual([]);
});

it('no map of the schema takes names that it does not know, but where Kubernetes or the user gives them', async () => {
  const schema = JSON.parse(await read('values.schema.json')) as Schema;
  const open: string[] = [];
  const walk = (part: Schema, path: string): void => {
    const isMap = [part.type].flat().includes('object');
    if (isMap && part.additionalProperties === undefined) open.push(path);
    for (const [name, each] of Object.entries(part.properties ?? {})) walk(each, `${path}/${name}`);
    for (const [name, each] of Object.entries(part.definitions ?? {})) walk(each, `#${name}`);
    if (part.items) walk(part.items, `${path}[]`);
  };
  walk(schema, '');
  // Each is handed to Kubernetes as it is; `global` is Helm's.
  const handed =
    /(affinity|tolerations\[\]|extraVolumes\[\]|extraVolumeMounts\[\]|filters\[\]|extraObjects\[\]|valueFrom|Selector|claims\[\]|scaleUp|scaleDown|^\/global)$/;
  expect(open.filter((path) => !handed.test(path))).toEqual([]);
});

it('the version of the application is that of the package', async () => {
  const { version } = JSON.parse(await readFile(`${CHART}/../package.json`, 'utf8')) as { version: string };
  expect(parse(await read('Chart.yaml'))).toMatchObject({ appVersion: version });
});

it('the examples of the README are values that the chart takes', async () => {
  const readme = await read('README.md');
  const example = /```yaml\n([^]*?)```/.exec(readme)?.[1] ?? '';
  await helm(4, ['template', RELEASE, CHART], parse(example) as object);
  const command = /helm install popbridge[^]*?\n```/.exec(readme)?.[0] ?? '';
  const sets = [...command.matchAll(/--set ([\w.]+)="?(k1:\$\([^)]*\)|[^"\s\\]+)"?/g)];
  expect(sets.length).toBeGreaterThanOrEqual(6);
  const args = sets.flatMap(([, name, value = '']) => ['--set', `${name}=${MADE[value] ?? value}`]);
  await helm(4, ['template', RELEASE, CHART, ...args]);
});
/** What the commands in the example make. */
const MADE: Readonly<Record<string, string>> = {
  '$(openssl': 'a'.repeat(48),
  'k1:$(openssl rand -base64 32)': `k1:${Buffer.alloc(32).toString('base64')}`,
};

// Of helm 4 alone: version 3 shows them only where there is a cluster.
describe('the notes', () => {
  const notes = async (values: object): Promise<string> => {
    const said = await helm(4, ['install', RELEASE, CHART, '--namespace', NAMESPACE, '--dry-run=client'], values);
    return said.slice(said.indexOf('NOTES:'));
  };

  it('say how to wait, to test, to reach it, and to fetch a first mail', async () => {
    const said = await notes(MINIMAL);
    expect(said).toContain('rollout status deployment/mail-popbridge-api');
    expect(said).toContain('helm test mail --namespace post');
    expect(said).toContain('port-forward service/mail-popbridge 8110:80');
    expect(said).toContain("get secret popbridge-keys -o jsonpath='{.data.operator-key}'");
    expect(said).toContain('/v1/fetches');
  });

  it('name the hosts where it is exposed', async () => {
    const said = await notes(VALUE_SETS['exposed by Ingress and Gateway'] ?? {});
    expect(said).toContain('https://mail.example.com/');
    expect(said).not.toContain('publicUrl is not set');
  });

  it('warn of what is for trying out alone', async () => {
    const said = await notes(VALUE_SETS['Valkey as it is for trying out, with all that can be set'] ?? {});
    for (const warning of [
      'no failover',
      'lost with the pod',
      'Mail is kept in Redis, up to 268435456 bytes',
      'keys stand in the release',
    ]) {
      expect(said).toContain(warning);
    }
    expect(said).not.toContain('try-out-password');
  });
});
