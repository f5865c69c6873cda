/** A worker alone, as a child process: what the trials kill by the hundred, beside an API that lives on. */
import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { fileURLToPath } from 'node:url';
import { serviceEnv, type ServiceOptions } from '../support/service.ts';

export interface Worker {
  readonly pid: number;
  /** Resolves when it takes up work. Rejects, with what it has said, where it ends before. */
  readonly ready: Promise<void>;
  /** Sends the signal and resolves when it has ended. */
  kill(signal: 'SIGKILL' | 'SIGTERM'): Promise<void>;
}

export interface WorkerOptions {
  readonly redis: NonNullable<ServiceOptions['redis']>;
  readonly dataDir: string;
}

const ROOT = fileURLToPath(new URL('../..', import.meta.url));
const LEAN = new URL('lean-worker.ts', import.meta.url).href;

export function startWorker({ redis, dataDir }: WorkerOptions): Worker {
  const child = spawn(process.execPath, ['--import', LEAN, 'src/main.ts'], {
    cwd: ROOT,
    env: { ...serviceEnv(dataDir, redis), POPBRIDGE_ROLE: 'worker' },
    stdio: ['ignore', 'pipe', 'pipe'],
  });
  const killChild = (): void => void child.kill('SIGKILL');
  process.once('exit', killChild);
  let said = '';
  const isReady = Promise.withResolvers<void>();
  for (const output of [child.stdout, child.stderr]) {
    output.setEncoding('utf8').on('data', (text: string) => {
      said = (said + text).slice(-10_000);
      if (said.includes('"msg":"Ready"')) isReady.resolve();
    });
  }
  const ended = once(child, 'close').then(() => {
    process.off('exit', killChild);
    isReady.reject(new Error(`The worker has ended:\n${said}`));
  });
  isReady.promise.catch(() => undefined); // It may be killed before anybody asks.
  return {
    pid: child.pid!,
    ready: isReady.promise,
    async kill(signal) {
      child.kill(signal);
      await ended;
    },
  };
}
