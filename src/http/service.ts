/** Health and the contract itself: open to everyone, and without a word on what is inside. */
import type { components } from '../contract.gen.ts';
import type { ContractDocument } from './contract.ts';
import type { Handlers } from './route.ts';

export interface ServicePorts {
  document: ContractDocument;
  /** What the role needs, by name: `ok`, or what is wrong. */
  checkReadiness(): Promise<Record<string, string>>;
  /** What must give signs of life, by name: `ok`, or what is wrong. */
  checkLiveness(): Record<string, string>;
  isStarted(): boolean;
}

type Checks = Record<string, string>;
type Health = components['schemas']['Health'];

export function serviceHandlers({
  document,
  checkReadiness,
  checkLiveness,
  isStarted,
}: ServicePorts): Pick<Handlers, 'livez' | 'readyz' | 'startupz' | 'getContract'> {
  return {
    livez: () => Promise.resolve(tell(checkLiveness())),
    readyz: async () => tell(await checkReadiness()),
    startupz: () => Promise.resolve(tell({ start: isStarted() ? 'ok' : 'starting' })),
    getContract: () => Promise.resolve({ status: 200, body: { ...document } }),
  };
}

function tell(checks: Checks): { status: 200; body: Health } | { status: 503; body: Health } {
  const isWell = Object.values(checks).every((check) => check === 'ok');
  return isWell
    ? { status: 200, body: { status: 'ok', checks } }
    : { status: 503, body: { status: 'unavailable', checks } };
}
