/**
 * Runs a command and reports what the whole process used. Node reports that of itself only, so a few lines of Perl, which
 * Debian is never without, wait for the command and ask the kernel (getrusage of the children). Being small, they add
 * nothing to the peak memory, which a child inherits from what it was forked from.
 */

import { spawn } from 'node:child_process';
import { text } from 'node:stream/consumers';

export interface Command {
  readonly file: string;
  readonly args: readonly string[];
  readonly env?: Readonly<Record<string, string>>;
}

export interface Usage {
  readonly wallS: number;
  /** User and system time of all its threads and of the processes that it waited for. */
  readonly cpuS: number;
  /** Of the largest of its processes. */
  readonly rssPeakMb: number;
}

export type Measured = { usage: Usage; stdout: string; failure: null } | { usage: null; failure: string };

/** Numbers of the system calls clock_gettime and getrusage: what comes with Perl at least has no module for them. */
const SYSTEM_CALLS: Readonly<Record<string, readonly [number, number]>> = { x64: [228, 98], arm64: [113, 165] };

const WRAPPER = `
my ($clock, $call) = (shift, shift); open(my $out, '>&=', 3) or die;
sub now {
  my $time = "\\0" x 16; syscall($clock, 1, $time) == 0 or die;
  my ($s, $ns) = unpack('q2', $time); return $s + $ns / 1e9;
}
my $from = now();
my $pid = fork // die; if (!$pid) { exec { $ARGV[0] } @ARGV or exit 127 }
waitpid($pid, 0); my $status = $?;
my $wall = now() - $from;
my $usage = "\\0" x 144; syscall($call, -1, $usage) == 0 or die;
my ($us, $uu, $ss, $su, $rss) = unpack('q5', $usage);
printf $out '{"status":%d,"wallS":%.6f,"cpuS":%.6f,"rssPeakMb":%.3f}', $status, $wall, $us + $ss + ($uu + $su) / 1e6, $rss / 1024;
`;

const STDERR_CHARS_MAX = 300;

export async function measure({ file, args, env }: Command, timeoutMs: number): Promise<Measured> {
  const calls = SYSTEM_CALLS[process.arch];
  if (calls === undefined || process.platform !== 'linux') throw new Error('Measures on Linux, x64 or arm64, only.');
  const child = spawn('perl', ['-e', WRAPPER, ...calls.map(String), file, ...args], {
    stdio: ['ignore', 'pipe', 'pipe', 'pipe'],
    env: { ...process.env, ...env },
    detached: true, // A group of its own, so that the command ends with the wrapper.
  });
  let late = false;
  const timer = setTimeout(() => {
    late = true;
    if (child.pid !== undefined) process.kill(-child.pid, 'SIGKILL');
  }, timeoutMs);
  const [, stdoutPipe, stderrPipe, usagePipe] = child.stdio;
  const read = (pipe: unknown): Promise<string> => text(pipe as NodeJS.ReadableStream);
  const [stdout, stderr, report] = await Promise.all([stdoutPipe, stderrPipe, usagePipe].map(read));
  clearTimeout(timer);
  if (late) return { usage: null, failure: `not done after ${timeoutMs / 1000} s` };
  const { status, ...usage } = JSON.parse(report || '{"status":-1}') as Usage & { status: number };
  if (status === 0) return { usage, stdout: stdout ?? '', failure: null };
  return {
    usage: null,
    failure: `status ${status}: ${(stderr ?? '').trim().replaceAll(/\s+/g, ' ').slice(-STDERR_CHARS_MAX)}`,
  };
}
