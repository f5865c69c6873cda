import { mkdtemp, readdir, readFile, rm, stat, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { readConfig } from '../../src/config/config.ts';
import { keepMasterKeys, keepOperatorKey } from '../../src/config/keys.ts';
import { createSealer } from '../../src/mailbox/sealing.ts';

let root: string;
let dataDir: string;

beforeEach(async () => {
  root = await mkdtemp(join(tmpdir(), 'popbridge-test-'));
  dataDir = join(root, 'new', 'data');
});

afterEach(() => rm(root, { recursive: true, force: true }));

describe('keys of the embedded default', () => {
  it('are made once, and found again', async () => {
    for (const keep of [keepOperatorKey, keepMasterKeys]) {
      const made = await keep(dataDir);
      expect(made.isNew).toBe(true);
      expect(await keep(dataDir)).toEqual({ ...made, isNew: false });
      expect(await readFile(made.path, 'utf8')).toBe(`${made.value}\n`);
    }
  });

  it('are readable by their owner alone, in a folder that is', async () => {
    const { path } = await keepOperatorKey(dataDir);
    await keepMasterKeys(dataDir);
    expect((await stat(dataDir)).mode & 0o777).toBe(0o700);
    for (const name of await readdir(dataDir)) expect((await stat(join(dataDir, name))).mode & 0o777).toBe(0o600);
    expect(path).toBe(join(dataDir, 'operator-key'));
    expect((await readdir(dataDir)).sort()).toEqual(['master-keys', 'operator-key']);
  });

  it('would pass for settings', async () => {
    const [operator, master] = [await keepOperatorKey(dataDir), await keepMasterKeys(dataDir)];
    const env = { POPBRIDGE_OPERATOR_KEY: operator.value, POPBRIDGE_MASTER_KEYS: master.value };
    expect(readConfig(env)).toMatchObject({ operatorKey: operator.value, masterKeys: master.value });
    const sealer = createSealer(master.value);
    expect(sealer.open(sealer.seal('pw', []), [])).toBe('pw');
  });

  it('are others in another folder', async () => {
    const [one, two] = [await keepOperatorKey(dataDir), await keepOperatorKey(root)];
    expect(one.value).not.toBe(two.value);
    expect(one.value).toMatch(/^pbk_[0-9a-f]{48}$/);
  });

  it('are the same for all that start at the same moment, and made by one of them', async () => {
    const all = await Promise.all(Array.from({ length: 10 }, () => keepMasterKeys(dataDir)));
    expect(new Set(all.map(({ value }) => value)).size).toBe(1);
    expect(all.filter(({ isNew }) => isNew)).toHaveLength(1);
    expect(await readdir(dataDir)).toEqual(['master-keys']);
  });

  it('are refused, by the name of the file, where they can be neither read nor made', async () => {
    const file = join(root, 'file');
    await writeFile(file, '');
    await expect(keepOperatorKey(file)).rejects.toMatchObject({
      code: 'invalid_config',
      message: expect.stringContaining(join(file, 'operator-key')) as string,
    });
  });

  it('an empty file, as a full disk can leave one, is refused rather than taken for a key', async () => {
    await writeFile(join(root, 'master-keys'), '\n');
    await expect(keepMasterKeys(root)).rejects.toMatchObject({
      code: 'invalid_config',
      message: expect.stringContaining('is empty') as string,
    });
  });
});
