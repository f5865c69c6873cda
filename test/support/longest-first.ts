/**
 * The order of the test files: those that take longest begin first, or a run would end with one of them alone beside idle cores. Vitest knows
 * what a file took the last time, but a fresh checkout has no last time; and it goes by size then, which says little.
 */
import { existsSync } from 'node:fs';
import { join } from 'node:path';
import { BaseSequencer, type TestSpecification } from 'vitest/node';

/** What takes more than some fifteen seconds on two cores, the longest first. */
const LONGEST = [
  'chaos/kills',
  'image/image',
  'integration/liveness',
  'chaos/outages',
  'chaos/faults',
  'chaos/deaths',
  'chaos/redis-groups',
  'chaos/failover',
  'chaos/webhook-kills',
  'integration/upgrade',
  'message/crash',
  'integration/redis-kinds',
  'message/blobs/s3-blob-store',
  'pop3/real-server',
  'pop3/real-sasl',
  'mime/pool',
  'integration/crash',
  'integration/recovery',
  'integration/failures',
  'integration/key-rotation',
  'helm/render',
  'pop3/real-session',
  'webhook/drain',
  'redis/server-binary',
  'http/service',
  'package',
  'helm/refusals',
];

export class LongestFirst extends BaseSequencer {
  override async sort(files: TestSpecification[]): Promise<TestSpecification[]> {
    const longest = LONGEST.map((name) => join(this.ctx.config.root, 'test', `${name}.test.ts`));
    const gone = longest.filter((file) => !existsSync(file));
    if (gone.length > 0) throw new Error(`Said to take long, and not there: ${gone.join(', ')}`);
    const rankOf = ({ moduleId }: TestSpecification): number => {
      const rank = longest.indexOf(moduleId);
      return rank < 0 ? longest.length : rank;
    };
    return (await super.sort(files)).toSorted((one, other) => rankOf(one) - rankOf(other));
  }
}
