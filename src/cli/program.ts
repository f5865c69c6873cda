/** The command line: what can be typed, what is printed, and with what exit code. What it does is passed in. */
import { Command, CommanderError, InvalidArgumentError } from 'commander';
import type { KeyCount, Rotation } from './key-rotation.ts';
import { addRecoverCommand, type RecoverPorts } from './recover-command.ts';

export interface CliPorts extends RecoverPorts {
  countSealed(): Promise<KeyCount[]>;
  rotateKeys(): Promise<Rotation>;
  makeMasterKey(id: string): string;
  now(): Date;
}

/** What is to be done about it is printed; something is left that is not as it should be. */
const EXIT_INCOMPLETE = 2;

/**
 * @param args what follows `popbridge`.
 * @returns the exit code: 0 done, 1 an error or a wrong command, 2 keys are missing, or something is left to be done.
 * @throws what the ports throw.
 */
export async function runProgram(args: readonly string[], ports: CliPorts): Promise<number> {
  let exitCode = 0;
  const program = new Command('popbridge')
    .description('Without a command it runs the service. All settings come from the environment; see the README.')
    .exitOverride();
  const keys = program.command('keys').description('Master keys, under which credentials are sealed');

  keys
    .command('list')
    .description('Says how much is sealed under each key. Exit code 2 where a key is missing.')
    .option('--json', 'as JSON')
    .action(async ({ json }: { json?: boolean }) => {
      const counts = await ports.countSealed();
      ports.print(json ? JSON.stringify({ keys: counts }) : formatCounts(counts));
      if (counts.some(({ role }) => role === 'missing')) exitCode = EXIT_INCOMPLETE;
    });
  keys
    .command('rotate')
    .description(
      'Seals under the first key all that another has sealed. May be broken off and repeated, while popbridge runs. ' +
        'Exit code 2 where something is left.',
    )
    .option('--json', 'as JSON')
    .action(async ({ json }: { json?: boolean }) => {
      const rotation = await ports.rotateKeys();
      ports.print(json ? JSON.stringify(rotation) : formatRotation(rotation));
      if (!rotation.isComplete) exitCode = EXIT_INCOMPLETE;
    });
  keys
    .command('generate')
    .description('Prints an entry for POPBRIDGE_MASTER_KEYS.')
    .option('--id <id>', 'letters, digits, _ and -; the date unless given', readKeyId)
    .action(({ id }: { id?: string }) => {
      ports.print(ports.makeMasterKey(id ?? `k${ports.now().toISOString().slice(0, 10)}`));
    });

  addRecoverCommand(program, ports, () => {
    exitCode = EXIT_INCOMPLETE;
  });

  try {
    await program.parseAsync(args, { from: 'user' });
  } catch (error) {
    if (!(error instanceof CommanderError)) throw error;
    return error.exitCode; // It has said what is wrong.
  }
  return exitCode;
}

function readKeyId(text: string): string {
  if (/^[A-Za-z0-9_-]{1,64}$/.test(text)) return text;
  throw new InvalidArgumentError('It takes 1 to 64 letters, digits, _ and -.');
}

function formatCounts(counts: readonly KeyCount[]): string {
  const rows = counts.map(({ id, role, mailboxes, credentials, webhooks, dataKeys }) =>
    [id, role, mailboxes, credentials, webhooks, dataKeys].map(String),
  );
  const all = [['key', 'role', 'mailboxes', 'credentials', 'webhooks', 'data keys'], ...rows];
  const widths = all[0]?.map((_, at) => Math.max(...all.map((row) => row[at]?.length ?? 0))) ?? [];
  return all
    .map((row) =>
      row
        .map((cell, at) => cell.padEnd(widths[at] ?? 0))
        .join('  ')
        .trimEnd(),
    )
    .join('\n');
}

function formatRotation({ sealedAnew, failed, failures, isComplete, unused }: Rotation): string {
  const lines = [`Sealed anew: ${sealedAnew}.`];
  for (const { place, reason } of failures) lines.push(`${place}: ${reason}`);
  if (failed > failures.length) lines.push(`... and ${failed - failures.length} more.`);
  if (!isComplete)
    lines.push('Something is left under an old key. Keep all keys, and repeat this when what is said above is mended.');
  else if (unused.length > 0)
    lines.push(`Nothing needs these keys any more: ${unused.join(', ')}. They may be taken away.`);
  else lines.push('All is sealed under the only key there is.');
  return lines.join('\n');
}
