/** Redis servers that belong together: a Redis Cluster, a master with replicas and sentinels. Real processes, on loopback, in a folder of their own. */
import { spawn, type ChildProcess } from 'node:child_process';
import { mkdir, mkdtemp, readFile, rm, writeFile } from 'node:fs/promises';
import { createServer, type AddressInfo, type Server } from 'node:net';
import { once } from 'node:events';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { Redis } from 'ioredis';
import type { Certificates } from './certificates.ts';
import { redisServerPath } from './redis.ts';
import { HOST, stopProcess } from './server-process.ts';
import { eventually } from './service.ts';

export interface RedisNode {
  readonly port: number;
  readonly pid: number;
  /** A connection to this one alone. */
  readonly client: Redis;
  /** SIGKILL. Resolves when it has ended. */
  kill(): Promise<void>;
  /** Another process on the same port and files. */
  restart(): Promise<void>;
  /** It stands still, with all its connections open, until it goes on. */
  freeze(): void;
  thaw(): void;
  close(): Promise<void>;
}

export interface RedisGroup {
  /** For the service. */
  readonly env: Readonly<Record<string, string>>;
  readonly nodes: readonly RedisNode[];
  /** Those that are masters now, and run. */
  masters(): Promise<RedisNode[]>;
  /** Ends all of them and removes their folder. */
  close(): Promise<void>;
}

const MASTERS = 3;
/** After this long without an answer a node counts as dead: on a busy machine, one that lives is silent for a second. */
const DEAD_AFTER_MS = 2_000;
const START_MS = 20_000;
export const SENTINEL_NAME = 'mail';

export interface GroupOptions {
  /** Redis unless given. */
  readonly serverPath?: string | undefined;
  /** They speak TLS and nothing else, among themselves too. */
  readonly certificates?: Pick<Certificates, 'ca' | 'caPath' | 'server'>;
}

/** Three masters with a replica each. */
export async function startCluster(options: GroupOptions = {}): Promise<RedisGroup> {
  const group = await openGroup(options);
  const config = [
    'cluster-enabled yes',
    `cluster-node-timeout ${DEAD_AFTER_MS}`,
    // Whatever a busy machine does to a replica's link.
    'cluster-replica-validity-factor 0',
  ];
  try {
    const nodes = await group.startAll(2 * MASTERS, config, true);
    const masters = nodes.slice(0, MASTERS);
    await Promise.all(nodes.map(({ client }, at) => client.call('CLUSTER', 'SET-CONFIG-EPOCH', at + 1)));
    const bounds = masters.map((_, at) => Math.floor((16_384 * at) / MASTERS));
    await Promise.all(
      masters.map(({ client }, at) =>
        client.call('CLUSTER', 'ADDSLOTSRANGE', bounds[at]!, (bounds[at + 1] ?? 16_384) - 1),
      ),
    );
    const [first] = nodes;
    await Promise.all(nodes.slice(1).map(({ client }) => meet(client, first!)));
    for (const { client } of nodes) {
      await eventually(() => client.call('CLUSTER', 'INFO') as Promise<string>, isWhole, START_MS);
    }
    const ids = await Promise.all(masters.map(({ client }) => client.call('CLUSTER', 'MYID') as Promise<string>));
    await Promise.all(nodes.slice(MASTERS).map(({ client }, at) => replicate(client, ids[at]!)));
    await waitForReplicas(masters, 1);
    // A failover needs what all others know of the replica.
    for (const { client } of nodes) {
      await eventually(
        () => client.call('CLUSTER', 'NODES') as Promise<string>,
        (text) => text.match(/ (?:myself,)?slave /g)?.length === MASTERS,
        START_MS,
      );
    }
    return group.asGroup(nodes, {
      REDIS_URL: masters.map(({ port }) => `${group.scheme}://${HOST}:${port}`).join(','),
      POPBRIDGE_REDIS_MODE: 'cluster',
    });
  } catch (error) {
    await group.close();
    throw error;
  }
}

async function meet(client: Redis, other: RedisNode): Promise<void> {
  const [, bus = ''] = await other.client.config('GET', 'cluster-port');
  await client.call('CLUSTER', 'MEET', HOST, other.port, bus);
}

/** It is refused until the node has heard of the master. */
async function replicate(client: Redis, masterId: string): Promise<void> {
  await eventually(
    () => client.call('CLUSTER', 'REPLICATE', masterId).then(String, String),
    (answer) => answer === 'OK',
    START_MS,
  );
}

function isWhole(info: string): boolean {
  return info.includes('cluster_state:ok') && info.includes(`cluster_known_nodes:${2 * MASTERS}`);
}

export interface SentinelGroup extends RedisGroup {
  readonly sentinels: readonly RedisNode[];
}

/** A master with two replicas, and three sentinels. Both ask for a password, each for another one. */
export async function startSentinels(options: GroupOptions = {}): Promise<SentinelGroup> {
  const group = await openGroup(options);
  const [dataPassword, sentinelPassword] = ['of the data', 'of the sentinels'];
  const quoted = (text: string): string => JSON.stringify(text);
  try {
    const nodes = await group.startAll(3, [
      `requirepass ${quoted(dataPassword)}`,
      `masterauth ${quoted(dataPassword)}`,
    ]);
    const [master, ...replicas] = nodes;
    await Promise.all(replicas.map(({ client }) => client.replicaof(HOST, master!.port)));
    await waitForReplicas([master!], 2);
    const sentinels = await group.startAll(
      3,
      [
        'sentinel resolve-hostnames no',
        `sentinel monitor ${SENTINEL_NAME} ${HOST} ${master!.port} 2`,
        `sentinel auth-pass ${SENTINEL_NAME} ${quoted(dataPassword)}`,
        `sentinel down-after-milliseconds ${SENTINEL_NAME} ${DEAD_AFTER_MS}`,
        `sentinel failover-timeout ${SENTINEL_NAME} 4000`,
        `requirepass ${quoted(sentinelPassword)}`,
        `sentinel sentinel-pass ${quoted(sentinelPassword)}`,
      ],
      false,
      'sentinel',
    );
    for (const { client } of sentinels) {
      await eventually(
        async () => toFields((await client.call('SENTINEL', 'MASTER', SENTINEL_NAME)) as string[]),
        (fields) => fields['num-slaves'] === '2' && fields['num-other-sentinels'] === '2',
        START_MS,
      );
    }
    const urls = sentinels.map(({ port }) => `${group.scheme}://:${encodeURIComponent(dataPassword)}@${HOST}:${port}`);
    const env = {
      REDIS_URL: urls.join(','),
      POPBRIDGE_REDIS_MODE: 'sentinel',
      POPBRIDGE_REDIS_SENTINEL_NAME: SENTINEL_NAME,
      POPBRIDGE_REDIS_SENTINEL_PASSWORD: sentinelPassword,
    };
    return { ...group.asGroup(nodes, env), sentinels };
  } catch (error) {
    await group.close();
    throw error;
  }
}

/** One server by itself. */
export async function startAlone(options: GroupOptions = {}): Promise<RedisGroup> {
  const group = await openGroup(options);
  const nodes = await group.startAll(1, []);
  return group.asGroup(nodes, { REDIS_URL: `${group.scheme}://${HOST}:${nodes[0]!.port}` });
}

function toFields(list: readonly string[] | Record<string, string>): Record<string, string> {
  if (!Array.isArray(list)) return list as Record<string, string>;
  const [names, values] = [0, 1].map((rest) => list.filter((_, at) => at % 2 === rest));
  return Object.fromEntries(names!.map((name, at) => [name, values![at] ?? '']));
}

async function waitForReplicas(masters: readonly RedisNode[], count: number): Promise<void> {
  for (const { client } of masters) {
    await eventually(
      () => client.info('replication'),
      (info) => info.match(/state=online/g)?.length === count,
      START_MS,
    );
  }
}

async function openGroup({ serverPath, certificates }: GroupOptions) {
  const path = serverPath ?? (await redisServerPath());
  const caFile = certificates && { POPBRIDGE_REDIS_CA_FILE: certificates.caPath };
  const folder = await mkdtemp(join(tmpdir(), 'popbridge-redis-'));
  const all: RedisNode[] = [];
  const children = new Set<ChildProcess>();
  const killAll = (): void => children.forEach((child) => void child.kill('SIGKILL'));
  process.once('exit', killAll);

  async function close(): Promise<void> {
    await Promise.all(all.map((node) => node.close()));
    killAll();
    process.off('exit', killAll);
    await rm(folder, { recursive: true, force: true, maxRetries: 20, retryDelay: 100 });
  }
  return {
    scheme: certificates ? 'rediss' : 'redis',
    close,
    async startAll(count: number, config: readonly string[], hasBus = false, kind: Kind = 'data') {
      const ports = await reservePorts(hasBus ? 2 * count : count);
      const nodes = await Promise.all(
        Array.from({ length: count }, async (_, at) => {
          const more = hasBus ? [...config, `cluster-port ${ports[count + at]}`] : config;
          return startNode({
            path,
            folder: join(folder, `${kind}-${at}`),
            port: ports[at]!,
            config: more,
            kind,
            certificates,
            children,
          });
        }),
      );
      all.push(...nodes);
      return nodes;
    },
    asGroup: (nodes: readonly RedisNode[], env: Record<string, string>): RedisGroup => ({
      env: { ...env, ...caFile },
      nodes,
      close,
      async masters() {
        const infos = await Promise.all(nodes.map(({ client }) => client.info('replication').catch(() => '')));
        return nodes.filter((_, at) => infos[at]?.includes('role:master'));
      },
    }),
  };
}

type Kind = 'data' | 'sentinel';

interface NodeOptions {
  /** Of the server. */
  path: string;
  folder: string;
  port: number;
  config: readonly string[];
  kind: Kind;
  certificates: GroupOptions['certificates'];
  /** Of the group, for as long as they run. */
  children: Set<ChildProcess>;
}

async function startNode(options: NodeOptions): Promise<RedisNode> {
  const { folder, port, config, kind, certificates, children } = options;
  await mkdir(folder);
  const configPath = join(folder, 'redis.conf');
  const password = config.map((line) => /^requirepass (".*")$/.exec(line)?.[1]).find((quoted) => quoted !== undefined);
  const log = join(folder, 'redis.log');
  const data = ['appendonly yes', 'save ""', 'repl-diskless-sync-delay 0', 'repl-ping-replica-period 1'];
  await writeFile(
    configPath,
    [
      `bind ${HOST}`,
      ...(certificates ? tlsLines(port, certificates) : [`port ${port}`]),
      `dir ${folder}`,
      `logfile ${log}`,
      ...(kind === 'data' ? data : []),
      ...config,
      '',
    ].join('\n'),
  );
  const client = new Redis({
    host: HOST,
    port,
    ...(password !== undefined && { password: JSON.parse(password) as string }),
    ...(certificates && { tls: { ca: certificates.ca } }),
    lazyConnect: true,
    retryStrategy: () => 100,
    maxRetriesPerRequest: 0,
    commandTimeout: 2_000,
  });
  client.on('error', () => undefined);
  let child: ChildProcess;

  async function launch(): Promise<void> {
    child = spawn(options.path, [configPath, ...(kind === 'sentinel' ? ['--sentinel'] : [])], { stdio: 'ignore' });
    const started = child;
    children.add(started.once('close', () => children.delete(started)));
    const ended = once(child, 'close').then(async () => {
      throw new Error(`redis-server ended: ${(await readFile(log, 'utf8').catch(() => '')).slice(-500)}`);
    });
    const answering = eventually(
      () => client.ping().catch(() => ''),
      (answer) => answer === 'PONG',
      START_MS,
    );
    ended.catch(() => undefined);
    await Promise.race([answering, ended]);
  }
  await launch();

  return {
    port,
    client,
    get pid() {
      return child.pid!;
    },
    kill: () => stopProcess(child, 'SIGKILL'),
    async restart() {
      await stopProcess(child, 'SIGKILL');
      await launch();
    },
    freeze: () => void child.kill('SIGSTOP'),
    thaw: () => void child.kill('SIGCONT'),
    async close() {
      client.disconnect();
      await stopProcess(child, 'SIGKILL');
    },
  };
}

function tlsLines(port: number, { caPath, server }: NonNullable<GroupOptions['certificates']>): string[] {
  return [
    'port 0',
    `tls-port ${port}`,
    `tls-cert-file ${server.certPath}`,
    `tls-key-file ${server.keyPath}`,
    `tls-ca-cert-file ${caPath}`,
    'tls-auth-clients no',
    'tls-replication yes',
    'tls-cluster yes',
  ];
}

/** All of them at once, so that no two are the same. */
async function reservePorts(count: number): Promise<number[]> {
  const servers = await Promise.all(
    Array.from({ length: count }, async (): Promise<Server> => {
      const server = createServer().listen(0, HOST);
      await once(server, 'listening');
      return server;
    }),
  );
  const ports = servers.map((server) => (server.address() as AddressInfo).port);
  await Promise.all(servers.map((server) => new Promise((resolve) => server.close(resolve))));
  return ports;
}
