/** The container image: built from the Dockerfile, and run as a cluster runs it, without rights and with nothing to write to. */
import { chmod } from 'node:fs/promises';
import { dirname } from 'node:path';
import { fileURLToPath } from 'node:url';
import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, it } from 'vitest';
import { startSandboxPop3, type SandboxPop3 } from '../../src/sandbox/pop3-server.ts';
import { importNodeImage, npmCacheVolume, openPodman, whyNoPodman, type Podman } from '../support/podman.ts';
import { startRedis, type TestRedis } from '../support/redis.ts';
import { eventually, readResponse, send, type ApiOptions } from '../support/service.ts';

const ROOT = fileURLToPath(new URL('../..', import.meta.url));
const KEY = 'image-operator-key-0123456789';
const IMAGE = 'localhost/popbridge';
const GRACE_SECONDS = 30;

interface Inspected {
  Config: { User: string; Entrypoint: string[]; Labels: Record<string, string> };
  Healthcheck: { Test: string[] };
}

const missing = whyNoPodman();
describe.skipIf(missing !== null)(`the image (skipped: ${missing})`, { timeout: 120_000 }, () => {
  let podman: Podman;
  let redis: TestRedis;
  let upstream: SandboxPop3;

  beforeAll(async () => {
    podman = await openPodman();
    await importNodeImage(podman, 'localhost/node');
    // Layers of the stage that is thrown away would be packed for nothing.
    const how = ['--format=docker', '--network=host', '--layers=false', ...(await npmCacheVolume())];
    const from = ['--build-arg', 'NODE_IMAGE=localhost/node', '--build-arg', 'VERSION=1.2.3'];
    await podman.podman('build', ...how, ...from, '--tag', IMAGE, ROOT);
  }, 600_000);
  afterAll(() => podman?.close());

  beforeEach(async () => {
    redis = await startRedis();
    await openSocket();
    const mails = [Buffer.from('Subject: from the image\r\n\r\nText\r\n')];
    upstream = await startSandboxPop3({ user: 'u', password: 'p', mails });
  });
  afterEach(async () => {
    await podman.podman('rm', '--all', '--force', '--time', '0');
    await upstream.close();
    await redis.close();
  });

  /** The container's user may use the socket. */
  async function openSocket(): Promise<void> {
    await chmod(dirname(redis.socketPath), 0o755);
    await chmod(redis.socketPath, 0o777);
  }

  const inspect = async (): Promise<Inspected> =>
    (JSON.parse(await podman.podman('image', 'inspect', IMAGE)) as Inspected[])[0]!;
  const inContainer = (...command: string[]): Promise<string> =>
    podman.podman(
      'run',
      '--rm',
      '--no-healthcheck',
      '--network=none',
      '--entrypoint',
      command[0]!,
      IMAGE,
      ...command.slice(1),
    );

  /** With what a cluster's strictest rules allow, and every shell of the base image replaced by one that fails. */
  async function start(env: Record<string, string> = {}): Promise<{ id: string; url: string }> {
    const settings = {
      REDIS_URL: 'redis://localhost?path=/redis/redis.sock',
      POPBRIDGE_HOST: '127.0.0.1',
      POPBRIDGE_PORT: '0',
      POPBRIDGE_OPERATOR_KEY: KEY,
      POPBRIDGE_MASTER_KEYS: `test:${Buffer.alloc(32, 7).toString('base64')}`,
      POPBRIDGE_EGRESS_ALLOW: '127.0.0.0/8:*',
      ...env,
    };
    const shells = ['/usr/bin/dash', '/usr/bin/bash'].flatMap((shell) => ['--volume', `/bin/false:${shell}:ro`]);
    const allowed = ['--read-only', '--read-only-tmpfs=false', '--cap-drop=ALL', '--security-opt=no-new-privileges'];
    const environment = Object.entries(settings).flatMap(([name, value]) => ['--env', `${name}=${value}`]);
    const socket = ['--volume', `${dirname(redis.socketPath)}:/redis`];
    const how = ['--detach', '--no-healthcheck', '--network=host', ...allowed, ...shells, ...socket];
    const id = (await podman.podman('run', ...how, ...environment, IMAGE)).trim();
    const logs = await eventually(
      () => podman.podman('logs', id),
      (text) => text.includes('"Ready"'),
      30_000,
    );
    return { id, url: /"url":"([^"]+)"/.exec(logs)![1]! };
  }
  const call = async (url: string, method: string, path: string, options: ApiOptions = {}) =>
    readResponse(await send(url, method, path, { key: KEY, ...options }));
  const fetchMail = (url: string) =>
    call(url, 'POST', '/v1/fetches', {
      headers: { prefer: 'wait=30' },
      body: {
        source: { host: upstream.host, port: upstream.port, tls: 'none', username: 'u', password: 'p' },
        delete: 'never',
      },
    });
  const exitCodeOf = async (id: string): Promise<number> => Number(await podman.podman('wait', id));

  it('runs as a user without rights, by no shell, and says what it is', async () => {
    const { Config: config, Healthcheck: check } = await inspect();
    expect(config.User).toBe('65532:65532');
    expect(config.Entrypoint).toEqual(['node', 'dist/main.js']);
    expect(check.Test[0]).toBe('CMD');
    expect(config.Labels).toMatchObject({
      'org.opencontainers.image.title': 'popbridge',
      'org.opencontainers.image.licenses': 'MIT',
      'org.opencontainers.image.version': '1.2.3',
      'io.popbridge.sbom': '/app/sbom.spdx.json',
    });
  });

  it('holds what is needed at run time, lists it in its SBOM, and nothing of the build, the tests or the sandbox', async () => {
    const files = await inContainer(
      'find',
      '/app',
      '-name',
      'package.json',
      '-path',
      '*/node_modules/*',
      '-prune',
      '-o',
      '-type',
      'f',
      '-not',
      '-path',
      '*/node_modules/*',
      '-print',
    );
    expect(files).toContain('/app/openapi/openapi.yaml');
    expect(files).not.toMatch(/\/(src|test)\/|demo|tsconfig/);
    const installed = (await inContainer('ls', '/app/node_modules')).split('\n');
    expect(installed).toContain('bullmq');
    expect(installed.filter((name) => /^(vitest|oxlint|typescript|node-linux-.*|s3rver)$/.test(name))).toEqual([]);
    const sbom = JSON.parse(await inContainer('cat', '/app/sbom.spdx.json')) as { packages: { name: string }[] };
    const listed = new Set(sbom.packages.map(({ name }) => name));
    const unlisted = installed.filter((name) => name && !name.startsWith('@') && !listed.has(name));
    expect(unlisted).toEqual([]);
    expect(listed).not.toContain('vitest');
  });

  it('fetches mail on a file system that is read-only, and ends by SIGTERM with 0 within its grace', async () => {
    const { id, url } = await start();
    expect((await call(url, 'GET', '/readyz')).status).toBe(200);
    const fetched = (await fetchMail(url)).asFetch();
    expect(fetched).toMatchObject({ state: 'succeeded', counts: { retrieved: 1 } });
    const page = (await call(url, 'GET', `/v1/fetches/${fetched.id}/messages`)).asPage();
    expect(page.items).toMatchObject([{ subject: 'from the image' }]);

    await podman.podman('stop', '--time', String(GRACE_SECONDS), id);
    // 137 would be: killed, as the grace was over.
    expect(await exitCodeOf(id)).toBe(0);
    expect(await podman.podman('logs', id)).toContain('"Stopped"');
  });

  it('has a health check that fails while the service is not ready', async () => {
    const { Healthcheck: healthcheck } = await inspect();
    const { id, url } = await start({ POPBRIDGE_PORT: '18110' });
    const check = () =>
      podman.podman('exec', id, ...healthcheck.Test.slice(1)).then(
        () => 'healthy',
        () => 'unhealthy',
      );
    expect(await check()).toBe('healthy');
    await redis.kill();
    await eventually(
      async () => (await call(url, 'GET', '/readyz')).status,
      (status) => status === 503,
    );
    expect(await check()).toBe('unhealthy');
    await redis.restart();
    await openSocket();
    await eventually(check, (health) => health === 'healthy', 30_000);
  });

  it('says what is wrong with its settings and ends with 1', async () => {
    const id = (
      await podman.podman(
        'run',
        '--detach',
        '--no-healthcheck',
        '--network=none',
        '--env',
        'POPBRIDGE_PORT=many',
        IMAGE,
      )
    ).trim();
    expect(await exitCodeOf(id)).toBe(1);
  });

  it('is the command line as well', async () => {
    const printed = await podman.podman('run', '--rm', '--no-healthcheck', '--network=none', IMAGE, 'keys', 'generate');
    expect(printed).toMatch(/^k[\d-]+:[A-Za-z0-9+/]{43}=\n$/);
  });
});
