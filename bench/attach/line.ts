import type { ChildProcess } from 'node:child_process';
import { once } from 'node:events';
import type { Row } from '../row.ts';

/**
 * A terminal far away, as its user has it: what is typed goes out at once and what is shown comes back. Every peer of
 * bench/attach.ts is one, so that all are measured by the same hands.
 */
export type Line = {
  readonly name: string;
  /** Processes whose memory and processor time it takes, by name; the program in the terminal is none of them. */
  readonly pids: Readonly<Record<string, number>>;
  type(bytes: Buffer): void;
  /** Whoever listens gets all output from then on; nobody or one does. */
  listen(hear: ((bytes: Buffer) => void) | null): void;
  close(): Promise<void>;
};

/** Opens a terminal that runs a command. */
export type Open = (command: readonly string[]) => Promise<Line>;
export type Peer = { readonly name: string; readonly open: Open };
/** A peer, or why there is none here. */
export type MaybePeer = Peer | { readonly name: string; readonly missing: string };

/** Says `ready`, then gives back what is typed: the program does it, as an editor or a shell does, not the terminal. */
export const echoCommand = ['sh', '-c', 'stty raw -echo && printf ready && exec cat'] as const;

const readyMs = 20_000;

/** Resolves once the line has shown a text; what came before and after it is let go. */
export async function untilShown(line: Line, text: string, withinMs = readyMs): Promise<void> {
  let tail = '';
  const shown = Promise.withResolvers<void>();
  const timer = setTimeout(
    () => shown.reject(new Error(`${line.name} did not show ${text}: ${tail}`)),
    withinMs,
  );
  line.listen((bytes) => {
    tail = (tail + bytes.toString('latin1')).slice(-4_096);
    if (tail.includes(text)) shown.resolve();
  });
  await shown.promise.finally(() => clearTimeout(timer));
  line.listen(null);
}

/** Milliseconds from one key that is typed until it is shown. */
export async function keystroke(line: Line, key: string): Promise<number> {
  const shown = Promise.withResolvers<number>();
  const timer = setTimeout(() => shown.reject(new Error(`${line.name} shows no key`)), readyMs);
  const startedAt = performance.now();
  line.listen((bytes) => {
    if (bytes.includes(key)) shown.resolve(performance.now() - startedAt);
  });
  line.type(Buffer.from(key));
  const took = await shown.promise.finally(() => clearTimeout(timer));
  line.listen(null);
  return took;
}

/** Every one of those that are here; for each that is not a row says what would bring it. */
export function present(peers: readonly MaybePeer[]): { readonly here: Peer[]; readonly missing: Row[] } {
  const here: Peer[] = [];
  const missing: Row[] = [];
  for (const peer of peers)
    if ('open' in peer) here.push(peer);
    else missing.push({ what: 'attach', figure: '', peer: `${peer.name}: ${peer.missing}`, ratio: null });
  return { here, missing };
}

/** Gives output to whoever listens; the little that comes before anybody does is kept for the first. */
export class Ear {
  #hear: ((bytes: Buffer) => void) | null = null;
  #early: Buffer[] | null = [];

  readonly listen = (hear: ((bytes: Buffer) => void) | null): void => {
    this.#hear = hear;
    for (const bytes of this.#early ?? []) hear?.(bytes);
    this.#early = null;
  };

  hear(bytes: Buffer): void {
    if (this.#early !== null) this.#early.push(bytes);
    else this.#hear?.(bytes);
  }
}

/** Ends a process of ours and waits for it. */
export async function end(child: ChildProcess): Promise<void> {
  if (child.exitCode !== null || child.signalCode !== null) return;
  const ended = once(child, 'exit');
  child.kill('SIGKILL');
  await ended;
}
