import type { IncomingMessage } from 'node:http';
import type { FastifyReply, FastifyRequest } from 'fastify';
import type { Logger } from 'pino';
import type { Clock } from '../../base/clock.ts';
import type { AttachUpgrade, UpgradeRefusal } from '../../control/attach/attach.ts';
import type { Control } from '../../control/control.ts';
import { addressKey } from '../../model/address-key.ts';
import { parseBearer } from '../admission.ts';
import { type ApiLimits, serverLimits } from '../limits.ts';
import type { Metrics } from '../metrics.ts';
import type { Proxies } from '../proxies.ts';
import { type ClientSockets, openClientSockets } from './client-sockets.ts';
import { attachPathRun, hasForeignQuery, presentedTicket } from './upgrade-request.ts';
import { openUpgrades, type Upgrades } from './upgrades.ts';

/** The way in of attached clients: their upgrades, and the connections that came of them. */
export type AttachDoor = {
  readonly upgrades: Upgrades;
  readonly sockets: ClientSockets;
  /** Its ticket is redeemed now: whatever control refuses from here on, control puts on record. */
  redeeming(request: IncomingMessage): void;
  /** To be called with every request: what asks for the route of upgrades and is refused goes on record. */
  watch(request: Pick<FastifyRequest, 'raw' | 'id'>, reply: Pick<FastifyReply, 'raw' | 'statusCode'>): void;
  close(): void;
};

export type AttachDoorOptions = {
  readonly control: Pick<Control, 'attach'>;
  readonly limits: ApiLimits;
  readonly proxies: Proxies;
  readonly clock: Clock;
  readonly logger: Logger;
  readonly metrics: Pick<Metrics, 'attachCut'>;
};

export function openAttachDoor(options: AttachDoorOptions): AttachDoor {
  const { control, limits, proxies, clock, logger, metrics } = options;
  const redeeming = new WeakSet<IncomingMessage>();
  const recent = new Recent(clock);
  const sockets = openClientSockets({ clock, logger, onCut: (reason) => metrics.attachCut(reason) });
  const recordRefusal = (request: IncomingMessage, status: number, requestId: string) => {
    const run = attachPathRun(request.url);
    if (run === null || redeeming.has(request)) return;
    const refusal = refusalOf(status, request.url);
    const address = proxies.addressOf(request);
    // An address that asks too often is on record for that once in a while, or it would fill the record.
    if (refusal === 'rate' && !recent.isFirst(addressKey(address))) return;
    const userAgent = request.headers['user-agent']?.slice(0, serverLimits.userAgentCharactersMax) ?? null;
    const upgrade: AttachUpgrade = {
      ...{ run, ticket: ticketOf(request), from: null },
      request: { id: requestId, address, userAgent },
    };
    control.attach.refused(upgrade, refusal);
  };
  const upgrades = openUpgrades(limits.idleTimeoutMs);
  return {
    upgrades,
    sockets,
    redeeming: (request) => redeeming.add(request),
    watch({ raw, id }, reply) {
      // A HEAD or POST of it is no route of its own, so what was asked is what counts, not what was found.
      if (attachPathRun(raw.url) === null) return;
      reply.raw.once('finish', () => {
        if (reply.statusCode >= 400) recordRefusal(raw, reply.statusCode, id);
      });
    },
    close() {
      upgrades.close();
      sockets.close();
    },
  };
}

function refusalOf(status: number, url: string | undefined): UpgradeRefusal {
  if (status === 429) return 'rate';
  if (status === 403) return 'origin';
  if (status === 401) return 'ticket-missing';
  return hasForeignQuery(url) ? 'ticket-in-url' : 'protocol';
}

/** The ticket of an upgrade that was refused, where it can be read: whose it is goes on record. */
function ticketOf(request: IncomingMessage): string | null {
  try {
    return presentedTicket(request, parseBearer);
  } catch {
    return null;
  }
}

/** Names that were seen in the window before now. */
class Recent {
  readonly #clock: Clock;
  readonly #seen = new Map<string, number>();

  constructor(clock: Clock) {
    this.#clock = clock;
  }

  isFirst(name: string): boolean {
    const now = this.#clock.monotonic();
    const seen = this.#seen.get(name);
    if (seen !== undefined && now - seen < serverLimits.rateWindowSeconds * 1000) return false;
    this.#seen.delete(name);
    this.#seen.set(name, now);
    if (this.#seen.size > serverLimits.rateKeysMax) this.#seen.delete(this.#seen.keys().next().value!);
    return true;
  }
}
