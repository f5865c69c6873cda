/**
 * Makes the programs that are measured, in a temporary folder: TypeScript without its types, as a package of popbridge holds
 * it (stripping them at each start would cost 0.1 s and 45 MB), and the C loop where a compiler is there.
 */

import { execFile } from 'node:child_process';
import { existsSync } from 'node:fs';
import { mkdir, readdir, readFile, writeFile } from 'node:fs/promises';
import { stripTypeScriptTypes } from 'node:module';
import { dirname, join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { promisify } from 'node:util';

const ROOT = fileURLToPath(new URL('../../..', import.meta.url));
const BENCH = 'test/bench/pop3';
const RELATIVE_IMPORT = /((?:from|import) '\.{1,2}\/[^']+)\.ts'/g;

export interface Programs {
  /** Path of a program by the name of its source. */
  script(name: string): string;
  /** Undefined without a C compiler. */
  readonly loop: { readonly path: string; readonly hasTls: boolean } | undefined;
}

export async function buildPrograms(folder: string): Promise<Programs> {
  await writeFile(join(folder, 'package.json'), '{"type":"module"}');
  const sources = ['src/errors.ts', `${BENCH}/job.ts`];
  for (const part of ['src/pop3', `${BENCH}/programs`]) {
    const names = await readdir(join(ROOT, part), { recursive: true });
    sources.push(...names.filter((name) => name.endsWith('.ts')).map((name) => join(part, name)));
  }
  for (const source of sources) {
    const target = join(folder, source.replace(/ts$/, 'js'));
    await mkdir(dirname(target), { recursive: true });
    const code = stripTypeScriptTypes(await readFile(join(ROOT, source), 'utf8'));
    await writeFile(target, code.replace(RELATIVE_IMPORT, "$1.js'"));
  }
  return { script: (name) => join(folder, BENCH, 'programs', `${name}.js`), loop: await compileLoop(folder) };
}

async function compileLoop(folder: string): Promise<Programs['loop']> {
  const path = join(folder, 'loop');
  const source = join(ROOT, BENCH, 'programs/loop.c');
  const compile = (...flags: string[]): Promise<boolean> =>
    promisify(execFile)('cc', ['-O2', '-o', path, source, ...flags]).then(
      () => true,
      () => false,
    );
  const hasTls = existsSync('/usr/include/openssl/ssl.h') && (await compile('-DWITH_TLS', '-lssl', '-lcrypto'));
  return hasTls || (await compile()) ? { path, hasTls } : undefined;
}
