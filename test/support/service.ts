/**
 * The real service as a child process, as `npm start` runs it: for tests of its HTTP API, its signals and its deaths.
 * Every response that `api` hands out has been held against the contract.
 */
import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { mkdtemp, rm } from 'node:fs/promises';
import { request, type IncomingHttpHeaders, type OutgoingHttpHeaders } from 'node:http';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { buffer } from 'node:stream/consumers';
import { setTimeout as delay } from 'node:timers/promises';
import { fileURLToPath } from 'node:url';
import type { components } from '../../src/contract.gen.ts';
import { createContractChecker } from './contract.ts';
import type { RedisGroup } from './redis-nodes.ts';
import type { TestRedis } from './redis.ts';

export type FetchBody = components['schemas']['Fetch'];
/** What a caller has to write: the generated type has everything that gets a default as given. */
export interface FetchRequestBody {
  readonly source: Defaulted<components['schemas']['SourceRequest'], 'tls'>;
  readonly delete?: components['schemas']['DeletePolicy'];
  readonly limits?: Partial<components['schemas']['FetchLimits']>;
  readonly retentionDays?: number;
  readonly webhook?: components['schemas']['WebhookRequest'];
}
type Defaulted<T, Name extends keyof T> = Omit<T, Name> & Partial<Pick<T, Name>>;
export type MessageBody = components['schemas']['Message'];
export type MessagePage = components['schemas']['MessagePage'];
export type Problem = components['schemas']['Problem'];

export interface ServiceOptions {
  /** Over what is set here; undefined takes a variable away. */
  readonly env?: Readonly<Record<string, string | undefined>>;
  /** The caller's, and not removed. A new one in the temporary folder, removed by `close`, unless given. */
  readonly dataDir?: string;
  /** Of the program: this checkout unless given. */
  readonly root?: string;
  /** Instead of the embedded Redis. */
  readonly redis?: Pick<TestRedis, 'socketPath'> | Pick<RedisGroup, 'env'>;
}

export interface ApiOptions {
  /** Sent as JSON; a string or a Buffer as it is. */
  readonly body?: unknown;
  readonly headers?: OutgoingHttpHeaders;
  /** The operator key unless given; null sends no Authorization. */
  readonly key?: string | null;
  /** True sends the body in chunks, without a Content-Length. */
  readonly chunked?: boolean;
}

export interface ApiResponse {
  readonly status: number;
  readonly headers: IncomingHttpHeaders;
  readonly bytes: Buffer;
  readonly text: string;
  /** Throws where the body is no JSON. */
  json(): unknown;
  /** The typed ones throw, with the answer, unless the status is 2xx, or of an error for `asProblem`. */
  asFetch(): FetchBody;
  asMessage(): MessageBody;
  asPage(): MessagePage;
  asProblem(): Problem;
}

export interface Exit {
  readonly code: number | null;
  readonly signal: NodeJS.Signals | null;
}

export type LogLine = Readonly<Record<string, unknown>> & { readonly level: string; readonly msg: string };

export interface Service {
  readonly url: string;
  readonly pid: number;
  readonly dataDir: string;
  /** For another one on the same data; undefined for the embedded Redis, which is in the data folder. */
  readonly redis: ServiceOptions['redis'];
  readonly operatorKey: string;
  /** The path is sent as it is given. A connection of its own for each request. */
  api(method: string, path: string, options?: ApiOptions): Promise<ApiResponse>;
  /** Submits a fetch with `Prefer: wait=30` and hands out its outcome. Throws unless it has ended by then. */
  fetchMail(request: FetchRequestBody): Promise<FetchBody>;
  /** All messages of a fetch, page by page. */
  listMessages(fetchId: string): Promise<MessageBody[]>;
  /** Sends the signal, SIGTERM unless given, and resolves when the process has ended. */
  kill(signal?: NodeJS.Signals): Promise<Exit>;
  readonly exited: Promise<Exit>;
  /** What it has logged so far. */
  logs(): LogLine[];
  /** The first log line of that message that is or will be there. Throws after ten seconds, with all output. */
  logged(msg: string): Promise<LogLine>;
  /** All that it has written so far. */
  output(): { readonly stdout: string; readonly stderr: string };
  /** Resolves when /readyz answers 200. Throws after ten seconds. */
  ready(): Promise<void>;
  /** Ends the process where it still runs, and removes the data folder where it is ours. */
  close(): Promise<void>;
}

export const OPERATOR_KEY = 'test-operator-key-0123456789';
const MASTER_KEYS = `test:${Buffer.alloc(32, 7).toString('base64')}`;
const LOG_TIMEOUT_MS = 10_000;
/** A machine that is busy with other tests takes its time to load the program. */
const START_TIMEOUT_MS = 60_000;
const CLOSE_TIMEOUT_MS = 3_000;
const ROOT = fileURLToPath(new URL('../..', import.meta.url));

/** Resolves when the service is ready. Throws, with all output, when it ends before. */
export async function startService(options: ServiceOptions = {}): Promise<Service> {
  const dataDir = options.dataDir ?? (await mkdtemp(join(tmpdir(), 'popbridge-service-')));
  const group = options.redis || options.dataDir ? null : await startWantedRedis();
  const redis = options.redis ?? group ?? undefined;
  const env = { ...serviceEnv(dataDir, redis), ...options.env };
  const operatorKey = env['POPBRIDGE_OPERATOR_KEY'] ?? OPERATOR_KEY;
  const child = spawn(process.execPath, ['src/main.ts'], {
    cwd: options.root ?? ROOT,
    env,
    stdio: ['ignore', 'pipe', 'pipe'],
  });
  const killChild = (): void => void child.kill('SIGKILL');
  process.once('exit', killChild);

  let stdout = '';
  let stderr = '';
  child.stdout.setEncoding('utf8').on('data', (text: string) => {
    stdout += text;
    child.emit('output');
  });
  child.stderr.setEncoding('utf8').on('data', (text: string) => {
    stderr += text;
  });
  child.setMaxListeners(0);
  const exited = once(child, 'close').then(([code, signal]: unknown[]): Exit => {
    process.off('exit', killChild);
    return { code: code as number | null, signal: signal as NodeJS.Signals | null };
  });

  function logs(): LogLine[] {
    const lines = stdout.slice(0, stdout.lastIndexOf('\n') + 1).split('\n');
    return lines.filter((line) => line.startsWith('{')).map((line) => JSON.parse(line) as LogLine);
  }
  async function waitForLog(msg: string, timeoutMs: number): Promise<LogLine> {
    const signal = AbortSignal.timeout(timeoutMs);
    for (;;) {
      const found = logs().find((line) => line.msg === msg);
      if (found) return found;
      const heard = once(child, 'output', { signal }).then(() => true);
      if (await Promise.race([heard, exited.then(() => false)]).catch(() => false)) continue;
      throw new Error(`The service did not log "${msg}". Its output:\n${stdout}${stderr}`);
    }
  }
  async function close(): Promise<void> {
    if (child.exitCode === null && child.signalCode === null) {
      child.kill('SIGTERM');
      const timer = setTimeout(killChild, CLOSE_TIMEOUT_MS);
      await exited;
      clearTimeout(timer);
    }
    await group?.close();
    // The embedded Redis of a killed service ends by itself, a moment later, and may still write meanwhile.
    if (!options.dataDir) await rm(dataDir, { recursive: true, force: true, maxRetries: 20, retryDelay: 100 });
  }

  let url: string;
  try {
    const ready = await waitForLog('Ready', START_TIMEOUT_MS);
    url = String(ready['url']);
  } catch (error) {
    await close();
    throw error;
  }

  const { checkResponse } = createContractChecker();
  async function api(method: string, path: string, given: ApiOptions = {}): Promise<ApiResponse> {
    const { status, headers, bytes } = await send(url, method, path, { key: operatorKey, ...given });
    checkResponse({ method, path, status, headers, bytes });
    return readResponse({ status, headers, bytes });
  }

  return {
    url,
    pid: child.pid!,
    dataDir,
    redis,
    operatorKey,
    api,
    async fetchMail(body) {
      const response = await api('POST', '/v1/fetches', { body, headers: { prefer: 'wait=30' } });
      if (response.status !== 200) throw new Error(`The fetch has not ended: ${response.status} ${response.text}`);
      return response.asFetch();
    },
    async listMessages(fetchId) {
      const all: MessageBody[] = [];
      for (let cursor = ''; ;) {
        const page = (await api('GET', `/v1/fetches/${fetchId}/messages?limit=100${cursor}`)).asPage();
        all.push(...page.items);
        if (page.nextCursor === null) return all;
        cursor = `&cursor=${page.nextCursor}`;
      }
    },
    kill(signal = 'SIGTERM') {
      child.kill(signal);
      return exited;
    },
    exited,
    logs,
    logged: (msg) => waitForLog(msg, LOG_TIMEOUT_MS),
    output: () => ({ stdout, stderr }),
    async ready() {
      const until = Date.now() + LOG_TIMEOUT_MS;
      while ((await api('GET', '/readyz')).status !== 200) {
        if (Date.now() > until) throw new Error('The service did not become ready again.');
        await delay(50);
      }
    },
    close,
  };
}

/** In place of the embedded Redis, for runs of tests on another kind: POPBRIDGE_TEST_REDIS is `cluster`, `sentinel` or `valkey`. */
async function startWantedRedis(): Promise<RedisGroup | null> {
  const kind = process.env['POPBRIDGE_TEST_REDIS'];
  if (kind === undefined) return null;
  const { startRedisKind } = await import('./redis-kinds.ts');
  return startRedisKind(kind);
}

/** Nothing of the caller's own settings gets through, but for the Redis binary that the global set-up has found. */
export function serviceEnv(dataDir: string, redis: ServiceOptions['redis']): Record<string, string | undefined> {
  const inherited = Object.entries(process.env).filter(
    ([name]) => name === 'POPBRIDGE_REDIS_SERVER' || !(name.startsWith('POPBRIDGE_') || name === 'REDIS_URL'),
  );
  return {
    ...Object.fromEntries(inherited),
    POPBRIDGE_DATA_DIR: dataDir,
    POPBRIDGE_PORT: '0',
    POPBRIDGE_OPERATOR_KEY: OPERATOR_KEY,
    POPBRIDGE_EGRESS_ALLOW: '127.0.0.0/8:*',
    // All servers of tests are on one host.
    POPBRIDGE_HOST_CONNECTIONS: '1000',
    POPBRIDGE_HOST_LOGINS_PER_SECOND: '1000',
    ...(redis && { ...redisEnv(redis), POPBRIDGE_MASTER_KEYS: MASTER_KEYS }),
  };
}

function redisEnv(redis: NonNullable<ServiceOptions['redis']>): Readonly<Record<string, string>> {
  return 'env' in redis ? redis.env : { REDIS_URL: `redis://localhost?path=${redis.socketPath}` };
}

interface RawResponse {
  readonly status: number;
  readonly headers: IncomingHttpHeaders;
  readonly bytes: Buffer;
}

export function readResponse({ status, headers, bytes }: RawResponse): ApiResponse {
  const text = bytes.toString();
  const json = (): unknown => JSON.parse(text);
  const jsonIf = (isRight: boolean): unknown => {
    if (!isRight) throw new Error(`Another answer was expected than ${status}: ${text.slice(0, 1000)}`);
    return json();
  };
  // What these say of the types has been checked against the contract.
  return {
    status,
    headers,
    bytes,
    text,
    json,
    asFetch: () => jsonIf(status < 300) as FetchBody,
    asMessage: () => jsonIf(status < 300) as MessageBody,
    asPage: () => jsonIf(status < 300) as MessagePage,
    asProblem: () => jsonIf(status >= 400) as Problem,
  };
}

/** One request over `node:http`, which sends the path and the method as they are. */
export async function send(url: string, method: string, path: string, options: ApiOptions): Promise<RawResponse> {
  const { body, key, chunked = false } = options;
  const bytes = body === undefined || typeof body === 'string' || Buffer.isBuffer(body) ? body : JSON.stringify(body);
  const { hostname, port } = new URL(url);
  const headers = {
    ...(key && { authorization: `Bearer ${key}` }),
    ...(bytes !== undefined && { 'content-type': 'application/json' }),
    ...(bytes !== undefined && !chunked && { 'content-length': Buffer.byteLength(bytes) }),
    ...options.headers,
  };
  const call = request({ hostname, port, method, path, headers, agent: false });
  const { promise, resolve, reject } = Promise.withResolvers<RawResponse>();
  call.on('response', (response) => {
    const { statusCode = 0, headers } = response;
    buffer(response).then((bytes) => resolve({ status: statusCode, headers, bytes }), reject);
  });
  // An answer may come before the body is through, and the connection be closed then: the answer counts.
  call.on('error', reject);
  if (chunked) call.flushHeaders();
  call.end(bytes);
  return promise;
}

/** Asks again and again until it is so. Throws after the time, with the last answer. */
export async function eventually<T>(
  ask: () => Promise<T>,
  isSo: (answer: T) => boolean,
  timeoutMs = 10_000,
): Promise<T> {
  const untilMs = performance.now() + timeoutMs;
  for (;;) {
    const answer = await ask();
    if (isSo(answer)) return answer;
    if (performance.now() > untilMs) throw new Error(`It never was so. Last: ${JSON.stringify(answer)}`);
    await delay(20);
  }
}
