/** The settings, as a schema: names, types, defaults and the texts of the README's table. */
import type { FromSchema } from 'json-schema-to-ts';

export const settingsSchema = {
  type: 'object',
  additionalProperties: true,
  required: [
    'POPBRIDGE_ROLE',
    'POPBRIDGE_HOST',
    'POPBRIDGE_PORT',
    'POPBRIDGE_DATA_DIR',
    'POPBRIDGE_BLOB_STORE',
    'POPBRIDGE_S3_PREFIX',
    'POPBRIDGE_S3_REGION',
    'POPBRIDGE_REDIS_BLOBS_BYTES_MAX',
    'POPBRIDGE_EGRESS_ALLOW',
    'POPBRIDGE_REDIS_ALLOW_VOLATILE',
    'POPBRIDGE_REDIS_MODE',
    'POPBRIDGE_REDIS_REPLICAS',
    'POPBRIDGE_FETCH_CONCURRENCY',
    'POPBRIDGE_WEBHOOK_CONCURRENCY',
    'POPBRIDGE_WEBHOOK_RETRIES',
    'POPBRIDGE_HOST_CONNECTIONS',
    'POPBRIDGE_HOST_LOGINS_PER_SECOND',
    'POPBRIDGE_HOST_LIMITS',
    'POPBRIDGE_MESSAGE_BYTES_MAX',
    'POPBRIDGE_RETENTION_DAYS',
    'POPBRIDGE_QUOTA_MESSAGES',
    'POPBRIDGE_QUOTA_BYTES',
    'POPBRIDGE_PARSE_HEADERS_MAX',
    'POPBRIDGE_PARSE_HEADER_BYTES_MAX',
    'POPBRIDGE_PARSE_ADDRESSES_MAX',
    'POPBRIDGE_PARSE_PARTS_MAX',
    'POPBRIDGE_PARSE_DEPTH_MAX',
    'POPBRIDGE_PARSE_TEXT_BYTES_MAX',
    'POPBRIDGE_PARSE_SECONDS_MAX',
    'POPBRIDGE_SHUTDOWN_SECONDS',
    'POPBRIDGE_LIVENESS_SECONDS',
    'OTEL_TRACES_SAMPLER_ARG',
    'POPBRIDGE_LOG_LEVEL',
  ],
  properties: {
    POPBRIDGE_ROLE: {
      type: 'string',
      enum: ['all', 'api', 'worker'],
      default: 'all',
      description: 'What this process does: `api` answers HTTP, `worker` fetches and delivers, `all` both.',
    },
    POPBRIDGE_HOST: {
      type: 'string',
      minLength: 1,
      default: '127.0.0.1',
      description: 'The address on which the API listens; `0.0.0.0` in a container.',
    },
    POPBRIDGE_PORT: {
      type: 'integer',
      minimum: 0,
      maximum: 65_535,
      default: 8110,
      description: 'The port on which the API listens; `0` takes any free one and prints it.',
    },
    POPBRIDGE_METRICS_PORT: {
      type: 'integer',
      minimum: 0,
      maximum: 65_535,
      description:
        'The port on which `/metrics` is served, without a key, on the same address; unset: none. `0` takes any free one and logs it.',
    },
    POPBRIDGE_PUBLIC_URL: {
      type: 'string',
      maxLength: 500,
      pattern: '^https?://[^\\s?#@\\\\]+$',
      description: 'Where the API is for the outside, as `https://mail.example.com`: what signed links begin with.',
    },
    POPBRIDGE_OPERATOR_KEY: {
      type: 'string',
      minLength: 16,
      maxLength: 512,
      pattern: '^[\\x21-\\x7e]+$',
      description:
        'The API key. Needed with `REDIS_URL`; with the embedded Redis one is made, kept in the data folder and printed once.',
    },
    POPBRIDGE_MASTER_KEYS: {
      type: 'string',
      minLength: 1,
      description:
        '`id:base64,id:base64`, 32 bytes each: the first seals credentials, all open them. Needed with `REDIS_URL`; with the embedded Redis one is made and kept in the data folder.',
    },
    POPBRIDGE_MASTER_KEYS_FILE: {
      type: 'string',
      minLength: 1,
      description:
        'A file with the same, an entry a line, `#` before comments; instead of `POPBRIDGE_MASTER_KEYS`. Read at the start.',
    },
    POPBRIDGE_DATA_DIR: {
      type: 'string',
      minLength: 1,
      default: './data',
      description: 'Embedded Redis, mail (blobs) and made keys.',
    },
    POPBRIDGE_BLOB_STORE: {
      type: 'string',
      enum: ['file', 's3', 'redis'],
      default: 'file',
      description: 'Where mail is kept: `file` in the data folder, `s3` in a bucket, `redis` in Redis itself.',
    },
    POPBRIDGE_S3_BUCKET: {
      type: 'string',
      pattern: '^[A-Za-z0-9][A-Za-z0-9._-]{1,253}[A-Za-z0-9]$',
      description: 'The bucket. Needed with `s3`.',
    },
    POPBRIDGE_S3_PREFIX: {
      type: 'string',
      pattern: '^[A-Za-z0-9_-][A-Za-z0-9._-]*(/[A-Za-z0-9_-][A-Za-z0-9._-]*)*$',
      maxLength: 512,
      default: 'popbridge',
      description: 'What every key in the bucket begins with, without slashes at its ends.',
    },
    POPBRIDGE_S3_ENDPOINT: {
      type: 'string',
      pattern: '^https?://',
      description: "The URL of an S3 server that is not Amazon's.",
    },
    POPBRIDGE_S3_REGION: {
      type: 'string',
      pattern: '^[A-Za-z0-9-]{1,64}$',
      default: 'us-east-1',
      description: 'The region of the bucket.',
    },
    POPBRIDGE_S3_PATH_STYLE: {
      type: 'string',
      enum: ['true', 'false'],
      description:
        'Whether the bucket is named in the path rather than in the host; unset: where `POPBRIDGE_S3_ENDPOINT` is set.',
    },
    POPBRIDGE_REDIS_BLOBS_BYTES_MAX: {
      type: 'integer',
      minimum: 16_777_216,
      maximum: 68_719_476_736,
      default: 268_435_456,
      description: 'What all mail together may take up in Redis, in bytes, with `redis`; no more is fetched beyond it.',
    },
    POPBRIDGE_EGRESS_ALLOW: {
      type: 'string',
      default: '',
      description:
        'Hosts and CIDRs that may be connected to beside public addresses, and on what ports: `127.0.0.0/8:*,mail.internal:110`.',
    },
    POPBRIDGE_EGRESS_PROXY: {
      type: 'string',
      pattern: '^https?://',
      description:
        'An HTTP proxy through which webhooks are sent, and access tokens and autoconfig documents asked for: `http://user:password@proxy.internal:3128`, or `https://`. POP3 does not go through it.',
    },
    REDIS_URL: {
      type: 'string',
      pattern: '^rediss?://',
      description:
        '`redis://` or `rediss://`, or several of them with commas between; unset: the embedded Redis. See [Redis](#redis).',
    },
    POPBRIDGE_REDIS_MODE: {
      type: 'string',
      enum: ['single', 'cluster', 'sentinel'],
      default: 'single',
      description: 'What `REDIS_URL` names: one server, nodes of a Redis Cluster, or sentinels.',
    },
    POPBRIDGE_REDIS_SENTINEL_NAME: {
      type: 'string',
      minLength: 1,
      maxLength: 200,
      description: 'What the sentinels call the master, as `mymaster`. Needed with `sentinel`.',
    },
    POPBRIDGE_REDIS_SENTINEL_USERNAME: {
      type: 'string',
      minLength: 1,
      maxLength: 200,
      description: 'The user at the sentinels. Name and password in `REDIS_URL` are for the servers that they lead to.',
    },
    POPBRIDGE_REDIS_SENTINEL_PASSWORD: {
      type: 'string',
      minLength: 1,
      maxLength: 512,
      description: 'The password at the sentinels.',
    },
    POPBRIDGE_REDIS_CA_FILE: {
      type: 'string',
      minLength: 1,
      description:
        'PEM certificates of who has signed those of Redis, for `rediss://`; unset: the authorities that Node.js trusts.',
    },
    POPBRIDGE_REDIS_ALLOW_VOLATILE: {
      type: 'string',
      enum: ['true', 'false'],
      default: 'false',
      description:
        'Whether a Redis without an append-only file will do, which loses what it holds when it is restarted.',
    },
    POPBRIDGE_REDIS_REPLICAS: {
      type: 'integer',
      minimum: 0,
      maximum: 100,
      default: 0,
      description:
        'How many replicas of Redis must have a message before it is deleted upstream; all that are connected, where these are more.',
    },
    POPBRIDGE_REDIS_SERVER: {
      type: 'string',
      minLength: 1,
      description:
        'The `redis-server` or `valkey-server` for the embedded Redis; unset: from PATH, else from the data folder, where on Debian and Ubuntu it is unpacked from their packages.',
    },
    POPBRIDGE_FETCH_CONCURRENCY: {
      type: 'integer',
      minimum: 1,
      maximum: 1000,
      default: 20,
      description: 'How many fetches a worker runs at once.',
    },
    POPBRIDGE_WEBHOOK_CONCURRENCY: {
      type: 'integer',
      minimum: 1,
      maximum: 1000,
      default: 20,
      description: 'How many webhooks a worker sends at once; and as many again to endpoints that are slow or fail.',
    },
    POPBRIDGE_WEBHOOK_RETRIES: {
      type: 'string',
      pattern: '^[0-9]{1,5}[smh](,[0-9]{1,5}[smh]){0,29}$',
      default: '5s,5m,30m,2h,5h,10h,14h,20h,24h',
      description:
        'The pauses between the attempts of a delivery, a fifth longer or shorter each; after the last one it has failed.',
    },
    POPBRIDGE_HOST_CONNECTIONS: {
      type: 'integer',
      minimum: 1,
      maximum: 1000,
      default: 10,
      description: 'How many connections all workers together have to one mail server at once.',
    },
    POPBRIDGE_HOST_LOGINS_PER_SECOND: {
      type: 'integer',
      minimum: 1,
      maximum: 1000,
      default: 5,
      description: 'How many times a second all workers together log in to one mail server.',
    },
    POPBRIDGE_HOST_LIMITS: {
      type: 'string',
      default: '',
      description:
        'Other limits for some hosts, `host=connections/logins per second`: `pop.example.com=20/10,mail.internal=2/1`.',
    },
    POPBRIDGE_MESSAGE_BYTES_MAX: {
      type: 'integer',
      minimum: 1024,
      maximum: 1_073_741_824,
      default: 52_428_800,
      description: 'The largest message that is retrieved, in bytes; a fetch may ask for less.',
    },
    POPBRIDGE_RETENTION_DAYS: {
      type: 'integer',
      minimum: 1,
      maximum: 3650,
      default: 7,
      description: 'How long fetches and messages are kept; a fetch may ask for another time.',
    },
    POPBRIDGE_QUOTA_MESSAGES: {
      type: 'integer',
      minimum: 0,
      maximum: 1_000_000_000,
      default: 0,
      description: 'How many messages a tenant may have at once; `0` is as many as there is room for.',
    },
    POPBRIDGE_QUOTA_BYTES: {
      type: 'integer',
      minimum: 0,
      maximum: 1_000_000_000_000_000,
      default: 0,
      description: 'How many bytes of mail a tenant may have at once; `0` is as many as there is room for.',
    },
    POPBRIDGE_EVENT_LOG_DAYS: {
      type: 'integer',
      minimum: 1,
      maximum: 365,
      default: 7,
      description: 'How long an event can be read from the log.',
    },
    POPBRIDGE_EVENT_LOG_BYTES: {
      type: 'integer',
      minimum: 65_536,
      maximum: 10_000_000_000,
      default: 67_108_864,
      description: "How many bytes of Redis's memory the log of a tenant takes; the oldest events go first.",
    },
    POPBRIDGE_PARSE_HEADERS_MAX: {
      type: 'integer',
      minimum: 10,
      maximum: 100_000,
      default: 1000,
      description: 'How many header fields of a message are listed.',
    },
    POPBRIDGE_PARSE_HEADER_BYTES_MAX: {
      type: 'integer',
      minimum: 1024,
      maximum: 1_048_576,
      default: 262_144,
      description: 'How many bytes of its header section are read for that.',
    },
    POPBRIDGE_PARSE_ADDRESSES_MAX: {
      type: 'integer',
      minimum: 1,
      maximum: 100_000,
      default: 1000,
      description: 'How many addresses of one kind (To, Cc, ...) are listed.',
    },
    POPBRIDGE_PARSE_PARTS_MAX: {
      type: 'integer',
      minimum: 1,
      maximum: 100_000,
      default: 1000,
      description: 'How many parts of a message are read.',
    },
    POPBRIDGE_PARSE_DEPTH_MAX: {
      type: 'integer',
      minimum: 1,
      maximum: 1000,
      default: 64,
      description: 'How deep parts may nest.',
    },
    POPBRIDGE_PARSE_TEXT_BYTES_MAX: {
      type: 'integer',
      minimum: 1024,
      maximum: 67_108_864,
      default: 4_194_304,
      description: 'How many bytes of its text parts are decoded; one takes up to 32 bytes of memory.',
    },
    POPBRIDGE_PARSE_SECONDS_MAX: {
      type: 'integer',
      minimum: 1,
      maximum: 600,
      default: 30,
      description:
        'How long a message may keep a parser thread; of one that takes longer only the header section is read.',
    },
    POPBRIDGE_SHUTDOWN_SECONDS: {
      type: 'integer',
      minimum: 1,
      maximum: 3600,
      default: 25,
      description:
        'How long SIGTERM waits for work in progress; what is not done by then is taken up by another worker.',
    },
    POPBRIDGE_LIVENESS_SECONDS: {
      type: 'integer',
      minimum: 15,
      maximum: 3600,
      default: 60,
      description:
        'How long a part of a worker may give no sign of life, while Redis answers, until `/livez` says that the process is to be started anew.',
    },
    OTEL_EXPORTER_OTLP_ENDPOINT: {
      type: 'string',
      pattern: '^https?://',
      description:
        'Where traces are sent by OTLP over HTTP, such as `http://collector:4318`; unset: there are none. `OTEL_EXPORTER_OTLP_HEADERS`, `OTEL_SERVICE_NAME` and `OTEL_RESOURCE_ATTRIBUTES` count too.',
    },
    OTEL_TRACES_SAMPLER_ARG: {
      type: 'number',
      minimum: 0,
      maximum: 1,
      default: 1,
      description:
        'The share of the traces that begin here which is kept, such as `0.01`; of those that a caller has begun, the caller says.',
    },
    POPBRIDGE_LOG_LEVEL: {
      type: 'string',
      enum: ['fatal', 'error', 'warn', 'info', 'debug', 'trace', 'silent'],
      default: 'info',
      description: 'How much is logged, as JSON lines on standard output.',
    },
  },
} as const;

export type Settings = FromSchema<typeof settingsSchema>;
