/**
 * What of the chart is made from other files: the schema of `settings` from the settings that popbridge reads, and the table of
 * values in helm/README.md from the comments in values.yaml. `npm run chart` writes both.
 */
import { readFile, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { isMap, isScalar, parseDocument, stringify, type Pair, type Scalar, type YAMLMap } from 'yaml';
import { settingsSchema } from '../../src/config/settings.ts';

const CHART = fileURLToPath(new URL('../../helm', import.meta.url));

/** Settings that have a value of their own in the chart, or that its pods have no use for. */
export const SET_BY_THE_CHART: ReadonlySet<string> = new Set([
  'POPBRIDGE_ROLE',
  'POPBRIDGE_HOST',
  'POPBRIDGE_PORT',
  'POPBRIDGE_PUBLIC_URL',
  'POPBRIDGE_OPERATOR_KEY',
  'POPBRIDGE_MASTER_KEYS',
  'POPBRIDGE_MASTER_KEYS_FILE',
  'POPBRIDGE_DATA_DIR',
  'POPBRIDGE_BLOB_STORE',
  'POPBRIDGE_S3_BUCKET',
  'POPBRIDGE_S3_PREFIX',
  'POPBRIDGE_S3_ENDPOINT',
  'POPBRIDGE_S3_REGION',
  'POPBRIDGE_S3_PATH_STYLE',
  'POPBRIDGE_REDIS_BLOBS_BYTES_MAX',
  'POPBRIDGE_EGRESS_ALLOW',
  'POPBRIDGE_EGRESS_PROXY',
  'REDIS_URL',
  'POPBRIDGE_REDIS_MODE',
  'POPBRIDGE_REDIS_SENTINEL_NAME',
  'POPBRIDGE_REDIS_SENTINEL_USERNAME',
  'POPBRIDGE_REDIS_SENTINEL_PASSWORD',
  'POPBRIDGE_REDIS_CA_FILE',
  'POPBRIDGE_REDIS_ALLOW_VOLATILE',
  'POPBRIDGE_REDIS_REPLICAS',
  'POPBRIDGE_REDIS_SERVER',
  'POPBRIDGE_SHUTDOWN_SECONDS',
  'POPBRIDGE_METRICS_PORT',
  'OTEL_EXPORTER_OTLP_ENDPOINT',
]);

/** Of values.schema.json: `settings`. */
export function settingsValueSchema(): object {
  const properties = Object.entries<Record<string, unknown>>(settingsSchema.properties)
    .filter(([name]) => !SET_BY_THE_CHART.has(name))
    .map(([name, schema]) => [name, Object.fromEntries(Object.entries(schema).filter(([key]) => !DROPPED.has(key)))]);
  return { type: 'object', additionalProperties: false, properties: Object.fromEntries(properties) as object };
}

/** popbridge has its own defaults, and its README the texts. */
const DROPPED = new Set(['description', 'default']);

export interface DocumentedValue {
  /** `worker.keda.enabled`. */
  readonly path: string;
  readonly value: unknown;
  readonly description: string;
}

/** @throws where a value has no line of documentation. */
export function readValues(text: string): DocumentedValue[] {
  const root = parseDocument(text).contents;
  if (!isMap<Scalar<string>>(root)) throw new Error('values.yaml is no map');
  return [...walk(root, '')];
}

function* walk(map: YAMLMap<Scalar<string>>, prefix: string): Generator<DocumentedValue> {
  for (const [index, pair] of map.items.entries()) {
    const path = `${prefix}${pair.key.value}`;
    const description = descriptionOf(pair, index === 0 ? map.commentBefore : undefined);
    if (description !== undefined) yield { path, value: plain(pair), description };
    else if (isMap<Scalar<string>>(pair.value) && pair.value.items.length > 0) yield* walk(pair.value, `${path}.`);
    else throw new Error(`values.yaml says nothing about ${path}`);
  }
}

/** The line before it that begins with "--". A comment before the first key of a map is the map's. */
function descriptionOf({ key }: Pair<Scalar<string>>, ofMap: string | null | undefined): string | undefined {
  const lines = (key.commentBefore ?? ofMap ?? '').split('\n');
  return lines.findLast((line) => line.startsWith(' -- '))?.slice(4);
}

function plain({ value }: Pair): unknown {
  if (isScalar(value)) return value.value;
  return (value as YAMLMap).toJSON() as unknown;
}

export function renderValuesTable(text: string): string {
  const rows = readValues(text).map(
    ({ path, value, description }) =>
      `| \`${path}\` | ${renderDefault(value)} | ${description.replaceAll('|', '\\|')} |`,
  );
  return ['| value | default | meaning |', '| --- | --- | --- |', ...rows].join('\n');
}

function renderDefault(value: unknown): string {
  if (value === '' || value === null) return '';
  if (typeof value === 'object') {
    if (Object.keys(value).length === 0) return Array.isArray(value) ? '`[]`' : '`{}`';
    const text = stringify(value, { collectionStyle: 'flow', lineWidth: 0 }).trim();
    return text.length > 90 ? 'see values.yaml' : `\`${text}\``;
  }
  return `\`${JSON.stringify(value).replaceAll('"', '')}\``;
}

const TABLE = /(?<=<!-- values -->\n)[^]*?(?=\n<!-- \/values -->)/;

export function readTable(readme: string): string | undefined {
  return TABLE.exec(readme)?.[0];
}

if (import.meta.main) {
  const file = (name: string): string => join(CHART, name);
  const schema = JSON.parse(await readFile(file('values.schema.json'), 'utf8')) as { properties: { settings: object } };
  schema.properties.settings = settingsValueSchema();
  await writeFile(file('values.schema.json'), `${JSON.stringify(schema, null, 2)}\n`);
  const table = renderValuesTable(await readFile(file('values.yaml'), 'utf8'));
  const readme = await readFile(file('README.md'), 'utf8');
  await writeFile(
    file('README.md'),
    readme.replace(TABLE, () => table),
  );
}
