/** popbridge's commands, as they are run beside a service. */
import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { text } from 'node:stream/consumers';
import { onTestFinished } from 'vitest';

/** Resolves with what a command has said by `--json`, beside its exit code and what it complained of. */
export async function runCommand(
  args: readonly string[],
  env: Readonly<Record<string, string | undefined>>,
): Promise<Record<string, unknown>> {
  const child = spawn(process.execPath, ['src/main.ts', ...args, '--json'], { env, stdio: ['ignore', 'pipe', 'pipe'] });
  onTestFinished(() => void child.kill('SIGKILL'));
  const [stdout, stderr, [code]] = await Promise.all([text(child.stdout), text(child.stderr), once(child, 'close')]);
  if (stdout === '') throw new Error(`${args.join(' ')} ended with ${String(code)}: ${stderr}`);
  return { code, stderr, ...(JSON.parse(stdout) as object) };
}
