/**
 * The environment as one frozen Config. It is the only reader of environment variables, refuses to start on any bad
 * value, and names all of them at once. It opens no connection and makes no file: made keys are `keys.ts`.
 */
import { Ajv2020, type ErrorObject } from 'ajv/dist/2020.js';
import { resolve } from 'node:path';
import { AppError } from '../errors.ts';
import { toRedis, wrongRedis, type RedisSettings } from './redis-settings.ts';
import { settingsSchema, type Settings } from './settings.ts';

export type Role = 'all' | 'api' | 'worker';

/** Where mail is kept. */
export type BlobSettings =
  | { readonly kind: 'file' }
  | {
      readonly kind: 's3';
      readonly bucket: string;
      readonly prefix: string;
      readonly endpoint: string | undefined;
      readonly region: string;
      readonly pathStyle: boolean;
    }
  | { readonly kind: 'redis'; readonly bytesMax: number };

export interface Config {
  readonly role: Role;
  readonly host: string;
  readonly port: number;
  /** Undefined: metrics are not served. */
  readonly metricsPort: number | undefined;
  /** Without a slash at its end. */
  readonly publicUrl: string | undefined;
  readonly operatorKey: string | undefined;
  readonly masterKeys: string | undefined;
  /** Absolute. */
  readonly masterKeysFile: string | undefined;
  /** Absolute. */
  readonly dataDir: string;
  readonly blobs: BlobSettings;
  readonly egressAllow: string;
  /** A URL, with the login to the proxy. */
  readonly egressProxy: string | undefined;
  /** Undefined for the embedded Redis. */
  readonly redis: RedisSettings | undefined;
  /** How many replicas must have what is stored before it is deleted upstream. */
  readonly redisReplicas: number;
  /** A Redis that loses what it holds when it is restarted will do. */
  readonly allowsVolatileRedis: boolean;
  readonly redisServer: string | undefined;
  readonly fetchConcurrency: number;
  readonly webhookConcurrency: number;
  readonly webhookRetryDelaysMs: readonly number[];
  /** What is asked of one upstream host; `exceptions` as POPBRIDGE_HOST_LIMITS has them. */
  readonly hostLimits: { readonly connections: number; readonly loginsPerSecond: number; readonly exceptions: string };
  readonly messageBytesMax: number;
  readonly retentionMs: number;
  /** What a tenant may have; 0 is without bound. */
  /** Bounds of a tenant's event log. */
  readonly eventLog: { readonly ageMs: number; readonly bytes: number };
  readonly quota: { readonly messages: number; readonly bytes: number };
  readonly parse: {
    readonly headerFields: number;
    readonly headerBytes: number;
    readonly addresses: number;
    readonly parts: number;
    readonly partDepth: number;
    readonly textBytes: number;
    readonly timeLimitMs: number;
  };
  readonly shutdownMs: number;
  /** How long a part may give no sign of life. */
  readonly silenceMsMax: number;
  /** Without a slash at its end. Undefined: there are no traces. */
  readonly traceEndpoint: string | undefined;
  /** Of those that begin here, the share that is kept. */
  readonly traceRatio: number;
  readonly logLevel: Settings['POPBRIDGE_LOG_LEVEL'];
}

/** @throws AppError `invalid_config`, with one line per bad value; a value itself is never repeated, as it may be a secret. */
export function readConfig(env: Readonly<Record<string, string | undefined>>): Config {
  // An empty variable is an unset one: that is what `VAR= command` and an empty Kubernetes value mean.
  const given = Object.entries(env).filter(([name, value]) => name in settingsSchema.properties && value !== '');
  const settings: Record<string, unknown> = Object.fromEntries(given);
  // The tests hold the schema itself against its meta-schema: to do so at each start takes longer than all else here.
  const ajv = new Ajv2020({
    allErrors: true,
    coerceTypes: true,
    useDefaults: true,
    meta: false,
    validateSchema: false,
  });
  const validate = ajv.compile<Settings>(settingsSchema);
  const problems = validate(settings) ? [] : (validate.errors ?? []).map(explain);
  problems.push(
    ...unknownNames(env),
    ...missingKeys(settings),
    ...doubledKeys(settings),
    ...wrongRedis(settings),
    ...unreadableUrls(settings),
    ...wrongBlobStore(settings),
  );
  if (problems.length > 0) {
    throw new AppError('invalid_config', `The settings are wrong:\n${problems.map((line) => `  ${line}`).join('\n')}`);
  }
  return toConfig(settings as Settings);
}

function toConfig(settings: Settings): Config {
  return Object.freeze({
    role: settings.POPBRIDGE_ROLE,
    host: settings.POPBRIDGE_HOST,
    port: settings.POPBRIDGE_PORT,
    metricsPort: settings.POPBRIDGE_METRICS_PORT,
    publicUrl: settings.POPBRIDGE_PUBLIC_URL?.replace(/\/+$/, ''),
    operatorKey: settings.POPBRIDGE_OPERATOR_KEY,
    masterKeys: settings.POPBRIDGE_MASTER_KEYS,
    masterKeysFile: settings.POPBRIDGE_MASTER_KEYS_FILE && resolve(settings.POPBRIDGE_MASTER_KEYS_FILE),
    dataDir: resolve(settings.POPBRIDGE_DATA_DIR),
    blobs: Object.freeze(toBlobs(settings)),
    egressAllow: settings.POPBRIDGE_EGRESS_ALLOW,
    egressProxy: settings.POPBRIDGE_EGRESS_PROXY,
    redis: toRedis(settings),
    redisReplicas: settings.POPBRIDGE_REDIS_REPLICAS,
    allowsVolatileRedis: settings.POPBRIDGE_REDIS_ALLOW_VOLATILE === 'true',
    redisServer: settings.POPBRIDGE_REDIS_SERVER,
    fetchConcurrency: settings.POPBRIDGE_FETCH_CONCURRENCY,
    webhookConcurrency: settings.POPBRIDGE_WEBHOOK_CONCURRENCY,
    webhookRetryDelaysMs: settings.POPBRIDGE_WEBHOOK_RETRIES.split(',').map(toMs),
    hostLimits: {
      connections: settings.POPBRIDGE_HOST_CONNECTIONS,
      loginsPerSecond: settings.POPBRIDGE_HOST_LOGINS_PER_SECOND,
      exceptions: settings.POPBRIDGE_HOST_LIMITS,
    },
    messageBytesMax: settings.POPBRIDGE_MESSAGE_BYTES_MAX,
    retentionMs: settings.POPBRIDGE_RETENTION_DAYS * 24 * 60 * 60 * 1000,
    eventLog: {
      ageMs: settings.POPBRIDGE_EVENT_LOG_DAYS * 24 * 60 * 60 * 1000,
      bytes: settings.POPBRIDGE_EVENT_LOG_BYTES,
    },
    quota: { messages: settings.POPBRIDGE_QUOTA_MESSAGES, bytes: settings.POPBRIDGE_QUOTA_BYTES },
    parse: {
      headerFields: settings.POPBRIDGE_PARSE_HEADERS_MAX,
      headerBytes: settings.POPBRIDGE_PARSE_HEADER_BYTES_MAX,
      addresses: settings.POPBRIDGE_PARSE_ADDRESSES_MAX,
      parts: settings.POPBRIDGE_PARSE_PARTS_MAX,
      partDepth: settings.POPBRIDGE_PARSE_DEPTH_MAX,
      textBytes: settings.POPBRIDGE_PARSE_TEXT_BYTES_MAX,
      timeLimitMs: settings.POPBRIDGE_PARSE_SECONDS_MAX * 1000,
    },
    shutdownMs: settings.POPBRIDGE_SHUTDOWN_SECONDS * 1000,
    silenceMsMax: settings.POPBRIDGE_LIVENESS_SECONDS * 1000,
    traceEndpoint: settings.OTEL_EXPORTER_OTLP_ENDPOINT?.replace(/\/+$/, ''),
    traceRatio: settings.OTEL_TRACES_SAMPLER_ARG,
    logLevel: settings.POPBRIDGE_LOG_LEVEL,
  });
}

/** Of `90s`, `5m` or `2h`. */
function toMs(written: string): number {
  const unitMs = { s: 1_000, m: 60_000, h: 3_600_000 }[written.slice(-1)] ?? 0;
  return Number(written.slice(0, -1)) * unitMs;
}

function toBlobs(settings: Settings): BlobSettings {
  const endpoint = settings.POPBRIDGE_S3_ENDPOINT;
  switch (settings.POPBRIDGE_BLOB_STORE) {
    case 'file':
      return { kind: 'file' };
    case 's3':
      return {
        kind: 's3',
        bucket: settings.POPBRIDGE_S3_BUCKET ?? '',
        prefix: settings.POPBRIDGE_S3_PREFIX,
        endpoint,
        region: settings.POPBRIDGE_S3_REGION,
        pathStyle: (settings.POPBRIDGE_S3_PATH_STYLE ?? String(endpoint !== undefined)) === 'true',
      };
    case 'redis':
      return { kind: 'redis', bytesMax: settings.POPBRIDGE_REDIS_BLOBS_BYTES_MAX };
  }
}

function explain(error: ErrorObject): string {
  const name = error.instancePath.slice(1);
  const allowed: unknown = error.params['allowedValues'];
  return `${name} ${error.message ?? 'is wrong'}${Array.isArray(allowed) ? `: ${allowed.join(', ')}` : ''}`;
}

/** A misspelt setting would be ignored in silence. */
function unknownNames(env: Readonly<Record<string, string | undefined>>): string[] {
  return Object.keys(env)
    .filter((name) => name.startsWith('POPBRIDGE_') && !(name in settingsSchema.properties))
    .map((name) => `${name} is no setting of popbridge`);
}

/** Replicas on a shared Redis need the same keys, so none is made up there. */
function missingKeys(settings: Record<string, unknown>): string[] {
  if (settings['REDIS_URL'] === undefined) return [];
  return ['POPBRIDGE_OPERATOR_KEY', 'POPBRIDGE_MASTER_KEYS']
    .filter((name) => settings[name] === undefined && settings[`${name}_FILE`] === undefined)
    .map((name) => `${name} must be set with REDIS_URL (make one: ${RECIPES[name]})`);
}

/** Which of the two counts, nobody should have to know. */
function doubledKeys(settings: Record<string, unknown>): string[] {
  const isDoubled =
    settings['POPBRIDGE_MASTER_KEYS'] !== undefined && settings['POPBRIDGE_MASTER_KEYS_FILE'] !== undefined;
  return isDoubled ? ['POPBRIDGE_MASTER_KEYS and POPBRIDGE_MASTER_KEYS_FILE are both set: only one may be'] : [];
}

/** Beyond what the schema's patterns can say, so that nothing is refused twice. */
function unreadableUrls({
  POPBRIDGE_PUBLIC_URL: own,
  POPBRIDGE_S3_ENDPOINT: s3,
  OTEL_EXPORTER_OTLP_ENDPOINT: traces,
}: Record<string, unknown>): string[] {
  const problems: string[] = [];
  if (typeof own === 'string' && PUBLIC_URL.test(own) && !URL.canParse(own)) {
    problems.push('POPBRIDGE_PUBLIC_URL is not a valid URL');
  }
  if (typeof traces === 'string' && /^https?:/.test(traces) && !URL.canParse(traces)) {
    problems.push('OTEL_EXPORTER_OTLP_ENDPOINT is not a valid URL');
  }
  if (typeof s3 === 'string' && /^https?:/.test(s3)) {
    const url = URL.canParse(s3) ? new URL(s3) : null;
    if (!url) problems.push('POPBRIDGE_S3_ENDPOINT is not a valid URL');
    else if (url.username || url.password || url.search || url.hash) {
      problems.push(
        'POPBRIDGE_S3_ENDPOINT has more than scheme, host, port and path (credentials: AWS_ACCESS_KEY_ID, ...)',
      );
    }
  }
  return problems;
}

/** Mail that goes elsewhere than was meant is found out late. */
function wrongBlobStore({
  POPBRIDGE_BLOB_STORE: store,
  POPBRIDGE_S3_BUCKET: bucket,
}: Record<string, unknown>): string[] {
  if (store === 's3')
    return bucket === undefined ? ['POPBRIDGE_S3_BUCKET must be set with POPBRIDGE_BLOB_STORE=s3'] : [];
  const { pattern } = settingsSchema.properties.POPBRIDGE_S3_BUCKET;
  const isBucket = typeof bucket === 'string' && new RegExp(pattern).test(bucket);
  return isBucket ? ['POPBRIDGE_S3_BUCKET is set, and POPBRIDGE_BLOB_STORE is not s3'] : [];
}
const PUBLIC_URL = new RegExp(settingsSchema.properties.POPBRIDGE_PUBLIC_URL.pattern);

const RECIPES: Readonly<Record<string, string>> = {
  POPBRIDGE_OPERATOR_KEY: 'openssl rand -hex 24',
  POPBRIDGE_MASTER_KEYS: 'echo "k1:$(openssl rand -base64 32)"',
};
