/** What `popbridge recover` says of what it has done, and with what exit code it ends. */
import { expect, it } from 'vitest';
import { runProgram, type CliPorts } from '../../src/cli/program.ts';
import type { Reconciliation } from '../../src/message/reconciler.ts';

const DONE: Reconciliation = { blobs: 9, restored: 7, gone: 2, incomplete: 0, dataKeys: 1, failed: 0, error: null };

async function run(result: Reconciliation, ...args: string[]) {
  const printed: string[] = [];
  const asked: boolean[] = [];
  const recover: CliPorts['recover'] = async (isDryRun) => {
    asked.push(isDryRun);
    return result;
  };
  const print = (text: string): void => void printed.push(text);
  const code = await runProgram(['recover', ...args], { recover, print } as CliPorts);
  return { code, text: printed.join('\n'), asked };
}

it('says what was put back, and what would be where it only looks', async () => {
  const done = await run(DONE);
  expect(done).toMatchObject({ code: 0, asked: [false] });
  expect(done.text).toContain('Messages restored: 7.');
  expect(done.text).not.toContain('Nothing was done');
  const dry = await run(DONE, '--dry-run');
  expect(dry).toMatchObject({ code: 0, asked: [true] });
  expect(dry.text).toMatch(/^Nothing was done\. It would be:\n/);
});

it('ends with 2 where something could not be read, is not all there, or there are no blobs', async () => {
  const failed = await run({ ...DONE, failed: 3, error: new Error('a key is missing') });
  expect(failed).toMatchObject({ code: 2, text: expect.stringContaining('3. The first: a key is missing') as string });
  expect(await run({ ...DONE, incomplete: 1 })).toMatchObject({ code: 2 });
  const empty = await run({ ...DONE, blobs: 0, restored: 0 });
  expect(empty).toMatchObject({ code: 2, text: expect.stringContaining('POPBRIDGE_BLOB_STORE') as string });
});

it('gives the same as JSON, the error as its message', async () => {
  const { text } = await run({ ...DONE, failed: 1, error: new Error('a key is missing') }, '--json', '--dry-run');
  expect(JSON.parse(text)).toEqual({ ...DONE, failed: 1, error: 'a key is missing', isDryRun: true });
});
