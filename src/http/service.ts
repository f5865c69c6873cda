/** Health and the contract itself: open to everyone, and without a word on what is inside. */
import type { ContractDocument } from './contract.ts';
import type { Handlers } from './route.ts';

export interface ServicePorts {
  document: ContractDocument;
  /** What the role needs, by name: `ok`, or what is wrong. */
  checkReadiness(): Promise<Record<string, string>>;
}

export function serviceHandlers({
  document,
  checkReadiness,
}: ServicePorts): Pick<Handlers, 'livez' | 'readyz' | 'getContract'> {
  return {
    livez: () => Promise.resolve({ status: 200, body: { status: 'ok' } }),
    async readyz() {
      const checks = await checkReadiness();
      const isReady = Object.values(checks).every((check) => check === 'ok');
      return isReady
        ? { status: 200, body: { status: 'ok', checks } }
        : { status: 503, body: { status: 'unavailable', checks } };
    },
    getContract: () => Promise.resolve({ status: 200, body: { ...document } }),
  };
}
