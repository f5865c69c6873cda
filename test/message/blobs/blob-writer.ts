/**
 * A process that writes blobs, to be killed or starved: `node blob-writer.ts TASK FOLDER [RESERVE]`.
 *
 * - `loop` writes blobs for ever, and says `writing` in the middle of each
 * - `check` checks the store, and prints what was thrown
 * - `fill` writes one small blob, then a large one until it is refused, and prints what was thrown and what is left
 */
import { readdir, statfs } from 'node:fs/promises';
import { createFileBlobStore } from '../../../src/message/blobs/file-blob-store.ts';

const [task, folder = '', reserve] = process.argv.slice(2);
const store = createFileBlobStore(folder, reserve === undefined ? {} : { freeBytesMin: Number(reserve) });

/** Each line tells how many there are: a blob that was cut, or mixed from two, shows it. */
async function* lines(count: number): AsyncGenerator<Buffer> {
  const line = `${count}\n`.padStart(64);
  for (let written = 0; written < count; written += 500) {
    if (written === Math.floor(count / 1000) * 500) process.stdout.write('writing\n');
    yield Buffer.from(line.repeat(Math.min(500, count - written)));
  }
}

let freeBytesLeast = Infinity;
async function* zeros(bytes: number): AsyncGenerator<Buffer> {
  for (let written = 0; written < bytes; written += 65_536) {
    const { bavail, bsize } = await statfs(folder);
    freeBytesLeast = Math.min(freeBytesLeast, bavail * bsize);
    yield Buffer.alloc(65_536);
  }
}

async function describeFailure(work: Promise<void>): Promise<{ code?: string; message?: string }> {
  const { code, message } = (await work.catch((error: unknown) => error)) as { code?: string; message?: string };
  return { ...(code && { code }), ...(message && { message }) };
}

switch (task) {
  case 'check':
    process.stdout.write(JSON.stringify(await describeFailure(store.check())));
    break;
  case 'loop':
    for (let round = 0; ; round += 1) {
      await store.write({ tenant: 'default', id: `blb_${process.pid}_${round}` }, lines(2_000 + (round % 7) * 1_500));
    }
  case 'fill': {
    await store.write({ tenant: 'default', id: 'blb_small' }, zeros(65_536));
    const thrown = await describeFailure(store.write({ tenant: 'default', id: 'blb_large' }, zeros(40_000_000)));
    const left = await readdir(folder, { recursive: true, withFileTypes: true });
    const files = left.filter((entry) => entry.isFile()).map(({ name }) => name);
    process.stdout.write(JSON.stringify({ ...thrown, files, freeBytesLeast }));
    break;
  }
  default:
    throw new Error(`No such task: ${task}`);
}
