/** A file system of its own, in memory, that can be filled up: for what really has no room. Only root can mount one. */
import { execFileSync } from 'node:child_process';
import { mkdtempSync, readdirSync, rmdirSync } from 'node:fs';
import { rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';

export interface SmallDisk {
  readonly folder: string;
  /** Leaves no byte. */
  fill(): Promise<void>;
  /** Leaves bytes, but no file may be made any more. */
  fillWithFiles(): Promise<void>;
  /** Takes away what filled it. */
  free(): Promise<void>;
  close(): void;
}

/** @throws where the system does not let this process mount. */
export function mountSmallDisk(mib: number): SmallDisk {
  const folder = mkdtempSync(join(tmpdir(), 'popbridge-disk-'));
  try {
    execFileSync('mount', ['-t', 'tmpfs', '-o', `size=${mib}m,nr_inodes=2000`, 'tmpfs', folder], { stdio: 'pipe' });
  } catch (error) {
    rmdirSync(folder);
    throw error;
  }
  const fillers = join(folder, 'filler');

  async function fillUp(bytes: number): Promise<void> {
    const chunk = Buffer.alloc(bytes);
    for (let at = 0; ; at += 1) {
      try {
        await writeFile(`${fillers}-${bytes}-${at}`, chunk);
      } catch (error) {
        if (error instanceof Error && 'code' in error && error.code === 'ENOSPC') return;
        throw error;
      }
    }
  }

  return {
    folder,
    // What is left by large files is filled by small ones.
    fill: async () => {
      await fillUp(1024 * 1024);
      await fillUp(4096);
    },
    fillWithFiles: () => fillUp(0),
    async free() {
      for (const name of readdirSync(folder)) if (name.startsWith('filler')) await rm(join(folder, name));
    },
    close() {
      execFileSync('umount', [folder]);
      rmdirSync(folder);
    },
  };
}

/** Why there is none here; null where there is. */
export function whyNoSmallDisk(): string | null {
  try {
    mountSmallDisk(1).close();
    return null;
  } catch (error) {
    return String(error).split('\n').at(-1) ?? '';
  }
}
