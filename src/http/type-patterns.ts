/** The contract says what a pattern for types of events looks like; that it fits one that there is, is said here. */
import { EVENT_TYPES, isTypePattern } from '../event/event-types.ts';
import { invalidRequest, type Violation } from './contract.ts';

type Place = Violation['in'];

const DETAIL = `fits no type of event; there are ${EVENT_TYPES.join(', ')}`;

/** Whoever misspells one would wait for ever. @throws AppError `invalid_request`. */
export function checkTypes(patterns: readonly string[], place: Place, field = 'types'): void {
  refuse(patterns.flatMap((pattern, at) => check(pattern, place, `/${field}/${at}`)));
}

/** @throws AppError `invalid_request`. */
export function checkType(pattern: string | undefined, place: Place): void {
  if (pattern !== undefined) refuse(check(pattern, place, '/type'));
}

function check(pattern: string, place: Place, pointer: string): Violation[] {
  return isTypePattern(pattern) ? [] : [{ in: place, pointer, detail: DETAIL }];
}

function refuse(violations: readonly Violation[]): void {
  if (violations.length > 0) throw invalidRequest(violations);
}
