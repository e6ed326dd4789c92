import type { IncomingMessage } from 'node:http';
import type { Logger } from 'pino';
import { WebSocketServer } from 'ws';
import type { Clock } from '../../base/clock.ts';
import { type AttachCloseReason, attachLimits, attachProtocol } from '../../contract/attach.ts';
import type { AttachUseCases } from '../../control/attach/attach.ts';
import { ClientSocket } from './client-socket.ts';
import { attachServerLimits } from './limits.ts';
import type { Offer } from './upgrades.ts';

/** Every open connection of an attached client. */
export type ClientSockets = {
  /** Answers 101 and begins what was redeemed; abandons it where the client has gone meanwhile. */
  open(request: IncomingMessage, offer: Offer, redeemed: Awaited<ReturnType<AttachUseCases['redeem']>>): void;
  readonly count: number;
  /** Tells each to come again, and ends those that do not go; new ones are told the same. */
  close(): void;
};

export type ClientSocketsOptions = {
  readonly clock: Clock;
  readonly logger: Logger;
  readonly onCut: (reason: AttachCloseReason) => void;
};

export function openClientSockets(options: ClientSocketsOptions): ClientSockets {
  return new OpenClientSockets(options);
}

/** RFC 6455 over connections that are handed to it, without extensions; text that is not UTF-8 ends them. */
export function openWebSockets(messageBytesMax: number): WebSocketServer {
  return new WebSocketServer({
    noServer: true,
    clientTracking: false,
    perMessageDeflate: false,
    skipUTF8Validation: false,
    maxPayload: messageBytesMax,
    maxFragments: attachServerLimits.fragmentsMax,
    handleProtocols: () => attachProtocol,
  });
}

class OpenClientSockets implements ClientSockets {
  readonly #options: ClientSocketsOptions;
  readonly #open = new Map<ClientSocket, () => void>();
  readonly #timer: NodeJS.Timeout;
  readonly #library = openWebSockets(attachLimits.frameBytesMax);
  #isClosing = false;

  constructor(options: ClientSocketsOptions) {
    this.#options = options;
    const { clock } = options;
    this.#timer = setInterval(() => {
      const nowMs = clock.monotonic();
      for (const client of this.#open.keys()) client.look(nowMs);
    }, attachServerLimits.lookMs);
    this.#timer.unref();
  }

  get count(): number {
    return this.#open.size;
  }

  open(
    request: IncomingMessage,
    { socket, head }: Offer,
    redeemed: Awaited<ReturnType<AttachUseCases['redeem']>>,
  ): void {
    let isThere = false;
    // Calls back at once, or never, where the client has gone.
    this.#library.handleUpgrade(request, socket, head, (webSocket) => {
      isThere = true;
      const { clock, logger, onCut } = this.#options;
      const client = new ClientSocket({
        ...{ webSocket, socket, clock, onCut },
        onFailure: (error) => logger.error({ err: error }, 'what an attached client said failed inside'),
      });
      this.#open.set(client, () => webSocket.terminate());
      webSocket.once('close', () => this.#open.delete(client));
      client.begin(redeemed.begin(client));
      if (this.#isClosing) this.#tellToComeAgain(client);
    });
    if (!isThere) redeemed.abandon();
  }

  close(): void {
    this.#isClosing = true;
    clearInterval(this.#timer);
    for (const client of this.#open.keys()) this.#tellToComeAgain(client);
  }

  #tellToComeAgain(client: ClientSocket): void {
    client.cut('goingAway', 'The server stops; come again.');
    // One that ended before may take its time to read what is left.
    setTimeout(() => this.#open.get(client)?.(), attachServerLimits.closeMs).unref();
  }
}
