import type { AttachCloseReason, AttachStream, ClientFrame, ServerFrame } from '../../contract/attach.ts';
import type {
  AttachTicketView,
  CreateAttachTicket,
  CreateExec,
  CreatePortForward,
  PutAttachSettings,
  TerminalMatch,
  TerminalView,
} from '../../contract/attach-schemas.ts';
import type { AttachSettingsView } from '../../contract/attach-settings.ts';
import type { RunId, SessionId, TerminalId } from '../../model/ids.ts';
import type { Caller } from '../control.ts';

/** The end of one client's connection that the server holds: where frames for it go. Nothing here waits. */
export type AttachClient = {
  /** Control frames and data arrive in the order of the calls. */
  send(frame: ServerFrame): void;
  data(stream: AttachStream, bytes: Buffer): void;
  /**
   * Resolves once hardly anything waits for the client, or it is gone. Whoever carries a pipe or a port waits for it
   * between frames: there a slow reader holds the command up, as a pipe does, and is not cut (`cat big | less`, copies
   * over slow lines). A terminal waits for nobody.
   */
  drained(): Promise<void>;
  /** Nothing is sent after it. */
  close(reason: AttachCloseReason, detail: string): void;
};

/** The end that control holds: what the client says. Whoever the client is was settled when it was let in. */
export type AttachConnection = {
  /** Bytes to type or to send. Resolves when they are on their way: whoever calls waits with the next ones. */
  input(bytes: Buffer): Promise<void>;
  control(frame: ClientFrame): Promise<void>;
  /** The client has gone, or the server cut it: `reason` is for the record. Idempotent. */
  gone(reason: AttachCloseReason | 'left' | 'lost'): void;
};

/** What an upgrade presents. `ticket` is untrusted text; null where there was none. */
export type AttachUpgrade = {
  readonly run: RunId;
  readonly ticket: string | null;
  /** Goes on behind this many bytes of output, where they are still there. */
  readonly from: number | null;
  readonly request: Caller['request'];
};

/** Why the server itself turns an upgrade away, before any ticket is looked at. */
export type UpgradeRefusal = 'origin' | 'ticket-in-url' | 'ticket-missing' | 'protocol' | 'rate';

/** Terminals of runs: who may see and type, and the record of it (DESIGN §9). Each throws Fault. */
export type AttachUseCases = {
  /** Switches attaching on or off for a session, and says how; what is attached and no longer allowed is cut. */
  configure(caller: Caller, session: SessionId, request: PutAttachSettings): Promise<AttachSettingsView>;
  ticket(caller: Caller, run: RunId, request: CreateAttachTicket): Promise<AttachTicketView>;
  exec(caller: Caller, run: RunId, request: CreateExec): Promise<AttachTicketView>;
  portForward(caller: Caller, run: RunId, request: CreatePortForward): Promise<AttachTicketView>;
  /**
   * Redeems a ticket before the connection is upgraded: it is used up by this, whatever follows. Throws Fault, each
   * refusal on record: `auth.invalid` for one that is unknown, expired, used or another run's, `access.denied` where its
   * actor no longer may, `state.conflict` where there is nothing to attach to. `begin` is called once the client is there,
   * and throws nothing; `abandon` where it never came.
   */
  redeem(upgrade: AttachUpgrade): Promise<{
    begin(client: AttachClient): AttachConnection;
    abandon(): void;
  }>;
  /** Puts an upgrade that the server turned away on record. */
  refused(upgrade: AttachUpgrade, refusal: UpgradeRefusal): void;
  terminals(caller: Caller, run: RunId): Promise<readonly TerminalView[]>;
  /** asciicast v2, pulled. The text in it is the sandbox's: untrusted. */
  recording(
    caller: Caller,
    run: RunId,
    terminal: TerminalId,
  ): Promise<AsyncIterable<Buffer> & { cancel(): void }>;
  search(
    caller: Caller,
    run: RunId,
    terminal: TerminalId,
    query: { readonly text: string; readonly limit: number },
    signal: AbortSignal,
  ): Promise<readonly TerminalMatch[]>;
};
