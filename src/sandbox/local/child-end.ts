import type { Readable } from 'node:stream';
import { reap } from '../../base/posix-spawn.ts';
import { localLimits } from './limits.ts';

export type ChildEnd = {
  /** The status byte with which the process ended; null after a death by signal. Never rejects. */
  readonly exited: Promise<number | null>;
  alive(): boolean;
  /** SIGKILL; nothing when it has ended. */
  kill(): void;
};

/** The end of a child that Node did not start: its end of a pipe or socket closes, then it is reaped. */
export function watchEnd(pid: number, status: Readable): ChildEnd {
  let ended: { code: number | null } | null = null;
  let settle: (code: number | null) => void = () => undefined;
  const exited = new Promise<number | null>((resolve) => {
    settle = resolve;
  });
  const alive = () => {
    ended ??= reap(pid);
    if (ended !== null) settle(ended.code);
    return ended === null;
  };
  const poll = (waitMs: number) => {
    if (alive()) setTimeout(() => poll(Math.min(waitMs * 2, localLimits.reapMostMs)), waitMs);
  };
  const watch = onlyOnce(() => poll(localLimits.reapFirstMs));
  status.on('close', watch);
  const kill = () => {
    if (!alive()) return;
    // Not reaped yet, so the number still means it.
    process.kill(pid, 'SIGKILL');
    watch();
  };
  return { exited, alive, kill };
}

function onlyOnce(act: () => void): () => void {
  let done = false;
  return () => {
    if (done) return;
    done = true;
    act();
  };
}
