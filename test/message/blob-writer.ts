/**
 * A process that writes blobs, to be killed or starved: `node blob-writer.ts TASK FOLDER`.
 *
 * - `loop` replaces three blobs over and over, and says `writing` in the middle of each write
 * - `fill` writes until the disk is full, and prints what was thrown and what is left
 * - `large` streams 200 MB, and prints by how many bytes its memory grew at most
 */
import { readdir } from 'node:fs/promises';
import { createFileBlobStore } from '../../src/message/file-blob-store.ts';

const [task, folder = ''] = process.argv.slice(2);
const store = createFileBlobStore(folder);

/** Each line tells how many there are: a blob that was cut, or mixed from two, shows it. */
async function* lines(count: number): AsyncGenerator<Buffer> {
  const line = `${count}\n`.padStart(64);
  for (let written = 0; written < count; written += 500) {
    if (written === Math.floor(count / 1000) * 500) process.stdout.write('writing\n');
    yield Buffer.from(line.repeat(Math.min(500, count - written)));
  }
}

async function* zeros(bytes: number): AsyncGenerator<Buffer> {
  for (let written = 0; written < bytes; written += 65_536) yield Buffer.alloc(65_536);
}

switch (task) {
  case 'loop':
    for (let round = 0; ; round += 1) {
      const draft = await store.write('default', lines(2_000 + (round % 7) * 1_500));
      await draft.keep({ id: `msg_000${round % 3}`, kind: 'raw' });
    }
  case 'fill': {
    const kept = await store.write('default', zeros(65_536));
    await kept.keep({ id: 'msg_0000', kind: 'raw' });
    const thrown = await store.write('default', zeros(8_000_000)).catch((error: unknown) => error);
    const { code, message } = thrown as { code?: string; message?: string };
    const left = await readdir(folder, { recursive: true, withFileTypes: true });
    const files = left.filter((entry) => entry.isFile()).map(({ name }) => name);
    process.stdout.write(JSON.stringify({ code, message, files }));
    break;
  }
  case 'large': {
    const draft = await store.write('default', zeros(65_536));
    await draft.discard();
    const beforeKb = process.resourceUsage().maxRSS;
    const large = await store.write('default', zeros(200_000_000));
    await large.keep({ id: 'msg_0000', kind: 'raw' });
    const grownBytes = (process.resourceUsage().maxRSS - beforeKb) * 1024;
    process.stdout.write(JSON.stringify({ bytes: large.bytes, grownBytes }));
    break;
  }
  default:
    throw new Error(`No such task: ${task}`);
}
