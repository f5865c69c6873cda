/** A real S3 server for tests, s3rver, on a free port and in a temporary folder. Signatures are the one thing it overlooks. */
import { fork } from 'node:child_process';
import { once } from 'node:events';
import { mkdtemp, readdir, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';

/** s3rver knows this account alone. */
export const S3_ACCOUNT = { AWS_ACCESS_KEY_ID: 'S3RVER', AWS_SECRET_ACCESS_KEY: 'S3RVER' } as const;

export interface TestS3 {
  readonly url: string;
  readonly bucket: string;
  /** Names of the files that hold objects, and parts of objects. */
  list(): Promise<string[]>;
  /** Takes all objects away. */
  empty(): Promise<void>;
  /** Ends the server and removes its folder. Safe to call twice. */
  close(): Promise<void>;
}

const PROGRAM = fileURLToPath(new URL('s3-process.ts', import.meta.url));

export async function startS3(): Promise<TestS3> {
  const bucket = 'mail';
  const folder = await mkdtemp(join(tmpdir(), 'popbridge-test-'));
  const child = fork(PROGRAM, [folder, bucket], { execArgv: ['--no-warnings', '--openssl-legacy-provider'] });
  const exited = once(child, 'exit');
  const [port] = (await Promise.race([once(child, 'message'), exited])) as [number | null];
  if (port === null || child.exitCode !== null) throw new Error('s3rver has not started');
  return {
    url: `http://127.0.0.1:${port}`,
    bucket,
    async list() {
      const entries = await readdir(folder, { recursive: true, withFileTypes: true });
      const isContent = /\._S3rver_object$|^\d+$/;
      return entries.filter((entry) => entry.isFile() && isContent.test(entry.name)).map(({ name }) => name);
    },
    async empty() {
      for (const name of await readdir(join(folder, bucket)))
        await rm(join(folder, bucket, name), { recursive: true, force: true });
    },
    async close() {
      child.kill('SIGKILL');
      await exited;
      await rm(folder, { recursive: true, force: true });
    },
  };
}
