/** Keys that the embedded default makes for itself, once, in its data folder. */
import { randomBytes, randomUUID } from 'node:crypto';
import { access, link, mkdir, open, readFile, rm } from 'node:fs/promises';
import { join } from 'node:path';
import { AppError, toError } from '../errors.ts';

export interface MadeKey {
  value: string;
  /** True for the start that made it: the time to show it. */
  isNew: boolean;
  path: string;
}

export function keepOperatorKey(dataDir: string): Promise<MadeKey> {
  return keepKey(dataDir, 'operator-key', () => `pbk_${randomBytes(24).toString('hex')}`);
}

export function keepMasterKeys(dataDir: string): Promise<MadeKey> {
  return keepKey(dataDir, 'master-keys', () => `local:${randomBytes(32).toString('base64')}`);
}

/** Reads the key, or makes it with mode 600 and on disk before it is used: what is sealed must open after a crash. */
async function keepKey(dataDir: string, name: string, make: () => string): Promise<MadeKey> {
  const path = join(dataDir, name);
  try {
    await mkdir(dataDir, { recursive: true, mode: 0o700 });
    const isNew = !(await exists(path)) && (await makeKey(dataDir, path, make()));
    const value = (await readFile(path, 'utf8')).trim();
    if (value === '') throw new Error('it is empty; remove it to have another one made');
    return { value, isNew, path };
  } catch (error) {
    throw new AppError('invalid_config', `${path} can be neither read nor made: ${toError(error).message}`, {
      cause: error,
    });
  }
}

async function exists(path: string): Promise<boolean> {
  try {
    await access(path);
    return true;
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === 'ENOENT') return false;
    throw error;
  }
}

/**
 * Whole before it has its name, so that neither a crash nor a second process at the same moment finds half a key.
 *
 * @returns false where another process was first.
 */
async function makeKey(dataDir: string, path: string, value: string): Promise<boolean> {
  const draft = `${path}.${randomUUID()}`;
  try {
    await writeSynced(draft, `${value}\n`);
    await link(draft, path);
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === 'EEXIST') return false;
    throw error;
  } finally {
    await rm(draft, { force: true });
  }
  await syncFolder(dataDir);
  return true;
}

async function writeSynced(path: string, text: string): Promise<void> {
  const file = await open(path, 'wx', 0o600);
  try {
    await file.writeFile(text);
    await file.sync();
  } finally {
    await file.close();
  }
}

async function syncFolder(path: string): Promise<void> {
  const folder = await open(path, 'r');
  try {
    await folder.sync();
  } finally {
    await folder.close();
  }
}
