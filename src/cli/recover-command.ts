/** `popbridge recover`: what is printed of it, and with what exit code it ends. */
import type { Command } from 'commander';
import { toError } from '../errors.ts';
import type { Reconciliation } from '../message/reconciler.ts';

export interface RecoverPorts {
  recover(isDryRun: boolean): Promise<Reconciliation>;
  print(text: string): void;
}

/** @param onIncomplete called where something is left that is not as it should be. */
export function addRecoverCommand(program: Command, ports: RecoverPorts, onIncomplete: () => void): void {
  program
    .command('recover')
    .description(
      'Puts back into a Redis that was lost, or restored from an older copy, what is in the blob store. May be broken off and ' +
        'repeated. Exit code 2 where something could not be read, or there are no blobs.',
    )
    .option('--dry-run', 'says what would be done, and does nothing')
    .option('--json', 'as JSON')
    .action(async ({ json, dryRun = false }: { json?: boolean; dryRun?: boolean }) => {
      const result = await ports.recover(dryRun);
      ports.print(json ? toJson(result, dryRun) : format(result, dryRun));
      if (result.failed > 0 || result.incomplete > 0 || result.blobs === 0) onIncomplete();
    });
}

function toJson({ error, ...counts }: Reconciliation, isDryRun: boolean): string {
  return JSON.stringify({ ...counts, error: error === null ? null : toError(error).message, isDryRun });
}

function format(result: Reconciliation, isDryRun: boolean): string {
  const { blobs, restored, gone, incomplete, dataKeys, failed, error } = result;
  if (blobs === 0)
    return 'There is nothing in the blob store. Is it the right one (POPBRIDGE_BLOB_STORE)? Nothing was done.';
  const lines = [
    ...(isDryRun ? ['Nothing was done. It would be:'] : []),
    `Blobs read: ${blobs}.`,
    `Messages restored: ${restored}.`,
    `Messages deleted again, which had been deleted since: ${gone}.`,
    `Data keys restored: ${dataKeys}.`,
  ];
  if (incomplete > 0) lines.push(`Messages whose bytes are not all there, and which were not restored: ${incomplete}.`);
  if (failed > 0) lines.push(`Could not be read, or restored: ${failed}. The first: ${toError(error).message}`);
  return lines.join('\n');
}
