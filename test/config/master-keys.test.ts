import { randomBytes } from 'node:crypto';
import { chmod, mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { masterKeysFileBytesMax } from '../../src/config/limits.ts';
import { readMasterKeys } from '../../src/config/master-keys.ts';
import { createSealer } from '../../src/mailbox/sealing.ts';

const [A, B, C] = ['a', 'b', 'c'].map((id) => `${id}:${randomBytes(32).toString('base64')}`) as [
  string,
  string,
  string,
];
let folder: string;
let path: string;

beforeEach(async () => {
  folder = await mkdtemp(join(tmpdir(), 'popbridge-test-'));
  path = join(folder, 'keys');
});
afterEach(() => rm(folder, { recursive: true, force: true }));

async function readFrom(content: string, mode = 0o600) {
  await writeFile(path, content);
  await chmod(path, mode);
  return readMasterKeys({ masterKeys: undefined, masterKeysFile: path, dataDir: folder });
}

describe('a file of master keys', () => {
  it('has an entry a line, or several with commas, comments and line ends of any kind', async () => {
    const { value } = await readFrom(`\uFEFF# made in May\r\n${B} # seals\r\n\r\n${A}, ${C},\n`);
    expect(value).toBe([B, A, C].join(','));
  });

  it('is named in errors, with the entry and without its value', async () => {
    const { value, place } = await readFrom(`${A}\nk2:tooShortToBeAKey\n`);
    expect(() => createSealer(value, place)).toThrow(`POPBRIDGE_MASTER_KEYS_FILE (${path}): entry 2 is not`);
    expect(() => createSealer(value, place)).not.toThrow('tooShortToBeAKey');
  });

  it.each([
    ['an empty file', '# nothing\n', 'holds no key'],
    ['one that is too large', '#'.repeat(masterKeysFileBytesMax + 1), 'too large'],
  ])('%s is refused', async (_what, content, why) => {
    await expect(readFrom(content)).rejects.toMatchObject({
      code: 'invalid_config',
      message: expect.stringContaining(why) as string,
    });
  });

  it.each(['nowhere', '.'])('is refused where it cannot be read: %s', async (name) => {
    const keys = readMasterKeys({ masterKeys: undefined, masterKeysFile: join(folder, name), dataDir: folder });
    await expect(keys).rejects.toMatchObject({
      code: 'invalid_config',
      message: expect.stringContaining('POPBRIDGE_MASTER_KEYS_FILE cannot be read') as string,
    });
  });

  it('is warned about where every user may read it, and not where its group may, as Kubernetes mounts secrets', async () => {
    expect((await readFrom(A, 0o644)).warning).toContain(path);
    expect((await readFrom(A, 0o440)).warning).toBeNull();
  });
});
