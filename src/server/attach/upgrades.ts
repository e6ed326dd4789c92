import { type IncomingMessage, type RequestListener, ServerResponse } from 'node:http';
import type { Socket } from 'node:net';
import { serverLimits } from '../limits.ts';
import { attachPathRun } from './upgrade-request.ts';

/** A connection whose client asks to speak another protocol over it from now on. */
export type Offer = {
  readonly socket: Socket;
  /** What the client sent behind its request. */
  readonly head: Buffer;
};

/**
 * Upgrades go through the very same handler as every other request, hooks and all: here a connection that Node lets go
 * of becomes a request with an answer again. Only the one route that upgrades gets them; everywhere else the wish is
 * not heard, and the request is an ordinary one.
 */
export type Upgrades = {
  /** Whether to take it as an upgrade. */
  wants(request: IncomingMessage): boolean;
  /** Answers with the handler, and ends the connection after an answer that is none of the other protocol. */
  take(request: IncomingMessage, offer: Offer, handler: RequestListener): void;
  /** What came with a request; null for ordinary ones. */
  offerOf(request: IncomingMessage): Offer | null;
  /** The answer was that of the other protocol: the connection is the caller’s. */
  accepted(request: IncomingMessage): void;
  /** Those that are not answered yet end soon. */
  close(): void;
};

export function openUpgrades(idleTimeoutMs: number): Upgrades {
  const offers = new WeakMap<IncomingMessage, Offer>();
  const unanswered = new Set<Socket>();
  return {
    wants(request) {
      // Behind a request that is not answered yet there is no connection to be had.
      const { _httpMessage: answering } = request.socket as Socket & { _httpMessage?: object | null };
      return (answering ?? null) === null && attachPathRun(request.url) !== null;
    },
    take(request, offer, handler) {
      const { socket } = offer;
      offers.set(request, offer);
      unanswered.add(socket);
      socket.on('error', () => undefined).once('close', () => unanswered.delete(socket));
      socket.setTimeout(idleTimeoutMs, () => {
        if (unanswered.has(socket)) socket.destroy();
      });
      const response = new ServerResponse(request);
      // Says so, too: what came behind the request is not read.
      response.shouldKeepAlive = false;
      response.once('finish', () => socket.destroySoon());
      response.assignSocket(socket);
      handler(request, response);
    },
    offerOf: (request) => offers.get(request) ?? null,
    accepted(request) {
      unanswered.delete(request.socket);
      request.socket.setTimeout(0);
    },
    close() {
      setTimeout(() => {
        for (const socket of unanswered) socket.destroy();
      }, serverLimits.closeGraceMs).unref();
    },
  };
}
