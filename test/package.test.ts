/** The package as it is published: built, packed, and used from outside. */
import { execFile } from 'node:child_process';
import { mkdtemp, rm, symlink } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { promisify } from 'node:util';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { startSandboxPop3 } from '../src/sandbox/pop3-server.ts';

const ROOT = fileURLToPath(new URL('..', import.meta.url));
const run = promisify(execFile);

describe('the package', () => {
  let folder: string;
  /** Where it is installed, as `npm install` would, with this checkout's dependencies. */
  let installed: string;

  beforeAll(async () => {
    folder = await mkdtemp(join(tmpdir(), 'popbridge-package-'));
    installed = join(folder, 'node_modules', 'popbridge');
    await run('npm', ['run', 'build', '--silent'], { cwd: ROOT });
    const { stdout } = await run('npm', ['pack', '--silent', '--pack-destination', folder], { cwd: ROOT });
    await run('mkdir', ['-p', installed]);
    await run('tar', ['-xzf', join(folder, stdout.trim()), '--strip-components=1', '-C', installed]);
    await symlink(join(ROOT, 'node_modules'), join(installed, 'node_modules'));
  });
  afterAll(() => rm(folder, { recursive: true, force: true }));

  const node = (...args: string[]) => run(process.execPath, args, { cwd: folder });

  it('gives the POP3 client out as popbridge/pop3, and it fetches mail', async () => {
    const mails = [Buffer.from('Subject: from the package\r\n\r\nText\r\n')];
    const server = await startSandboxPop3({ user: 'u', password: 'p', mails });
    const script = `
      import { Pop3Client } from 'popbridge/pop3';
      const client = await Pop3Client.connect({ host: '127.0.0.1', port: ${server.port}, tls: 'none', username: 'u', password: 'p' });
      await client.login();
      for await (const chunk of await client.retrieve(1)) process.stdout.write(chunk);
      await client.quit();`;
    const { stdout } = await node('--input-type=module', '-e', script);
    await server.close();
    expect(stdout).toBe(mails[0]?.toString());
  });

  it('has types for it', async () => {
    const { stdout } = await run('ls', [join(installed, 'dist', 'pop3')]);
    expect(stdout).toContain('index.d.ts');
  });

  it('holds what it needs at run time and nothing of the tests or the demo', async () => {
    const { stdout } = await run('find', ['.', '-type', 'f', '-not', '-path', './node_modules/*'], { cwd: installed });
    expect(stdout).toContain('./openapi/openapi.yaml');
    expect(stdout).toContain('./dist/main.js');
    expect(stdout).toContain('./dist/mime/worker.js');
    expect(stdout).not.toMatch(/test|demo|\.ci/);
  });

  it('has a command that starts the service: a wrong setting is named and ends it', async () => {
    const wrong = run(process.execPath, [join(installed, 'dist', 'main.js')], {
      cwd: folder,
      env: { ...process.env, POPBRIDGE_PORT: 'many' },
    });
    await expect(wrong).rejects.toMatchObject({ code: 1, stderr: expect.stringContaining('POPBRIDGE_PORT') });
  });
});
