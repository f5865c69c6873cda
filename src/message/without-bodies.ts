/** Messages as a short notice has them: all that is known of them but their text. */
import type { Message } from './message.ts';

interface Reader {
  find(tenant: string, id: string): Promise<Message | null>;
}

export function withoutBodies(messages: Reader): Reader {
  return {
    async find(tenant, id) {
      const message = await messages.find(tenant, id);
      if (!message) return null;
      const { text, html, strippedReply, textTruncated, htmlTruncated, strippedReplyTruncated } = message;
      return {
        ...message,
        text: null,
        html: null,
        strippedReply: null,
        textTruncated: textTruncated || text !== null,
        htmlTruncated: htmlTruncated || html !== null,
        strippedReplyTruncated: strippedReplyTruncated || strippedReply !== null,
      };
    },
  };
}
