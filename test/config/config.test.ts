import { Ajv2020 } from 'ajv/dist/2020.js';
import { readFile } from 'node:fs/promises';
import { resolve } from 'node:path';
import { describe, expect, it } from 'vitest';
import { readConfig } from '../../src/config/config.ts';
import { settingsSchema } from '../../src/config/settings.ts';
import { AppError } from '../../src/errors.ts';
import { renderSettingsTable } from '../support/settings-table.ts';

const KEYS = { POPBRIDGE_OPERATOR_KEY: 'an-operator-key-of-ours', POPBRIDGE_MASTER_KEYS: 'k1:whatever' };

function refusal(env: Record<string, string>): string {
  try {
    readConfig(env);
  } catch (error) {
    if (error instanceof AppError && error.code === 'invalid_config') return error.message;
    throw error;
  }
  throw new Error('Not refused');
}

describe('readConfig', () => {
  it('has a default for everything', () => {
    expect(readConfig({})).toEqual({
      role: 'all',
      host: '127.0.0.1',
      port: 8110,
      metricsPort: undefined,
      publicUrl: undefined,
      operatorKey: undefined,
      masterKeys: undefined,
      masterKeysFile: undefined,
      dataDir: resolve('data'),
      blobs: { kind: 'file' },
      egressAllow: '',
      egressProxy: undefined,
      redis: undefined,
      redisReplicas: 0,
      allowsVolatileRedis: false,
      redisServer: undefined,
      fetchConcurrency: 20,
      hostLimits: { connections: 10, loginsPerSecond: 5, exceptions: '' },
      webhookConcurrency: 20,
      webhookRetryDelaysMs: [5, 300, 1_800, 7_200, 18_000, 36_000, 50_400, 72_000, 86_400].map((s) => s * 1000),
      messageBytesMax: 50 * 1024 * 1024,
      retentionMs: 7 * 24 * 3600 * 1000,
      eventLog: { ageMs: 7 * 24 * 3600 * 1000, bytes: 67_108_864 },
      quota: { messages: 0, bytes: 0 },
      parse: {
        headerFields: 1000,
        headerBytes: 262_144,
        addresses: 1000,
        parts: 1000,
        partDepth: 64,
        textBytes: 4_194_304,
        timeLimitMs: 30_000,
      },
      shutdownMs: 25_000,
      silenceMsMax: 60_000,
      traceEndpoint: undefined,
      traceRatio: 1,
      logLevel: 'info',
    });
  });

  it('takes what is set, with numbers as numbers, and cannot be changed after', () => {
    const config = readConfig({
      ...KEYS,
      POPBRIDGE_ROLE: 'worker',
      POPBRIDGE_HOST: '::',
      POPBRIDGE_PORT: '0',
      POPBRIDGE_METRICS_PORT: '9110',
      POPBRIDGE_PUBLIC_URL: 'https://mail.example.com/popbridge/',
      POPBRIDGE_DATA_DIR: '/var/lib/popbridge',
      POPBRIDGE_BLOB_STORE: 'redis',
      POPBRIDGE_REDIS_BLOBS_BYTES_MAX: '16777216',
      POPBRIDGE_EGRESS_ALLOW: '127.0.0.0/8:*',
      POPBRIDGE_EGRESS_PROXY: 'http://ann:secret@proxy.internal:3128',
      REDIS_URL: 'rediss://user:p%40ss@sentinel-1.internal:26380/1, rediss://user:p%40ss@sentinel-2.internal/1',
      POPBRIDGE_REDIS_MODE: 'sentinel',
      POPBRIDGE_REDIS_SENTINEL_NAME: 'mail',
      POPBRIDGE_REDIS_SENTINEL_USERNAME: 'asker',
      POPBRIDGE_REDIS_SENTINEL_PASSWORD: 'open sesame',
      POPBRIDGE_REDIS_CA_FILE: '/etc/redis-ca.pem',
      POPBRIDGE_REDIS_REPLICAS: '2',
      POPBRIDGE_REDIS_ALLOW_VOLATILE: 'true',
      POPBRIDGE_REDIS_SERVER: '/opt/valkey-server',
      POPBRIDGE_FETCH_CONCURRENCY: '1000',
      POPBRIDGE_WEBHOOK_CONCURRENCY: '1',
      POPBRIDGE_WEBHOOK_RETRIES: '1s,2m,3h',
      POPBRIDGE_MESSAGE_BYTES_MAX: '1024',
      POPBRIDGE_RETENTION_DAYS: '1',
      POPBRIDGE_QUOTA_MESSAGES: '1000',
      POPBRIDGE_EVENT_LOG_DAYS: '1',
      POPBRIDGE_EVENT_LOG_BYTES: '65536',
      POPBRIDGE_PARSE_HEADERS_MAX: '10',
      POPBRIDGE_PARSE_HEADER_BYTES_MAX: '1024',
      POPBRIDGE_PARSE_ADDRESSES_MAX: '2',
      POPBRIDGE_PARSE_PARTS_MAX: '3',
      POPBRIDGE_PARSE_DEPTH_MAX: '4',
      POPBRIDGE_PARSE_TEXT_BYTES_MAX: '2048',
      POPBRIDGE_PARSE_SECONDS_MAX: '5',
      POPBRIDGE_QUOTA_BYTES: '1000000000000',
      POPBRIDGE_SHUTDOWN_SECONDS: '3600',
      POPBRIDGE_LIVENESS_SECONDS: '15',
      OTEL_EXPORTER_OTLP_ENDPOINT: 'http://collector:4318/',
      OTEL_TRACES_SAMPLER_ARG: '0.25',
      POPBRIDGE_LOG_LEVEL: 'silent',
      PATH: '/bin',
    });
    expect(config).toEqual({
      role: 'worker',
      host: '::',
      port: 0,
      metricsPort: 9110,
      publicUrl: 'https://mail.example.com/popbridge',
      operatorKey: KEYS.POPBRIDGE_OPERATOR_KEY,
      masterKeys: KEYS.POPBRIDGE_MASTER_KEYS,
      dataDir: '/var/lib/popbridge',
      blobs: { kind: 'redis', bytesMax: 16_777_216 },
      egressAllow: '127.0.0.0/8:*',
      egressProxy: 'http://ann:secret@proxy.internal:3128',
      redis: {
        mode: 'sentinel',
        urls: ['rediss://user:p%40ss@sentinel-1.internal:26380/1', 'rediss://user:p%40ss@sentinel-2.internal/1'],
        sentinel: { name: 'mail', username: 'asker', password: 'open sesame' },
        caFile: '/etc/redis-ca.pem',
      },
      redisReplicas: 2,
      allowsVolatileRedis: true,
      redisServer: '/opt/valkey-server',
      fetchConcurrency: 1000,
      hostLimits: { connections: 10, loginsPerSecond: 5, exceptions: '' },
      webhookConcurrency: 1,
      webhookRetryDelaysMs: [1_000, 120_000, 10_800_000],
      messageBytesMax: 1024,
      retentionMs: 24 * 3600 * 1000,
      eventLog: { ageMs: 24 * 3600 * 1000, bytes: 65_536 },
      quota: { messages: 1000, bytes: 1e12 },
      parse: {
        headerFields: 10,
        headerBytes: 1024,
        addresses: 2,
        parts: 3,
        partDepth: 4,
        textBytes: 2048,
        timeLimitMs: 5000,
      },
      shutdownMs: 3_600_000,
      silenceMsMax: 15_000,
      traceEndpoint: 'http://collector:4318',
      traceRatio: 0.25,
      logLevel: 'silent',
    });
    expect([Object.isFrozen(config), Object.isFrozen(config.blobs)]).toEqual([true, true]);
  });

  it('takes a bucket for mail, at Amazon or at another server', () => {
    const bucket = { POPBRIDGE_BLOB_STORE: 's3', POPBRIDGE_S3_BUCKET: 'acme.mail-1' };
    expect(readConfig(bucket).blobs).toEqual({
      kind: 's3',
      bucket: 'acme.mail-1',
      prefix: 'popbridge',
      endpoint: undefined,
      region: 'us-east-1',
      pathStyle: false,
    });
    const elsewhere = { ...bucket, POPBRIDGE_S3_ENDPOINT: 'https://s3.internal:9000/s3' };
    expect(readConfig(elsewhere).blobs).toMatchObject({ endpoint: 'https://s3.internal:9000/s3', pathStyle: true });
    expect(
      readConfig({
        ...elsewhere,
        POPBRIDGE_S3_PREFIX: 'teams/mail',
        POPBRIDGE_S3_REGION: 'eu-central-1',
        POPBRIDGE_S3_PATH_STYLE: 'false',
      }).blobs,
    ).toMatchObject({ prefix: 'teams/mail', region: 'eu-central-1', pathStyle: false });
  });

  it('wants a bucket with s3, and s3 with a bucket', () => {
    expect(refusal({ POPBRIDGE_BLOB_STORE: 's3' })).toMatch(/\n  POPBRIDGE_S3_BUCKET must be set with .*=s3$/);
    for (const store of ['file', 'redis', '']) {
      expect(refusal({ POPBRIDGE_BLOB_STORE: store, POPBRIDGE_S3_BUCKET: 'mail' })).toMatch(
        /\n  POPBRIDGE_S3_BUCKET is set, and POPBRIDGE_BLOB_STORE is not s3$/,
      );
    }
  });

  it('takes an empty variable for one that is not set', () => {
    const empty = Object.fromEntries(Object.keys(settingsSchema.properties).map((name) => [name, '']));
    expect(readConfig(empty)).toEqual(readConfig({}));
  });

  const wrong: [name: string, values: string[]][] = [
    ['POPBRIDGE_ROLE', ['api,worker', 'ALL']],
    ['POPBRIDGE_PORT', ['-1', '65536', '80.5', 'http', 'true']],
    [
      'POPBRIDGE_PUBLIC_URL',
      ['mail.example.com', 'ftp://mail.example.com', 'https://', 'https://u:p@host', 'https://x/?y', 'https://a:b'],
    ],
    ['POPBRIDGE_BLOB_STORE', ['files', 'S3']],
    ['POPBRIDGE_S3_BUCKET', ['a b', 'mail/box', '-mail', 'https://s3.internal/mail']],
    ['POPBRIDGE_S3_PREFIX', ['/mail', 'mail/', 'a//b', '../mail', 'a/../b', 'ä']],
    [
      'POPBRIDGE_S3_ENDPOINT',
      ['s3.internal:9000', 'ftp://s3', 'https://', 'http://s3:x', 'https://ann:pw@s3', 'http://s3/?a'],
    ],
    ['POPBRIDGE_S3_REGION', ['eu central', 'eu/central']],
    ['POPBRIDGE_S3_PATH_STYLE', ['yes', '1']],
    ['POPBRIDGE_REDIS_BLOBS_BYTES_MAX', ['0', '16777215', '256M']],
    ['POPBRIDGE_OPERATOR_KEY', ['fifteen-letters', 'has a space in its middle', 'k'.repeat(513)]],
    ['POPBRIDGE_FETCH_CONCURRENCY', ['0', '1001']],
    ['POPBRIDGE_WEBHOOK_CONCURRENCY', ['0', '1001']],
    ['POPBRIDGE_MESSAGE_BYTES_MAX', ['1023', '1073741825', '50M']],
    ['POPBRIDGE_RETENTION_DAYS', ['0', '3651', 'forever']],
    ['POPBRIDGE_SHUTDOWN_SECONDS', ['0', '3601']],
    ['POPBRIDGE_LOG_LEVEL', ['verbose', 'INFO']],
    ['POPBRIDGE_EGRESS_PROXY', ['proxy.internal:3128', 'socks5://proxy.internal', 'ftp://ann:pw@proxy']],
    ['POPBRIDGE_REDIS_MODE', ['failover', 'CLUSTER']],
    ['REDIS_URL', ['redis.internal:6379', 'http://redis.internal', 'redis://:p#ss@host:x', 'redis://host:99999']],
  ];

  it.each(wrong)('refuses a wrong %s, in one line that names it and does not repeat it', (name, values) => {
    for (const value of values) {
      const lines = refusal({ ...KEYS, [name]: value }).split('\n');
      expect([value, lines.length]).toEqual([value, 2]);
      expect(lines[1]).toMatch(new RegExp(`^  ${name} `));
      expect(lines[1]).not.toContain(value);
    }
  });

  it('names everything that is wrong at once', () => {
    const text = refusal({
      ...Object.fromEntries(wrong.map(([name, [value]]) => [name, value!])),
      POPBRIDGE_MASTER_KEY: 'one letter is missing',
      POPBRIDGE_: 'x',
    });
    for (const [name] of wrong) expect(text).toContain(`\n  ${name} `);
    expect(text).toContain('\n  POPBRIDGE_MASTER_KEY is no setting of popbridge');
    expect(text).toContain('\n  POPBRIDGE_MASTER_KEYS must be set with REDIS_URL');
  });

  it('repeats no value, even of a name that nobody knows', () => {
    const secret = 'hunter2 hunter2 hunter2';
    const names = [...Object.keys(settingsSchema.properties), 'POPBRIDGE_OPERATOR_KEYS'];
    expect(refusal(Object.fromEntries(names.map((name) => [name, secret])))).not.toContain('hunter2');
  });

  it('asks for both keys with a Redis that others use as well, and says how to make them', () => {
    const text = refusal({ REDIS_URL: 'redis://redis.internal' });
    expect(text).toMatch(/POPBRIDGE_OPERATOR_KEY must be set with REDIS_URL \(make one: openssl .+\)/);
    expect(text).toMatch(/POPBRIDGE_MASTER_KEYS must be set with REDIS_URL \(make one: .+openssl .+\)/);
    const { POPBRIDGE_OPERATOR_KEY } = KEYS;
    const withFile = { REDIS_URL: 'redis://redis.internal', POPBRIDGE_OPERATOR_KEY, POPBRIDGE_MASTER_KEYS_FILE: '/k' };
    expect(readConfig(withFile).masterKeysFile).toBe('/k');
    expect(readConfig({ REDIS_URL: 'redis://redis.internal', ...KEYS }).redis).toMatchObject({
      mode: 'single',
      urls: ['redis://redis.internal'],
    });
  });
});

describe('where Redis is', () => {
  const ONE = 'redis://redis.internal';
  const SENTINEL = { POPBRIDGE_REDIS_MODE: 'sentinel', POPBRIDGE_REDIS_SENTINEL_NAME: 'mail' };
  const contradictions: [Record<string, string>, RegExp][] = [
    [
      { REDIS_URL: `${ONE},${ONE}` },
      /REDIS_URL names several servers: set POPBRIDGE_REDIS_MODE to cluster or sentinel/,
    ],
    [
      { REDIS_URL: ONE, POPBRIDGE_REDIS_MODE: 'sentinel' },
      /POPBRIDGE_REDIS_SENTINEL_NAME must be set with POPBRIDGE_REDIS_MODE=sentinel/,
    ],
    [SENTINEL, /REDIS_URL must be set with POPBRIDGE_REDIS_MODE=sentinel/],
    [{ POPBRIDGE_REDIS_MODE: 'cluster' }, /REDIS_URL must be set with POPBRIDGE_REDIS_MODE=cluster/],
    [
      { REDIS_URL: `${ONE}/1`, POPBRIDGE_REDIS_MODE: 'cluster' },
      /REDIS_URL names a database, and a Redis Cluster has but/,
    ],
    [{ REDIS_URL: `${ONE}/mail` }, /REDIS_URL names a database that is no number/],
    [
      { REDIS_URL: `${ONE}?db=1`, POPBRIDGE_REDIS_MODE: 'cluster' },
      /REDIS_URL may have no more than scheme, user, password, host, port and database with cluster/,
    ],
    [
      { REDIS_URL: 'redis://:one@a,redis://:other@b', POPBRIDGE_REDIS_MODE: 'cluster' },
      /REDIS_URL must be alike in scheme, user, password and database/,
    ],
    [
      { ...SENTINEL, REDIS_URL: ONE, POPBRIDGE_REDIS_SENTINEL_USERNAME: 'asker' },
      /POPBRIDGE_REDIS_SENTINEL_USERNAME is set, and POPBRIDGE_REDIS_SENTINEL_PASSWORD is not/,
    ],
    [
      { REDIS_URL: ONE, POPBRIDGE_REDIS_SENTINEL_NAME: 'mail' },
      /POPBRIDGE_REDIS_SENTINEL_NAME is set, and POPBRIDGE_REDIS_MODE is not sentinel/,
    ],
    [
      { REDIS_URL: ONE, POPBRIDGE_REDIS_CA_FILE: '/ca' },
      /POPBRIDGE_REDIS_CA_FILE is set, and REDIS_URL is not rediss:/,
    ],
    [{ POPBRIDGE_REDIS_CA_FILE: '/ca' }, /POPBRIDGE_REDIS_CA_FILE is set, and REDIS_URL is not$/],
  ];

  it.each(contradictions)('refuses %j in one line that says what is wrong', (env, line) => {
    const [, ...lines] = refusal({ ...KEYS, ...env }).split('\n');
    expect(lines).toEqual([expect.stringMatching(line)]);
  });

  it('takes a comma in a password for what it is', () => {
    const url = 'redis://:pass,word@redis.internal';
    expect(readConfig({ ...KEYS, REDIS_URL: url }).redis?.urls).toEqual([url]);
  });

  it('takes nodes of a cluster, one or several', () => {
    const cluster = { ...KEYS, POPBRIDGE_REDIS_MODE: 'cluster' };
    for (const urls of [[ONE], [`${ONE}:7000`, 'redis://[::1]:7001']]) {
      expect(readConfig({ ...cluster, REDIS_URL: urls.join(',') }).redis).toMatchObject({ mode: 'cluster', urls });
    }
  });
});

it('master keys in a variable and in a file at once are refused', () => {
  expect(refusal({ ...KEYS, POPBRIDGE_MASTER_KEYS_FILE: '/k' })).toContain('are both set');
});

it('the schema of the settings is one by its meta-schema', () => {
  const ajv = new Ajv2020();
  expect([ajv.validateSchema(settingsSchema), ajv.errors]).toEqual([true, null]);
});

it('the README has the settings as the schema has them', async () => {
  const readme = await readFile(new URL('../../README.md', import.meta.url), 'utf8');
  const table = /<!-- settings -->\n([^]*?)\n<!-- \/settings -->/.exec(readme)?.[1]?.trim();
  expect(table).toBe(renderSettingsTable());
});
