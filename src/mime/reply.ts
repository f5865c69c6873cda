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
const MARKED_LINE = /^[> \t]{0,10}\uE000(\d+)\uE000/gm;

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
      return `${/^[> \t]{0,10}/.exec(line)?.[0] ?? ''}${MARK}${asideLines.length - 1}${MARK}`;
    });
  const reply = new EmailReplyParser().parseReply(lines.join('\n'));
  const whole = reply.replaceAll(MARKED_LINE, (_, at: string) => asideLines[Number(at)] ?? '');
  return { text: withoutIntroduction(whole.trim(), beginning), cut };
}

/**
 * Gmail introduces a quotation by the date and the address in every language, and some of them the parser does not know: `2024年1月16日
 * (火) 9:30 Name <a@example.com>:`.
 */
function withoutIntroduction(reply: string, text: string): string {
  const lastLine = reply.slice(reply.lastIndexOf('\n') + 1);
  const isIntroduction = lastLine.length <= replyLineCharsMax && INTRODUCTION.test(lastLine);
  if (!isIntroduction || !/^\s*>/.test(text.slice(text.indexOf(lastLine) + lastLine.length))) return reply;
  return reply.slice(0, reply.length - lastLine.length).trimEnd();
}

const INTRODUCTION = /\b\d{4}\D.*<[^<>\s]+@[^<>\s]+>[^<>]{0,20}[:：]$/;
