/** Other programs, run for their output: found on a PATH that is passed in, each call bounded in time and output. */
import { execFile } from 'node:child_process';
import { access, constants, stat } from 'node:fs/promises';
import { delimiter, join } from 'node:path';
import { promisify } from 'node:util';
import { binaryLimits } from './limits.ts';

/** The environment of the service, as the caller read it; passed on to children. */
export type Environment = Readonly<Record<string, string | undefined>>;

export interface ToolOptions {
  env: Environment;
  timeoutMs: number;
  cwd?: string;
}

const execute = promisify(execFile);

/** Absolute path of the first executable file called `name` on `env.PATH`. */
export async function findTool(name: string, env: Environment): Promise<string | undefined> {
  // An empty or relative entry means the working folder: nothing is run from there.
  const folders = (env['PATH'] ?? '').split(delimiter).filter((folder) => folder.startsWith('/'));
  for (const folder of folders) {
    const path = join(folder, name);
    if (await isExecutable(path)) return path;
  }
  return undefined;
}

async function isExecutable(path: string): Promise<boolean> {
  try {
    await access(path, constants.X_OK);
    return (await stat(path)).isFile();
  } catch {
    return false;
  }
}

/** The program's standard output. Throws an Error with the end of what it said where it fails, cannot be run or is too slow. */
export async function runTool(file: string, args: readonly string[], options: ToolOptions): Promise<string> {
  const { timeoutMs, ...rest } = options;
  try {
    const { stdout } = await execute(file, args, {
      ...rest,
      timeout: timeoutMs,
      killSignal: 'SIGKILL',
      maxBuffer: binaryLimits.toolOutputBytesMax,
    });
    return stdout;
  } catch (cause) {
    throw new Error(`${file}: ${explain(cause, timeoutMs)}`, { cause });
  }
}

function explain(cause: unknown, timeoutMs: number): string {
  const failure = cause as { code?: string | number | null; killed?: boolean; stderr?: string; message?: string };
  if (failure.code === 'ENOENT') return 'no such file';
  if (failure.code === 'EACCES') return 'not an executable file';
  if (failure.killed === true) return `took longer than ${timeoutMs / 1000} s`;
  const said = (failure.stderr ?? '').trim();
  const words = said === '' ? `exit code ${failure.code ?? 'unknown'}` : said;
  return words.slice(-binaryLimits.reasonCharsMax);
}
