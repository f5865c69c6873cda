/** Which attachments go with a full notice. */
import { Readable } from 'node:stream';
import { expect, test } from 'vitest';
import { inlineAttachments, type AttachmentReader } from '../../src/event/inline-attachments.ts';
import { inlineBytesMax } from '../../src/event/limits.ts';
import type { Message } from '../../src/message/message.ts';

/** @param gone ids of those whose bytes are not there. */
async function inline(sizes: Record<string, number>, gone: readonly string[] = []) {
  const opened: string[] = [];
  const messages: AttachmentReader = {
    async findAttachment(_tenant, _message, id) {
      opened.push(id);
      return { open: async () => (gone.includes(id) ? null : Readable.from([Buffer.alloc(sizes[id] ?? 0, id)])) };
    },
  };
  const attachments = Object.entries(sizes).map(([id, size]) => ({ id, size })) as unknown as Message['attachments'];
  return { inlined: await inlineAttachments(messages, 'default', { id: 'msg_1', attachments }), opened };
}

test('attachments come as base64, in their order', async () => {
  const { inlined } = await inline({ a: 2, b: 3, c: 0 });
  expect(inlined).toEqual([
    { id: 'a', content: Buffer.from('aa').toString('base64') },
    { id: 'b', content: Buffer.from('bbb').toString('base64') },
    { id: 'c', content: '' },
  ]);
});

test('one that does not fit is left out, and not even read; a smaller one behind it is not', async () => {
  const { inlined, opened } = await inline({ a: 10, b: inlineBytesMax - 9, c: inlineBytesMax - 10, d: 1 });
  expect(inlined.map(({ id }) => id)).toEqual(['a', 'c']);
  expect(opened).toEqual(['a', 'c']);
});

test('one that is gone is left out', async () => {
  const { inlined } = await inline({ a: 1, b: 1 }, ['a']);
  expect(inlined.map(({ id }) => id)).toEqual(['b']);
});
