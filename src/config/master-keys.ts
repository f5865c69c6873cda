/** Where the master keys are: in a variable, in a file, or made by the embedded default. What they mean, `mailbox/sealing.ts` knows. */
import { open } from 'node:fs/promises';
import { text } from 'node:stream/consumers';
import { AppError, toError } from '../errors.ts';
import type { Config } from './config.ts';
import { keepMasterKeys } from './keys.ts';
import { masterKeysFileBytesMax } from './limits.ts';

export interface MasterKeys {
  /** `id:base64,id:base64`. */
  value: string;
  /** The variable or the path, for errors. */
  place: string;
  /** True for the start that made them. */
  isNew: boolean;
  /** What the operator should know; null where all is well. */
  warning: string | null;
}

/** @throws AppError `invalid_config`, which never repeats what the file holds. */
export async function readMasterKeys(
  config: Pick<Config, 'masterKeys' | 'masterKeysFile' | 'dataDir'>,
): Promise<MasterKeys> {
  const { masterKeys, masterKeysFile, dataDir } = config;
  if (masterKeys !== undefined) {
    return { value: masterKeys, place: 'POPBRIDGE_MASTER_KEYS', isNew: false, warning: null };
  }
  if (masterKeysFile !== undefined) return readFileOfKeys(masterKeysFile);
  const { value, path, isNew } = await keepMasterKeys(dataDir);
  return { value: joinEntries(value), place: path, isNew, warning: null };
}

async function readFileOfKeys(path: string): Promise<MasterKeys> {
  let content: string;
  let mode: number;
  try {
    await using file = await open(path, 'r');
    ({ mode } = await file.stat());
    content = await text(file.createReadStream({ end: masterKeysFileBytesMax, autoClose: false }));
  } catch (error) {
    throw new AppError('invalid_config', `POPBRIDGE_MASTER_KEYS_FILE cannot be read: ${toError(error).message}`, {
      cause: error,
    });
  }
  if (Buffer.byteLength(content) > masterKeysFileBytesMax) {
    throw new AppError('invalid_config', `POPBRIDGE_MASTER_KEYS_FILE (${path}) is no file of keys: it is too large.`);
  }
  const value = joinEntries(content);
  if (value === '') throw new AppError('invalid_config', `POPBRIDGE_MASTER_KEYS_FILE (${path}) holds no key.`);
  // Refusing it would refuse every secret that Kubernetes mounts with its default of 0644.
  const isOpen = (mode & 0o004) !== 0;
  const warning = isOpen
    ? `Every user of this machine may read the master keys in ${path}: chmod o-r, or "defaultMode: 0440" of a Kubernetes secret`
    : null;
  return { value, place: `POPBRIDGE_MASTER_KEYS_FILE (${path})`, isNew: false, warning };
}

/** Entries by line or comma; `#` begins a comment. */
function joinEntries(content: string): string {
  return content
    .split(/[\r\n]+/)
    .flatMap((line) => line.replace(/#.*/, '').split(','))
    .map((entry) => entry.trim())
    .filter((entry) => entry !== '')
    .join(',');
}
