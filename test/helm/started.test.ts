/** What the chart has started, run here: the configuration of its Valkey by a real server, its test pod against the real service. */
import { execFile, spawn, type ChildProcess } from 'node:child_process';
import { once } from 'node:events';
import { mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { promisify } from 'node:util';
import { Redis } from 'ioredis';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { render, type Manifest } from '../support/helm.ts';
import { redisServerPath } from '../support/redis.ts';
import { eventually, OPERATOR_KEY, startService, type Service } from '../support/service.ts';
import { find, podOf } from './pods.ts';
import { VALUE_SETS } from './value-sets.ts';

const run = promisify(execFile);
let manifests: Manifest[];

beforeAll(async () => {
  manifests = await render(VALUE_SETS['Valkey as it is for trying out, with all that can be set'] ?? {});
});

describe('the chart’s Valkey', () => {
  let folder: string;
  let server: ChildProcess;
  let redis: Redis;

  beforeAll(async () => {
    folder = await mkdtemp(join(tmpdir(), 'popbridge-valkey-'));
    const { 'valkey.conf': text = '' } = find(manifests, 'ConfigMap', 'mail-popbridge-valkey')['data'] as Record<
      string,
      string
    >;
    await writeFile(join(folder, 'valkey.conf'), text);
    const args = podOf(manifests, 'valkey').spec?.containers[0]?.args ?? [];
    const here: Readonly<Record<string, string>> = {
      '/etc/valkey/valkey.conf': join(folder, 'valkey.conf'),
      '/data': folder,
      '6379': '0',
      '$(REDISCLI_AUTH)': 'try-out-password',
    };
    const socket = join(folder, 'socket');
    server = spawn(await redisServerPath(), [...args.map((arg) => here[arg] ?? arg), '--unixsocket', socket], {
      stdio: 'ignore',
    });
    redis = new Redis(socket, { password: 'try-out-password' });
    await eventually(
      () => redis.ping(),
      (answer) => answer === 'PONG',
    );
  });
  afterAll(async () => {
    redis.disconnect();
    server.kill();
    await once(server, 'exit');
    await rm(folder, { recursive: true, force: true });
  });

  it.each([
    ['appendonly', 'yes'],
    ['appendfsync', 'everysec'],
    ['maxmemory', String(1024 ** 3)],
    ['maxmemory-policy', 'noeviction'],
    ['save', ''],
    ['maxclients', '5000'],
    ['tcp-keepalive', '60'],
  ])('has %s %s', async (directive, value) => {
    expect(await redis.config('GET', directive)).toEqual([directive, value]);
  });

  it('wants the password', async () => {
    const stranger = new Redis(join(folder, 'socket'), { retryStrategy: () => null });
    await expect(stranger.get('x')).rejects.toThrow('NOAUTH');
    stranger.disconnect();
  });
});

describe('the test pod', () => {
  let service: Service;

  beforeAll(async () => {
    service = await startService();
  });
  afterAll(() => service.close());

  const test = (env: Record<string, string>): Promise<{ stdout: string }> => {
    const { command = [], args = [] } = podOf(manifests, 'test').spec?.containers[0] ?? {};
    const [program, ...flags] = command;
    expect(program).toBe('node');
    return run(process.execPath, [...flags, ...args], { env });
  };

  it('passes where the service is ready and takes the operator key', async () => {
    const { stdout } = await test({ API_URL: service.url, API_KEY: OPERATOR_KEY });
    expect(stdout.trim().split('\n')).toHaveLength(3);
  });

  it('fails where the key is another, and says so', async () => {
    await expect(test({ API_URL: service.url, API_KEY: 'another-key-of-16-characters' })).rejects.toThrow(
      'takes the operator key',
    );
  });

  it('fails where nothing listens', async () => {
    await expect(test({ API_URL: 'http://127.0.0.1:1', API_KEY: OPERATOR_KEY })).rejects.toThrow('fetch failed');
  });

  it('is given the address of the Service and the operator key', () => {
    const { env } = podOf(manifests, 'test').spec?.containers[0] ?? {};
    expect(env).toEqual([
      { name: 'API_URL', value: 'http://mail-popbridge.post.svc:80' },
      { name: 'API_KEY', valueFrom: { secretKeyRef: { name: 'mail-popbridge', key: 'operator-key' } } },
    ]);
  });
});
