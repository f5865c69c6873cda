/** The house rules of imports, read from the sources: README's code map in a form that fails. */
import { readdirSync, readFileSync } from 'node:fs';
import { dirname, join, normalize, relative } from 'node:path';
import { fileURLToPath } from 'node:url';
import ts from 'typescript';
import { describe, expect, it } from 'vitest';

const SRC = fileURLToPath(new URL('../src', import.meta.url));

/** Folder (or file at the top of src) to what it may import beside itself. */
const MAY_IMPORT: Record<string, readonly string[]> = {
  'main.ts': ['thread-pool.ts', 'app.ts', 'commands.ts', 'config', 'errors.ts', 'telemetry'],
  'thread-pool.ts': [],
  'app.ts': ['*'],
  // Of the composition root, and imported by it alone.
  'parts.ts': ['*'],
  'measures.ts': ['*'],
  'api.ts': ['*'],
  'workers.ts': ['*'],
  // The composition root of what is run from a terminal beside the service.
  'commands.ts': ['*'],
  'errors.ts': [],
  'identity.ts': [],
  'until-aborted.ts': [],
  'trace.ts': [],
  'contract.gen.ts': [],
  config: ['errors.ts'],
  pop3: ['errors.ts'],
  mime: ['errors.ts'],
  egress: ['errors.ts', 'until-aborted.ts'],
  telemetry: ['errors.ts', 'trace.ts'],
  redis: ['errors.ts'],
  access: ['errors.ts', 'redis'],
  mailbox: ['errors.ts', 'identity.ts', 'until-aborted.ts', 'redis'],
  autoconfig: ['errors.ts', 'identity.ts', 'until-aborted.ts', 'mailbox', 'egress'],
  message: ['errors.ts', 'identity.ts', 'redis', 'mime'],
  fetch: ['errors.ts', 'trace.ts', 'identity.ts', 'redis', 'pop3', 'mime', 'mailbox', 'message'],
  event: ['errors.ts', 'trace.ts', 'identity.ts', 'redis', 'message', 'contract.gen.ts'],
  webhook: ['errors.ts', 'trace.ts', 'identity.ts', 'until-aborted.ts', 'redis', 'event', 'egress'],
  http: [
    'errors.ts',
    'trace.ts',
    'contract.gen.ts',
    'access',
    'autoconfig',
    'mailbox',
    'fetch',
    'message',
    'webhook',
    'event',
  ],
  cli: ['errors.ts', 'redis', 'mailbox', 'message', 'webhook'],
  // The demo alone goes outside: see below.
  sandbox: ['contract.gen.ts', 'redis'],
};

/** Files within a folder that are held to more than their folder is. */
const STRICTER: readonly { files: RegExp; mayNotImport: RegExp; why: string }[] = [
  {
    files: /^pop3\/(?!transport\.ts|transport\/|connection\.ts)/,
    mayNotImport: /^node:(net|tls|dns)/,
    why: 'wire and session are pure; only the transport knows sockets',
  },
  {
    files: /^(?!fetch\/(queue|mailbox-queues|worker)\.ts|redis\/watched-worker\.ts)/,
    mayNotImport: /^bullmq$/,
    why: 'run logic knows no queue',
  },
  {
    files: /^(?!telemetry\/)/,
    mayNotImport: /^(prom-client|@opentelemetry)/,
    why: 'parts are given what measures them',
  },
  {
    files: /^(pop3|mime|egress|identity|errors)/,
    mayNotImport: /^(ioredis|bullmq|hono|pino)/,
    why: 'they stand alone',
  },
  {
    files: /^(?!http\/|event\/payload\.ts|sandbox\/demo\.ts)/,
    mayNotImport: /contract\.gen\.ts$/,
    why: 'contract types stay at the border',
  },
  { files: /^sandbox\/(?!demo\.ts)/, mayNotImport: /^(?!sandbox\/|node:)/, why: 'the sandbox imports nothing of ours' },
  {
    files: /^(?!config\/|main\.ts|(app|parts|api|workers|commands)\.ts)/,
    mayNotImport: /^config\//,
    why: 'settings are passed in',
  },
];

interface Import {
  from: string;
  /** A path below src, or a package. */
  to: string;
}

const files = readdirSync(SRC, { recursive: true, encoding: 'utf8' })
  .filter((file) => file.endsWith('.ts'))
  .map((file) => normalize(file));

const imports: Import[] = files.flatMap((file) => {
  const path = join(SRC, file);
  return ts.preProcessFile(readFileSync(path, 'utf8'), true, true).importedFiles.map(({ fileName }) => ({
    from: file,
    to: fileName.startsWith('.') ? relative(SRC, join(dirname(path), fileName)) : fileName,
  }));
});

const folderOf = (file: string): string => file.split('/')[0] ?? file;
const isOurs = ({ to }: Import): boolean => files.includes(to);

describe('the house', () => {
  it('has a rule for each of its folders, and no rule for one that is not there', () => {
    expect(Object.keys(MAY_IMPORT).toSorted()).toEqual([...new Set(files.map(folderOf))].toSorted());
  });

  it('lets each folder import only what the table allows', () => {
    const broken = imports.filter(isOurs).filter(({ from, to }) => {
      const allowed = MAY_IMPORT[folderOf(from)] ?? [];
      return folderOf(from) !== folderOf(to) && !allowed.includes('*') && !allowed.includes(folderOf(to));
    });
    expect(broken).toEqual([]);
  });

  it.each(STRICTER)('keeps $mayNotImport out of $files: $why', ({ files: held, mayNotImport }) => {
    const broken = imports.filter(({ from, to }) => held.test(from) && mayNotImport.test(to));
    expect(broken).toEqual([]);
  });

  it('resolves every relative import to a file of ours', () => {
    expect(imports.filter((edge) => !isOurs(edge) && edge.to.endsWith('.ts'))).toEqual([]);
  });

  it('has no import cycle', () => {
    const edges = Map.groupBy(imports.filter(isOurs), ({ from }) => from);
    const done = new Set<string>();
    const visit = (file: string, path: readonly string[]): string[] | null => {
      if (path.includes(file)) return [...path.slice(path.indexOf(file)), file];
      if (done.has(file)) return null;
      for (const { to } of edges.get(file) ?? []) {
        const cycle = visit(to, [...path, file]);
        if (cycle) return cycle;
      }
      done.add(file);
      return null;
    };
    expect(files.map((file) => visit(file, [])).filter((cycle) => cycle !== null)).toEqual([]);
  });

  it('reads environment variables in main, where Node reads one itself, and in the demo only', () => {
    const readers = files.filter((file) =>
      /\bprocess\.env\b|\{ env \} = process/.test(readFileSync(join(SRC, file), 'utf8')),
    );
    expect(readers.toSorted()).toEqual(['main.ts', 'sandbox/demo.ts', 'thread-pool.ts']);
  });

  it('keeps every file under 400 lines, generated ones aside', () => {
    const long = files.filter(
      (file) => !file.endsWith('.gen.ts') && readFileSync(join(SRC, file), 'utf8').split('\n').length > 401,
    );
    expect(long).toEqual([]);
  });
});
