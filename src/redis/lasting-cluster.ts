/** A connection to a Redis Cluster that goes on by itself, however long a part of the cluster was away. */
import { Cluster, type ClusterNode, type ClusterOptions } from 'ioredis';

/**
 * ioredis's own tries again where a cluster that it has reached says that it is not whole, but whoever waits for its `connect` then waits
 * for ever: among them BullMQ's workers, which make their connection anew whenever a blocking command stays without an answer, and would
 * take up no job any more.
 */
export class LastingCluster extends Cluster {
  /** Resolves when the cluster is whole. @throws Error where none of its nodes can be reached, or this is closed before. */
  override async connect(): Promise<void> {
    const { promise, resolve, reject } = Promise.withResolvers<void>();
    const end = (): void => reject(new Error('Connection is closed.'));
    this.once('ready', resolve);
    this.once('end', end);
    super.connect().then(resolve, reject);
    try {
      await promise;
    } finally {
      this.off('ready', resolve);
      this.off('end', end);
    }
  }

  /** Of this class too; what `Cluster` has for a type cannot be said of a class that is made from it. */
  override duplicate(nodes: ClusterNode[] = [], overrides: ClusterOptions = {}) {
    const startupNodes = nodes.length > 0 ? nodes : [...this['startupNodes']];
    const redisOptions = { ...this.options.redisOptions, ...overrides.redisOptions };
    return new LastingCluster(startupNodes, { ...this.options, ...overrides, redisOptions } as object) as never;
  }
}
