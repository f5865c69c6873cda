/**
 * Who started the server that holds a folder: a record beside the AOF, written by the server's own start script while it
 * holds the folder's lock. The record says whom to name and whom to wait for; only the lock decides who may write.
 */
import { readFile, readlink } from 'node:fs/promises';
import { join } from 'node:path';

export interface FolderOwner {
  /** One embedded Redis of one process; the same for all servers that it starts. */
  id: string;
  /** The popbridge process, not the server's. */
  pid: number;
  /** Tells the process from a later one of the same pid. Empty where the system does not tell. */
  bornAt: string;
  /** Process ids mean something only within their namespace (one container). */
  pidNamespace: string;
  /** A record that was copied along with a folder says nothing of the copy. */
  folder: string;
  socketPath: string;
}

export type OwnerState = 'alive' | 'gone' | 'unknown';

export function ownerFile(folder: string): string {
  return join(folder, 'owner.json');
}

export async function describeSelf(id: string, folder: string, socketPath: string): Promise<FolderOwner> {
  const [bornAt, pidNamespace] = await Promise.all([readBirth(process.pid), readPidNamespace()]);
  return { id, pid: process.pid, bornAt: bornAt ?? '', pidNamespace, folder, socketPath };
}

/** The record of the server that holds the folder or was the last to hold it; undefined where there is none that can be read. */
export async function readOwner(folder: string): Promise<FolderOwner | undefined> {
  try {
    const value: unknown = JSON.parse(await readFile(ownerFile(folder), 'utf8'));
    return isFolderOwner(value) && value.folder === folder ? value : undefined;
  } catch {
    return undefined;
  }
}

/** Whether the popbridge of the record still runs. `unknown` for one in another container: its pid says nothing here. */
export async function judgeOwner(owner: FolderOwner): Promise<OwnerState> {
  if (owner.pidNamespace !== (await readPidNamespace())) return 'unknown';
  return (await readBirth(owner.pid)) === owner.bornAt ? 'alive' : 'gone';
}

/** When the process began, in clock ticks since boot; empty where there is no /proc; undefined where it has ended. */
async function readBirth(pid: number): Promise<string | undefined> {
  if (!isSignallable(pid)) return undefined;
  const stat = await readFile(`/proc/${pid}/stat`, 'utf8').catch(() => '');
  // proc(5): "pid (name) state ppid ...", starttime is field 22; the name may hold anything, even a closing bracket.
  const [state, ...fields] = stat.slice(stat.lastIndexOf(')') + 2).split(' ');
  return state === 'Z' ? undefined : (fields[18] ?? '');
}

function isSignallable(pid: number): boolean {
  try {
    return process.kill(pid, 0);
  } catch (thrown) {
    return (thrown as NodeJS.ErrnoException).code === 'EPERM';
  }
}

async function readPidNamespace(): Promise<string> {
  return await readlink('/proc/self/ns/pid').catch(() => '');
}

function isFolderOwner(value: unknown): value is FolderOwner {
  if (typeof value !== 'object' || value === null) return false;
  const { id, pid, bornAt, pidNamespace, folder, socketPath } = value as Record<string, unknown>;
  return (
    Number.isSafeInteger(pid) &&
    [id, bornAt, pidNamespace, folder, socketPath].every((text) => typeof text === 'string')
  );
}
