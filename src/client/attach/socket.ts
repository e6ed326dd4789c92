/**
 * A WebSocket as the attach client needs one. Browsers and Node have an adapter each; nothing of this file or of those
 * that stand on it alone (`connection.ts`, `session.ts`) is of Node.
 */
export type AttachSocket = {
  /** Resolves when the message has been handed on, or never will be: whoever has much to send waits for it. */
  send(message: string | Uint8Array): Promise<void>;
  /** Stops reading and goes on, where the platform can; browsers read on. */
  pause(): void;
  resume(): void;
  close(): void;
};

export type SocketEvents = {
  text(message: string): void;
  binary(message: Uint8Array): void;
  /** Once, and last, also where it never opened. */
  closed(close: SocketClose): void;
};

export type SocketClose = {
  /** RFC 6455, 7.4; 1006 where there was no closing handshake. */
  readonly code: number;
  readonly reason: string;
  /** The server's answer in place of the upgrade, or why there was none; null where nobody knows, as in browsers. */
  readonly refusal: Error | null;
};

export type SocketRequest = {
  /** With its query. */
  readonly path: string;
  readonly ticket: string;
  readonly protocol: string;
};

/** Begins to connect; throws nothing, failures come as `closed`. */
export type OpenSocket = (request: SocketRequest, events: SocketEvents) => AttachSocket;
