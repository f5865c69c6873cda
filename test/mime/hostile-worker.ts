/** The real worker, with messages that make its thread misbehave. */
import type { MessagePort } from 'node:worker_threads';
import { readFeed } from '../../src/mime/message-feed.ts';
import type { ParsedMessage } from '../../src/mime/message.ts';
import runTask from '../../src/mime/worker.ts';
import type { SanitizedHtml } from '../../src/mime/sanitize.ts';
import type { ParseTask, SanitizeTask } from '../../src/mime/worker.ts';

export default async function misbehave(task: ParseTask | SanitizeTask): Promise<ParsedMessage | SanitizedHtml> {
  if (task.kind === 'sanitize') {
    if (task.html === 'loop') for (;;);
    if (task.html === 'exit') process.exit(1);
    return runTask(task);
  }
  if (task.kind === 'stream') {
    // Reads of it what says how to misbehave, and never asks for the rest.
    const [raw = Buffer.alloc(0)] = await readFirst(task.port);
    return misbehave({ kind: 'message', bytes: raw, limits: task.limits });
  }
  const raw = Buffer.from(task.bytes).toString('latin1');
  if (task.kind === 'message' || raw.includes('X-Even-Alone')) {
    if (raw.includes('Subject: loop')) for (;;);
    if (raw.includes('Subject: exit')) process.exit(1);
    if (raw.includes('Subject: throw')) throw new Error('no such luck');
    if (raw.includes('Subject: stray')) {
      setImmediate(() => {
        throw new Error('out of nowhere');
      });
      await new Promise(() => {});
    }
    if (raw.includes('Subject: hoard'))
      for (const hoard: number[][] = []; ; hoard.push(Array.from({ length: 1e5 }, Math.random)));
  }
  const message = await runTask(task);
  return raw.includes('Subject: environment') ? { ...message, text: JSON.stringify(process.env) } : message;
}

async function readFirst(port: MessagePort): Promise<Buffer[]> {
  for await (const chunk of readFeed(port)) return [chunk];
  return [];
}
