import type { ConnectionId, RunId, TerminalId } from '../model/ids.ts';
import { type AttachMode, type AttachRole, leaseMs, type TerminalSize } from '../model/terminal.ts';

/**
 * The attach protocol: what a client and the server say to each other over a WebSocket, in the browser and the command
 * line alike. `docs/reference/attach.md` describes it for those who write clients. Binary frames carry bytes, text
 * frames JSON. Nothing that a client says about itself is believed: its role, its name and its terminal come from the
 * ticket that it was let in with. This file is for browsers too: it imports nothing of Node.
 */

/** The protocol's version, offered and accepted as Sec-WebSocket-Protocol (RFC 6455, 1.9). */
export const attachProtocol = 'sealwright.attach.v1';

/**
 * How browsers, which cannot set headers, present a ticket: as one more subprotocol with this prefix. Others send
 * `Authorization: Bearer <ticket>`. The answer names `attachProtocol` alone, so the ticket is not echoed.
 */
export const ticketProtocolPrefix = 'sealwright.ticket.';

export const attachLimits = {
  /** A ticket is for one use, soon. */
  ticketLifeMs: 30_000,
  ticketsPerActorMax: 64,
  ticketsMax: 10_000,
  /** Of one message, either way. */
  frameBytesMax: 128 * 1024,
  /** What the server puts into one frame at most. */
  outputBytesMax: 64 * 1024,
  /** JSON is small; what is larger is refused. */
  controlBytesMax: 4 * 1024,
  pingMs: 10_000,
  /** Does not run while a client leaves output of a pipe or port unread: it may not see the ping. */
  pongMs: 30_000,
  /** Frames that wait for one client. With one more it is cut. */
  queueFramesMax: 64,
  connectionsPerRunMax: 256,
  connectionsPerActorMax: 64,
  /** Control frames of one client in a second; a client that sends more is cut. */
  controlFramesPerSecondMax: 50,
  /** Output that is kept to resume from. */
  resumeBytesMax: 1024 * 1024,
  leaseMs,
  /** How long a command's terminal lives on without anybody attached. A run's own lives as long as the run. */
  abandonedMs: 30_000,
} as const;

/** The first byte of every binary frame says what the rest is. */
export const attachStreams = { input: 0, output: 1, error: 2 } as const;
export type AttachStream = (typeof attachStreams)[keyof typeof attachStreams];

/**
 * Why the server ended a connection (RFC 6455, 7.4.2). 1000 when the terminal or command has ended; 1001 when the server
 * stops, and the client may come again; 1009 and 1002 as the RFC says.
 */
export const attachCloseCodes = {
  ended: 1000,
  goingAway: 1001,
  protocol: 1002,
  tooLarge: 1009,
  internal: 1011,
  /** The credential has ended or no longer allows it. */
  revoked: 4401,
  /** Attaching was switched off for the session. */
  switchedOff: 4403,
  /** No pong in time, or a message that did not end. */
  timeout: 4408,
  /** What is shown can no longer be recorded. */
  unrecorded: 4503,
  /** Did not read fast enough; it may come again and gets the screen as it is then. */
  slow: 4429,
} as const;
export type AttachCloseReason = keyof typeof attachCloseCodes;

/** Who is attached to a terminal. `actor` is the name of a user, agent or service. */
export type AttachedClient = {
  readonly connection: ConnectionId;
  readonly actor: string;
  readonly role: AttachRole;
  /** Whether it holds a lease. */
  readonly driving: boolean;
};

/** Why input is not taken, now. */
export type InputBar =
  | 'viewer'
  /** Another drives; see `lease`. */
  | 'no-lease'
  /** Moderated, and nobody who may watches. */
  | 'no-observer'
  /** The record cannot be written. */
  | 'unrecorded';

export type ServerFrame =
  /** The first frame. Then `snapshotBytes` of stream `output` redraw the screen, and do not count for offsets. */
  | {
      readonly type: 'welcome';
      readonly connection: ConnectionId;
      readonly run: RunId;
      /** Null for a command without a terminal, and for a port. */
      readonly terminal: TerminalId | null;
      readonly role: AttachRole;
      readonly mode: AttachMode;
      readonly moderated: boolean;
      readonly size: TerminalSize | null;
      /** Bytes of output before the first that follows the snapshot. */
      readonly offset: number;
      readonly snapshotBytes: number;
      /** Whether what follows goes on at the offset that was asked for. */
      readonly resumed: boolean;
      readonly leaseMs: number;
      readonly pingMs: number;
    }
  /** All clients of the terminal, whenever something of it changes. */
  | { readonly type: 'clients'; readonly clients: readonly AttachedClient[] }
  /** Whether this client may type, whenever that changes; `until` is when its lease lapses, ms of the epoch. */
  | { readonly type: 'input'; readonly allowed: true; readonly until: number }
  | {
      readonly type: 'input';
      readonly allowed: false;
      readonly bar: InputBar;
      readonly holder: ConnectionId | null;
    }
  /** How people attach to the session was changed. */
  | { readonly type: 'settings'; readonly mode: AttachMode; readonly moderated: boolean }
  | { readonly type: 'resized'; readonly size: TerminalSize }
  /** Something this client asked for was not done. */
  | {
      readonly type: 'refused';
      readonly of: ClientFrame['type'] | 'data';
      readonly code: string;
      readonly detail: string;
    }
  /** The command has ended; the connection ends with 1000. */
  | { readonly type: 'ended'; readonly code: number | null; readonly signal: string | null };

export type ClientFrame =
  /** Drivers with the lease, and whoever started the command. */
  | { readonly type: 'resize'; readonly size: TerminalSize }
  /** Asks for the lease. `takeover` takes it from whoever has it. Only in the role of a driver. */
  | { readonly type: 'drive'; readonly takeover?: boolean | undefined }
  /** Gives the lease up. */
  | { readonly type: 'release' }
  /** Gives the lease to another driver; for whoever has it, and for drivers in general. */
  | { readonly type: 'hand-over'; readonly to: ConnectionId }
  /** Renews the lease without typing. */
  | { readonly type: 'keep-alive' }
  /** No more input; for a command without a terminal, and for a port. */
  | { readonly type: 'end-input' };
