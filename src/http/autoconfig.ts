/** `POST /v1/autoconfig`: the settings that go with an address, as far as they can be found. */
import type { FoundSettings } from '../autoconfig/find-settings.ts';
import type { components } from '../contract.gen.ts';
import { autoconfigsAtOnceMax } from './limits.ts';
import { createRoom } from './room.ts';
import type { Handlers } from './route.ts';

export interface AutoconfigHandlerPorts {
  findSettings(email: string, signal: AbortSignal): Promise<FoundSettings>;
  /** Aborted when the process stops. */
  shutdown: AbortSignal;
}

export function autoconfigHandlers(ports: AutoconfigHandlerPorts): Pick<Handlers, 'findSettings'> {
  const inRoom = createRoom(autoconfigsAtOnceMax, 'addresses', 'looked up');
  return {
    async findSettings({ body, signal }) {
      const whileWanted = AbortSignal.any([signal, ports.shutdown]);
      return { status: 200, body: toBody(await inRoom(() => ports.findSettings(body.email, whileWanted))) };
    },
  };
}

function toBody({ candidates, tried, ...found }: FoundSettings): components['schemas']['Autoconfig'] {
  return {
    ...found,
    candidates: candidates.map(({ isListingPartial, minIntervalSeconds, ...candidate }) => ({
      ...candidate,
      limits: { minIntervalSeconds, partialListing: isListingPartial },
    })),
    tried,
  };
}
