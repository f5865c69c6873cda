/** The Date field (RFC 5322 §3.3 and the obsolete forms of §4.3), the same on every machine whatever its time zone. */

const DATE_TIME =
  /^(?:[a-z]+\.?,?\s*)?(?<day>\d{1,2})[\s-]+(?<month>[a-z]{3})[a-z]*[\s-]+(?<year>\d{2,4})\s+(?<hour>\d{1,2})[:.](?<minute>\d{2})(?:[:.](?<second>\d{2}))?\s*(?<zone>[+-]\d{4}|[a-z]{1,5})?(?![a-z\d])/i;
const MONTHS = ['jan', 'feb', 'mar', 'apr', 'may', 'jun', 'jul', 'aug', 'sep', 'oct', 'nov', 'dec'];
/** Hours; every other name is unknown and counts as UTC (RFC 5322 §4.3). */
const ZONES: ReadonlyMap<string, number> = new Map([
  ['EST', -5],
  ['EDT', -4],
  ['CST', -6],
  ['CDT', -5],
  ['MST', -7],
  ['MDT', -6],
  ['PST', -8],
  ['PDT', -7],
]);

const FIELD_CHARS_MAX = 200;

/** @returns ISO 8601 UTC, or null for what is no date. */
export function parseDate(field: string): string | null {
  const other = parseOther(field.trim());
  if (other !== null) return other;
  const groups = DATE_TIME.exec(
    field
      .slice(0, FIELD_CHARS_MAX)
      .replaceAll(/\([^()]*\)/g, ' ')
      .trim(),
  )?.groups;
  if (groups === undefined) return null;
  const day = Number(groups['day']);
  const month = MONTHS.indexOf((groups['month'] ?? '').toLowerCase());
  const [hour, minute, second] = [Number(groups['hour']), Number(groups['minute']), Number(groups['second'] ?? 0)];
  if (month === -1 || hour > 23 || minute > 59 || second > 60) return null;
  const local = new Date(Date.UTC(readYear(groups['year'] ?? ''), month, day, hour, minute, Math.min(second, 59)));
  if (local.getUTCDate() !== day) return null;
  return new Date(local.getTime() - zoneMinutes(groups['zone'] ?? '') * 60_000).toISOString();
}

/** What scripts write for a date: ISO 8601 with a zone, and C's asctime, which has none and counts as UTC. */
function parseOther(field: string): string | null {
  if (/^\d{4}-\d{2}-\d{2}T\d{2}:\d{2}(?::\d{2}(?:\.\d{1,9})?)?(?:Z|[+-]\d{2}:?\d{2})$/i.test(field)) {
    const ms = Date.parse(field);
    return Number.isNaN(ms) ? null : new Date(ms).toISOString();
  }
  const asctime = /^[a-z]{3} ([a-z]{3}) {1,2}(\d{1,2}) (\d{2}:\d{2}:\d{2}) (\d{4})$/i.exec(field);
  return asctime === null ? null : parseDate(`${asctime[2]} ${asctime[1]} ${asctime[4]} ${asctime[3]} +0000`);
}

function readYear(digits: string): number {
  const year = Number(digits);
  if (digits.length === 2 && year < 50) return year + 2000;
  return digits.length < 4 ? year + 1900 : year;
}

function zoneMinutes(zone: string): number {
  const offset = /^([+-])(\d{2})(\d{2})$/.exec(zone);
  if (offset === null) return (ZONES.get(zone.toUpperCase()) ?? 0) * 60;
  return (offset[1] === '-' ? -1 : 1) * (Number(offset[2]) * 60 + Number(offset[3]));
}
