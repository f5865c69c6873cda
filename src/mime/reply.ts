/**
 * What a person wrote in a reply: its text without what it quotes and without a signature, by email-reply-parser, which knows how
 * the mail clients of some twenty languages introduce a quotation.
 *
 * Its expressions are of quadratic time in the length of a line and in a run of empty ones, so they are given neither: no line
 * that introduces a quotation is as long as those that are put aside here.
 */
import EmailReplyParser from 'email-reply-parser';
import { replyCharsMax, replyLineCharsMax } from './limits.ts';
import { clean } from './text.ts';

export interface StrippedReply {
  /** Empty where all of it is quoted. */
  readonly text: string;
  /** Whether the text was longer than is looked at. */
  readonly cut: boolean;
}

/** Stands for a long line while the rest is taken apart. Of the private use area, and taken out of the text before. */
const MARK = '\uE000';
const MARKED_LINE = /^[>\s]{0,10}\uE000(\d+)\uE000/gm;

export function stripReply(text: string): StrippedReply {
  const { text: beginning, cut } = clean(text, replyCharsMax);
  const asideLines: string[] = [];
  const lines = beginning
    .replaceAll(MARK, '')
    .replaceAll(/\n(?:[^\S\n]*\n){2,}/g, '\n\n')
    .split('\n')
    .map((line) => {
      if (line.length <= replyLineCharsMax) return line;
      asideLines.push(line);
      // Where it stands in a quotation it still does.
      return `${/^[>\s]{0,10}/.exec(line)?.[0] ?? ''}${MARK}${asideLines.length - 1}${MARK}`;
    });
  const reply = new EmailReplyParser().parseReply(lines.join('\n'));
  const whole = reply.replaceAll(MARKED_LINE, (_, at: string) => asideLines[Number(at)] ?? '');
  return { text: whole.trim(), cut };
}
