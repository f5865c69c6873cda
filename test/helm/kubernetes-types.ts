/**
 * What is wrong with Kubernetes objects, by the types that are generated from the API's own descriptions. Two checks, as neither sees
 * all: the compiler finds fields that are unknown, missing or of a wrong type; the packages' validators know patterns and bounds.
 */
import { execFile } from 'node:child_process';
import { randomUUID } from 'node:crypto';
import { mkdir, rm, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { promisify } from 'node:util';
import type { Manifest } from '../support/helm.ts';

const run = promisify(execFile);
const ROOT = fileURLToPath(new URL('../..', import.meta.url));

/** Packages by the group of an `apiVersion`; every other group is Kubernetes' own. */
const PACKAGES: Readonly<Record<string, string>> = {
  'keda.sh': '@kubernetes-models/keda',
  'gateway.networking.k8s.io': '@kubernetes-models/gateway-api',
  'monitoring.coreos.com': '@kubernetes-models/prometheus-operator',
  'external-secrets.io': '@kubernetes-models/external-secrets',
};

export interface Checked {
  /** For whoever reads what is wrong. */
  readonly label: string;
  readonly manifest: Manifest;
}

export interface Fault {
  readonly label: string;
  readonly text: string;
}

function moduleOf({ apiVersion, kind }: Manifest): string {
  const [group = ''] = apiVersion.split('/');
  return `${PACKAGES[group] ?? 'kubernetes-models'}/${apiVersion}/${kind}`;
}

/** By `tsc`, which is asked once for all. Takes a few seconds. */
export async function findTypeFaults(checked: readonly Checked[]): Promise<Fault[]> {
  // Below the repository, so that the packages are found; and in a folder of its own for each process.
  const folder = join(ROOT, 'data', 'helm', `types-${randomUUID()}`);
  await mkdir(folder, { recursive: true });
  try {
    const lines = checked.map(
      ({ manifest }, index) =>
        `export const m${index}: import('${moduleOf(manifest)}').I${manifest.kind} = ${JSON.stringify(manifest)};`,
    );
    await writeFile(join(folder, 'manifests.ts'), lines.join('\n'));
    await writeFile(join(folder, 'tsconfig.json'), JSON.stringify(TSCONFIG));
    const tsc = join(ROOT, 'node_modules', '@typescript', 'native', 'bin', 'tsc');
    const output = await run(process.execPath, [tsc, '-p', folder, '--pretty', 'false'], {
      cwd: folder,
      maxBuffer: 256 * 1024 * 1024,
    }).then(
      () => '',
      (error: unknown) => (error as { stdout: string }).stdout,
    );
    return [...output.matchAll(/^(.*)\((\d+),\d+\): error (.*)$/gm)].map(([, file, line, text]) => {
      const label = file === 'manifests.ts' ? checked[Number(line) - 1]?.label : undefined;
      return { label: label ?? `${file}:${line}`, text: text ?? '' };
    });
  } finally {
    await rm(folder, { recursive: true, force: true });
  }
}

const TSCONFIG = {
  compilerOptions: {
    target: 'es2024',
    lib: ['es2024'],
    types: [],
    module: 'nodenext',
    strict: true,
    exactOptionalPropertyTypes: true,
    skipLibCheck: true,
    noEmit: true,
  },
  files: ['manifests.ts'],
};

interface Model {
  validate(): void;
}

/** By the packages' validators. */
export async function findValueFaults(checked: readonly Checked[]): Promise<Fault[]> {
  const faults: Fault[] = [];
  for (const { label, manifest } of checked) {
    const module = (await import(moduleOf(manifest))) as Record<string, new (data: Manifest) => Model>;
    const Kind = module[manifest.kind];
    if (!Kind) throw new Error(`${moduleOf(manifest)} has no ${manifest.kind}`);
    try {
      new Kind(manifest).validate();
    } catch (error) {
      faults.push({ label, text: String(error) });
    }
  }
  return faults;
}
